// Package live follows the results of SELECTs: a watch gives the rows, and
// then every change of them, under ids that rise by one and survive a restart.
//
// What a query depends on is asked of SQLite itself, which names every table
// that it reads, in subqueries and views too. A query of one table without
// aggregates is followed row by row: for a change it is asked again for that
// key alone; if it wants a column to equal a value, changes of other values
// cost it nothing. Any other query is run again and compared, as often as its
// cost allows: it may take a tenth of one processor. Rows are told apart by
// the keys of the tables in FROM; with GROUP BY by the group; with DISTINCT, a
// set operation, a view or a subquery in FROM by the whole row.
//
// The same query with the same parameters is one watch, however many read it.
// A change is in the journal, a file of its own, before anybody hears of it.
// A watch that nobody reads rests: it costs nothing, and when somebody comes
// back what happened meanwhile is told as changes, until it is forgotten.
//
// What cannot be followed rightly is refused with the reason: local tables,
// and results that change by time or chance.
package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// Errors that readers tell apart.
var (
	ErrUnknown  = errors.New("no such watch")
	ErrFuture   = errors.New("no such change yet")
	ErrBehind   = errors.New("the change is no longer kept")
	ErrStopping = errors.New("the node is stopping")
	ErrSchema   = errors.New("the schema changed, and the query must be watched anew")
	ErrTooLarge = errors.New("the result is over the limit of a watch")
	ErrFault    = errors.New("the query fails on the rows that there are now, and can be watched anew when it does not")
	ErrLost     = errors.New("the journal of watches is damaged, and the query must be watched anew")
	ErrTooMany  = errors.New("this node has as many watches as it may")
)

// Limits of what one watch may keep waiting, or in memory.
const (
	maxDirty      = 200                   // keys that are looked at by themselves
	maxPause      = time.Minute           // between two runs of a costly query
	slow          = 50 * time.Millisecond // a query that takes longer waits for others such
	maxRead       = 1000                  // changes of one Next
	maxRecent     = 1024                  // changes in memory
	maxRecentSize = 256 << 10             // their bytes
)

// Config of an engine. Zero limits take the defaults.
type Config struct {
	DB       *sqlite.DB            // required
	Path     string                // file of the journal; required
	Keep     int                   // changes kept of one watch; zero means 10,000
	Retain   time.Duration         // how long a watch without readers is known; zero means one hour
	Linger   time.Duration         // how long it is followed before it rests; zero means 30 s
	MaxRows  int                   // rows of one watch; zero means 100,000
	MaxBytes int                   // of all watches' rows in memory, and a quarter more for readers of old ones; zero means 512 MiB
	Watches  int                   // at once, resting ones too; zero means 20,000
	Now      func() time.Time      // nil means time.Now
	Progress func()                // nil, or the watchdog's mark of the feed's loop
	Logger   *slog.Logger          // nil discards
	Metrics  prometheus.Registerer // nil leaves metrics unregistered
}

func (c Config) withDefaults() Config {
	set := func(n *int, d int) {
		if *n == 0 {
			*n = d
		}
	}
	set(&c.Keep, 10_000)
	set(&c.MaxRows, 100_000)
	set(&c.MaxBytes, 512<<20)
	set(&c.Watches, 20_000)
	if c.Retain == 0 {
		c.Retain = time.Hour
	}
	if c.Linger == 0 {
		c.Linger = 30 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Progress == nil {
		c.Progress = func() {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Engine follows watches. Safe for concurrent use.
type Engine struct {
	cfg     Config
	journal atomic.Pointer[journal]
	shelf   *shelf
	metrics *metrics
	points  *queue // watches whose rows are looked at one by one
	queries *queue // watches that are run as a whole
	heavy   *queue // those that take long, so that they delay no others
	ready   chan struct{}
	stopped chan struct{}
	bytes   atomic.Int64 // of rows in memory
	once    sync.Once    // of closing the journal

	mu       sync.Mutex
	position store.Position
	schema   int64 // version of the schema that plans were looked at for
	byID     map[uuid.UUID]*Watch
	byText   map[string]*Watch
	index    index
	notices  map[string]map[*Updates]struct{} // by table

	mutate func(*plan, shape) // nil; tests break plans with it
}

// New opens the journal; Run follows.
func New(cfg Config) (*Engine, error) {
	cfg = cfg.withDefaults()
	e := &Engine{
		cfg: cfg, metrics: newMetrics(cfg.Metrics), points: newQueue(), queries: newQueue(), heavy: newQueue(),
		shelf: &shelf{limit: cfg.MaxBytes / 4}, ready: make(chan struct{}), stopped: make(chan struct{}),
		byID: map[uuid.UUID]*Watch{}, byText: map[string]*Watch{}, index: newIndex(), notices: map[string]map[*Updates]struct{}{},
	}
	j, known, anew, err := openJournal(cfg.Path, uint64(cfg.Keep), e.onLine)
	if err != nil {
		return nil, err
	}
	if anew != "" {
		cfg.Logger.Warn("earlier watches are forgotten, their clients begin anew", "reason", anew)
	}
	e.journal.Store(j)
	for _, k := range known {
		e.remember(k)
	}
	return e, nil
}

// book is the journal of now.
func (e *Engine) book() *journal { return e.journal.Load() }

func (e *Engine) onLine(p store.Position) bool {
	f, err := e.cfg.DB.Feed(p)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// remember takes a watch of the journal, at rest.
func (e *Engine) remember(k known) {
	w := &Watch{
		e: e, id: k.id, hash: hashOf(k.sql, k.args), sql: k.sql, args: k.args,
		resting: true, used: e.cfg.Now(), progress: k.progress, more: make(chan struct{}),
	}
	e.byID[k.id], e.byText[textOf(k.sql, k.args)] = w, w
}

func readArgs(b []byte) (out []record.Value, err error) {
	for len(b) > 0 {
		var v record.Value
		if v, b, err = record.ReadValue(b); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// Run follows the store until ctx ends; then every reader gets ErrStopping.
func (e *Engine) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return e.follow(ctx) })
	group.Go(func() error { return e.points.serve(ctx) })
	group.Go(func() error { return e.queries.serve(ctx) })
	group.Go(func() error { return e.heavy.serve(ctx) })
	group.Go(func() error { return e.tidy(ctx) })
	group.Go(func() error { return e.mend(ctx) })
	err := group.Wait()
	close(e.stopped)
	return errors.Join(err, e.Close())
}

// Close closes an engine that never ran; on another it does nothing.
func (e *Engine) Close() (err error) {
	e.once.Do(func() { err = e.book().close() })
	return err
}

// follow reads the feed. One that fell behind looks at every query again.
func (e *Engine) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		snap, err := e.cfg.DB.Snapshot(ctx)
		if err != nil {
			return ended(ctx, err)
		}
		from := snap.Position()
		if err := snap.Close(); err != nil {
			return fmt.Errorf("watches: %w", err)
		}
		feed, err := e.cfg.DB.Feed(from)
		if err != nil {
			return ended(ctx, err)
		}
		e.restart(from)
		err = e.read(ctx, feed)
		_ = feed.Close()
		if !errors.Is(err, store.ErrResync) {
			return ended(ctx, err)
		}
		e.cfg.Logger.Warn("watches fell behind the feed; every query is looked at again")
	}
	return nil
}

func ended(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
		return nil
	}
	return fmt.Errorf("watches: %w", err)
}

// restart goes on from a position, whatever happened before it.
func (e *Engine) restart(from store.Position) {
	e.mu.Lock()
	e.position = from
	all := e.index.all()
	for _, of := range e.notices {
		for u := range of {
			u.end(fmt.Errorf("%w: the node fell behind its own changes", ErrBehind))
		}
	}
	e.mu.Unlock()
	for _, w := range all {
		w.mark("", true)
	}
	select {
	case <-e.ready:
	default:
		close(e.ready)
	}
}

const idle = time.Second

func (e *Engine) read(ctx context.Context, feed store.Feed) error {
	for {
		e.cfg.Progress()
		e.replanAll()
		wait, cancel := context.WithTimeout(ctx, idle)
		entries, err := feed.Next(wait)
		cancel()
		if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			continue
		}
		if err != nil {
			return err
		}
		e.take(entries)
	}
}

// reached returns the feed's position that any query from now on includes.
func (e *Engine) reached() store.Position {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.position
}

// take marks every watch that a change may concern.
func (e *Engine) take(entries []store.Entry) {
	type touch struct {
		w   *Watch
		key record.Key
	}
	var touched []touch
	e.replanAll() // rows of these entries may have other columns than plans know
	e.mu.Lock()
	for _, entry := range entries {
		for _, c := range entry.Changes {
			if unchanged(c) {
				continue // stamped again
			}
			e.index.affected(c, func(w *Watch) { touched = append(touched, touch{w, c.Key}) })
			for u := range e.notices[c.Table] {
				u.add(c)
			}
		}
		e.position = entry.Position
	}
	e.mu.Unlock()
	for _, t := range touched {
		t.w.mark(t.key, t.key == "")
	}
}

// room refuses rows that memory is not meant for.
func (e *Engine) room(grown int) error {
	if total := e.bytes.Add(int64(grown)); total > int64(e.cfg.MaxBytes) && grown > 0 {
		e.bytes.Add(int64(-grown))
		return fmt.Errorf("%w: all watches together may hold %d bytes; watch a narrower query", ErrTooLarge, e.cfg.MaxBytes)
	}
	return nil
}
