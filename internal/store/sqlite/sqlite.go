// Package sqlite is the store of a real node: one SQLite database in WAL mode,
// owned by one process.
//
// User tables are real tables under their own names, which any tool can read
// while the node runs. Beside each lies a bookkeeping table with the writer,
// version and content hash of every row; engine tables start with _fb_, and
// what belongs to this node alone with _fb_local_.
//
// One goroutine owns the connection that writes; while it has nothing to do, it
// lets a local write run in the goroutine of its caller. It takes local writes first,
// many of them under one commit, then what peers sent, a turn per writer, in
// slices of a few milliseconds that end with a whole changeset, then what has
// become due. What callers of Update write is taken down as they write it;
// users' SQL is captured by triggers, which run for nothing else. They call a
// function that only this connection has, so another program's write to a
// replicated table fails instead of slipping by. Readers have connections of
// their own.
//
// The records of a changeset go through each step together, so that a step is
// one call of C (package native): books, old rows, decision, rows, books. Pages
// are what costs then: see docs/adr/0007-store-layout.md.
//
// What a transaction changes in memory is kept in a fork of the state that is
// absorbed by a commit and dropped by a rollback, so memory never says what
// disk does not. A failing disk ends writes with its error and withholds
// nothing; after a failed fsync, when nobody knows what is durable, the store
// refuses all further writes (see [DB.Failed]) and the process should end.
package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/schema/definition"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// DB is an open database. Safe for concurrent use.
type DB struct {
	// Set by Open, then constant.
	cfg     Config
	lock    *fileLock
	local   chan *localWrite
	remote  *remoteQueue
	jobs    chan *job
	turn    turn
	line    *feedLine // the feed
	users   *pool     // readers of users' SQL
	watches *pool     // readers of watched SQL
	inside  *pool     // readers of the engine
	readers readers
	wal     *checkpointer
	metrics *metrics
	maxHeld int64 // a test lowers it before it uses the store
	quit    chan struct{}
	ended   sync.WaitGroup // the loop and the checkpointer
	closing sync.Once
	closed  chan struct{} // after the loop has ended
	broke   chan struct{} // when failed is set
	unclean bool          // the file was not closed, and is looked over while it serves

	tableSet atomic.Pointer[tableSet]
	mu       sync.Mutex
	spent    bucket // of this node's own writes; guarded by mu

	writer atomic.Pointer[record.Writer]
	failed atomic.Pointer[error]
	told   atomic.Pointer[SchemaStatus] // of now; nil before it is known
	held   atomic.Pointer[heldCount]
	stamp  atomic.Uint64 // the last of the clock of shared tables

	// Owned by the loop, or by who has the turn.
	c       *conn
	st      *state
	capture *capture
	schema  *keeper // nil without definitions
	hasher  *record.Hasher
	crowd   int     // local writes that came together, of late
	lent    bool    // somebody else has had the turn since the loop waits
	synced  bool    // whether commits of c wait for the disk
	offers  []offer // scratch of mergeAll
	packed  packing
	locals  map[string]bool // tables of this node alone; nil to be read anew
	localAt int64           // the number of the schema then

	intents  *intents
	suspects suspects
	staged   staged
	looked   time.Time // for withheld records to try again
}

var _ store.Store = (*DB)(nil)

// Open opens the database of cfg, or makes it, and takes a new writer. It
// refuses by name a file that is in use, damaged, or of another fleet,
// cluster, lane or node. The goroutines it starts end with Close.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("store config: %w", err)
	}
	cfg = cfg.withDefaults()
	db, err := openSound(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", cfg.Path, err)
	}
	return db, nil
}

// openSound opens the file, or, if that is damaged and cfg says so, an empty
// one in its place.
func openSound(ctx context.Context, cfg Config) (*DB, error) {
	lock, err := lockFile(cfg.Path + ".lock")
	if err != nil {
		return nil, err
	}
	var db *DB
	if err = foundBefore(cfg); err == nil {
		db, err = open(ctx, cfg, lock)
	}
	if what := judge(err); what != nil {
		err = fmt.Errorf("%w: %w", what, err)
	}
	if errors.Is(err, ErrDamaged) && !cfg.SetAside {
		err = fmt.Errorf("%w; move it away, and the node fetches everything from its peers", err)
	} else if errors.Is(err, ErrDamaged) {
		var to string
		why := err
		if to, err = setAside(cfg); err == nil {
			cfg.Logger.Error("database is damaged: it is set aside, and the node starts with an empty one", "path", cfg.Path, "aside", to, "err", why)
			db, err = open(ctx, cfg, lock)
		}
	}
	if err != nil {
		return nil, errors.Join(err, lock.release())
	}
	return db, nil
}

func open(ctx context.Context, cfg Config, lock *fileLock) (*DB, error) {
	db := &DB{
		cfg: cfg, lock: lock,
		local: make(chan *localWrite, maxLocal), remote: newRemoteQueue(cfg.Budget), jobs: make(chan *job), turn: newTurn(),
		quit: make(chan struct{}), closed: make(chan struct{}), broke: make(chan struct{}),
		hasher: record.NewHasher(cfg.Fleet, cfg.Cluster), maxHeld: maxHeld,
	}
	var tables []*table
	for _, s := range cfg.Tables {
		tables = append(tables, newTable(s))
	}
	if cfg.Definitions {
		t := newTable(definition.TableOf())
		t.engine = true
		tables = append(tables, t)
		db.schema = newKeeper()
	}
	db.tableSet.Store(newTableSet(0, tables))
	db.metrics = newMetrics(cfg.Metrics, db)
	err := db.prepare(ctx)
	if err == nil {
		err = db.metrics.register()
	}
	if err != nil {
		if db.c != nil {
			_ = db.c.close()
		}
		if db.intents != nil {
			_ = db.intents.close()
		}
		db.metrics.unregister()
		return nil, err
	}
	db.users = newPool(cfg.Limits.Readers, func() (*conn, error) { return openReader(cfg, true) })
	db.watches = newPool(watchReaders, func() (*conn, error) { return openReader(cfg, true) })
	db.inside = newPool(maxSnapshots, func() (*conn, error) { return openReader(cfg, false) })
	db.ended.Go(db.run)
	db.ended.Go(func() { db.wal.run(db.quit) })
	if db.unclean {
		db.ended.Go(db.checkServing)
	}
	return db, nil
}

// prepare opens the writing connection, checks and completes the file, and
// takes the writer of this start.
func (db *DB) prepare(ctx context.Context) error {
	c, err := openWriter(db.cfg.Path)
	if err != nil {
		return err
	}
	db.c = c
	db.capture = &capture{tables: db.tables}
	if err := checkIdentity(c, db.cfg); err != nil {
		return err
	}
	if err := c.script(`PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 67108864; PRAGMA recursive_triggers = ON;
		PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -32768; PRAGMA trusted_schema = ON;
		CREATE TEMP TABLE _fb_probe (one INTEGER PRIMARY KEY, t TEXT, n NUMERIC, r REAL)`); err != nil {
		return err
	}
	db.synced = true
	// After the pragmas: one of them would take the hook on commits away.
	if err := db.capture.register(c); err != nil {
		return err
	}
	var wider []*table
	if err := db.inTransaction(func() error {
		wider, err = createTables(c, db.tables().all, db.cfg.Views)
		return err
	}); err != nil {
		return err
	}
	if err := db.openSchema(); err != nil {
		return err
	}
	if err := db.checkUnclean(ctx); err != nil {
		return err
	}
	var left []intent
	if db.intents, left, err = openIntents(db.cfg.Path + ".intents"); err != nil {
		return err
	}
	if err := db.loadSuspects(left); err != nil {
		return err
	}
	if db.st, err = loadState(c); err != nil {
		return err
	}
	if db.wal, err = newCheckpointer(db); err != nil {
		return err
	}
	if db.line, err = loadFeed(c, db.cfg, db.st); err != nil {
		return errors.Join(err, db.wal.close())
	}
	err = db.transaction(true, func(w *work) error {
		_, err := w.newWriter(0)
		return err
	})
	for _, t := range wider {
		if err == nil {
			err = db.transaction(false, func(w *work) error { return w.adoptAll(t) })
		}
	}
	if err == nil {
		err = db.retryWithheld()
	}
	if err != nil {
		return errors.Join(err, db.wal.close())
	}
	c.guard = newGuard(c, false)
	c.guard.writable, c.guard.local = db.writable, db.isLocal
	return nil
}

// inTransaction runs fn between BEGIN and COMMIT.
func (db *DB) inTransaction(fn func() error) error {
	if err := db.c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return errors.Join(err, db.rollback())
	}
	return db.c.exec("COMMIT")
}

func (db *DB) rollback() error {
	if db.c.c.AutoCommit() {
		return nil // SQLite has done so itself
	}
	return db.c.script("ROLLBACK")
}

// bootLimit is the highest boot that is believed.
func (db *DB) bootLimit() uint64 { return uint64(max(0, db.cfg.Now().Add(maxAhead).Unix())) }

// Lane returns the region whose records a global node keeps here; it is empty
// in a region's own cluster.
func (db *DB) Lane() string { return db.cfg.Lane }

// Writer implements [store.Store].
func (db *DB) Writer() record.Writer { return *db.writer.Load() }

// LastStamp is the highest stamp that the clock of shared tables has given or
// taken note of: the next one is above it.
func (db *DB) LastStamp() hlc.Timestamp { return hlc.Timestamp(db.stamp.Load()) }

// withheld counts the records that are received and not visible.
func (db *DB) withheld() heldCount {
	if h := db.held.Load(); h != nil {
		return *h
	}
	return heldCount{}
}

// Close ends the loop, after what it has in hand, and closes the file. Whoever
// still waits gets [store.ErrClosed].
func (db *DB) Close() error {
	var err error
	db.closing.Do(func() {
		close(db.quit)
		db.readers.close()
		db.ended.Wait()
		close(db.closed)
		db.line.close()
		if db.Failed() == nil {
			err = db.c.exec(sqlPutValue, valueClean, int64(1))
		} else {
			err = db.c.keepLog() // what the disk has is for the next start to judge
		}
		err = errors.Join(err, db.users.close(), db.watches.close(), db.inside.close(), db.wal.close(), db.c.close(), db.intents.close(), db.lock.release())
		db.metrics.unregister()
	})
	if err != nil {
		return fmt.Errorf("close %s: %w", db.cfg.Path, err)
	}
	return nil
}

// Stats are numbers for status and tests.
type Stats struct {
	Rows     map[string]int64 // live rows by table
	Withheld int64            // records received and not visible
	OverHeld []record.Node    // nodes of writers of which too much is withheld: their records stay gaps
	WALBytes int64            // size of the log
	Pinned   []string         // who keeps a long log from starting over, as far as it can be told
	Paused   bool             // peers' records wait until the log is shorter
	Queue    int              // deliveries that wait
	Readers  int              // readers in use, snapshots among them
	Err      error            // why rows were not counted
}

// Stats counts. It reads every table's key once, so it is not for hot paths.
func (db *DB) Stats() Stats {
	s := Stats{
		Rows: map[string]int64{}, Withheld: db.withheld().all(), WALBytes: db.wal.size(),
		Pinned: db.wal.pinned(), Paused: db.wal.paused.Load(),
		Queue: db.remote.length(), Readers: db.users.busy() + db.watches.busy() + db.inside.busy(),
	}
	ctx, stop := context.WithTimeout(context.Background(), db.cfg.Limits.Time)
	defer stop()
	s.Err = db.inside.with(ctx, func(c *conn) error {
		for _, t := range db.tables().all {
			if t.internal() {
				continue
			}
			r, err := c.row("SELECT count(*) FROM " + schema.Quote(t.Name))
			if err != nil {
				return err
			}
			s.Rows[t.Name] = r[0].Int
		}
		return c.rows(ctx, sqlOverHeld, []driver.Value{db.maxHeld}, func(r []record.Value) error {
			s.OverHeld = append(s.OverHeld, record.Node(r[0].Data))
			return nil
		})
	})
	return s
}

// sliceTime is how long peers' records may keep local writes waiting; see
// takeDelivery for what can make it longer.
const sliceTime = 5 * time.Millisecond
