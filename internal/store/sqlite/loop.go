package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/store"
)

const (
	maxLocal   = 256                    // local writes that wait; callers beyond them wait too
	maxGroup   = 128                    // local writes under one commit
	maxWait    = time.Second            // for the clock, before a shared write is refused
	dueEvery   = 100 * time.Millisecond // look at what is withheld for the clock
	idleEvery  = time.Second            // move the log into the file when idle
	trimEvery  = 1000                   // feed entries between two trims
	pauseLimit = 50 * time.Millisecond  // for a WAL checkpoint to come closer
)

// localWrite is a local transaction on its way through the loop.
type localWrite struct {
	ctx   context.Context
	fn    func(*tx) error
	alone bool          // it may end its SQL transaction by being interrupted
	turn  chan *tx      // the loop lends the transaction to the caller,
	ran   chan error    // which runs fn and gives it back
	done  chan struct{} // closed when commit and err are set

	// Owned by the loop until done is closed.
	commit store.Commit
	err    error
	ahead  time.Duration // how long the clock of shared tables would have to wait
}

// job is something else that the loop does in a transaction of its own.
type job struct {
	fn   func(*work) error
	done chan error // of size 1
}

// Update implements [store.Store]. Fn may run again, if the clock of a shared
// table has to wait for the wall.
func (db *DB) Update(ctx context.Context, fn func(store.Tx) error) (store.Commit, error) {
	return db.update(ctx, false, func(x *tx) error { return fn(x) })
}

func (db *DB) update(ctx context.Context, alone bool, fn func(*tx) error) (store.Commit, error) {
	var waited time.Duration
	for {
		w := &localWrite{ctx: ctx, fn: fn, alone: alone, turn: make(chan *tx), ran: make(chan error), done: make(chan struct{})}
		select {
		case db.local <- w:
		case <-ctx.Done():
			return store.Commit{}, ctx.Err()
		case <-db.quit:
			return store.Commit{}, store.ErrClosed
		}
		if !w.await(db.closed) {
			return store.Commit{}, store.ErrClosed
		}
		if !errors.Is(w.err, hlc.ErrAhead) || waited+w.ahead > maxWait {
			return w.commit, w.err
		}
		step := max(w.ahead, time.Millisecond)
		if err := backoff.Wait(ctx, step); err != nil {
			return store.Commit{}, w.err
		}
		waited += step
	}
}

// await runs fn when it is its turn, in the goroutine of its caller, so that a
// panic is the caller's own. False means that the store closed before.
func (w *localWrite) await(closed <-chan struct{}) bool {
	select {
	case x := <-w.turn:
		w.run(x)
		<-w.done
	case <-w.done:
	case <-closed:
		select {
		case <-w.done:
		default:
			return false
		}
	}
	return true
}

func (w *localWrite) run(x *tx) {
	err := errPanicked
	defer func() { w.ran <- err }()
	err = w.fn(x)
}

// do runs fn in the loop, in a transaction that waits for the disk.
func (db *DB) do(ctx context.Context, fn func(*work) error) error {
	j := &job{fn: fn, done: make(chan error, 1)}
	select {
	case db.jobs <- j:
		return <-j.done
	case <-ctx.Done():
		return ctx.Err()
	case <-db.quit:
		return store.ErrClosed
	}
}

// run is the loop that owns the writing connection.
func (db *DB) run() {
	timer := time.NewTimer(idleEvery)
	defer timer.Stop()
	for {
		db.breatheLocal()
		busy := db.takeLocal(nil)
		db.takeJob()
		if db.remote.length() > 0 {
			db.breatheRemote()
			db.slice()
			busy = true
		}
		db.due()
		select {
		case <-db.quit:
			db.end()
			return
		default:
		}
		if busy {
			continue
		}
		timer.Reset(db.nextDue())
		select {
		case w := <-db.local:
			db.takeLocal(w)
		case j := <-db.jobs:
			j.done <- db.transaction(true, j.fn)
		case <-db.remote.wake:
		case <-timer.C:
			db.wal.idle()
		case <-db.quit:
		}
	}
}

func (db *DB) end() {
	db.remote.close(store.ErrClosed)
	for {
		select {
		case w := <-db.local:
			w.err = store.ErrClosed
			close(w.done)
		default:
			return
		}
	}
}

func (db *DB) takeJob() {
	select {
	case j := <-db.jobs:
		j.done <- db.transaction(true, j.fn)
	default:
	}
}

// takeLocal commits the local writes that wait, first among them, in groups.
func (db *DB) takeLocal(first *localWrite) bool {
	var group []*localWrite
	if first != nil {
		group = append(group, first)
	}
	for len(group) < maxGroup {
		select {
		case w := <-db.local:
			group = append(group, w)
			continue
		default:
		}
		break
	}
	any := len(group) > 0
	for len(group) > 0 {
		n := 1
		for !group[0].alone && n < len(group) && !group[n].alone {
			n++
		}
		db.commitGroup(group[:n])
		group = group[n:]
	}
	return any
}

// commitGroup runs local writes, each in a savepoint, under one commit.
func (db *DB) commitGroup(group []*localWrite) {
	start := time.Now()
	how := mode{synced: db.cfg.Durability == Fsync, sql: group[0].alone}
	err := db.transact(how, func(w *work) error {
		if len(group) == 1 {
			return w.runAlone(group[0])
		}
		for _, l := range group {
			if err := w.runLocal(l); err != nil {
				return err
			}
		}
		return nil
	})
	for _, l := range group {
		if err != nil && l.err == nil {
			l.err = err // l ran, but the commit failed
		}
		if l.err != nil {
			l.commit = store.Commit{}
		}
		db.metrics.local.WithLabelValues(outcomeLabel(l)).Inc()
		close(l.done)
	}
	db.metrics.commits.Observe(time.Since(start).Seconds())
}

// errUndone ends a transaction whose only write failed: its caller has the error.
var errUndone = errors.New("undone")

// runAlone runs the only local write of a transaction, which is undone with it.
func (w *work) runAlone(l *localWrite) error {
	if l.err = l.ctx.Err(); l.err != nil {
		return errUndone
	}
	inner, err := w.lend(l)
	if err == nil && l.err != nil {
		err = errUndone
	}
	if err == nil {
		w.st.absorb(inner.st)
	}
	return err
}

// runLocal runs one local write of several. Its own failure is its caller's; an
// error here means that the whole transaction is lost.
func (w *work) runLocal(l *localWrite) error {
	if l.err = l.ctx.Err(); l.err != nil {
		return nil
	}
	if err := w.c.exec("SAVEPOINT _fb"); err != nil {
		return err
	}
	inner, err := w.lend(l)
	if err != nil {
		return err
	}
	if l.err != nil {
		return w.c.script("ROLLBACK TO _fb; RELEASE _fb")
	}
	if err := w.c.exec("RELEASE _fb"); err != nil {
		return err
	}
	w.st.absorb(inner.st)
	return nil
}

// lend lets the caller of l run it, and makes the changeset of what it did. The
// work it returns is to be absorbed, if l has no error.
func (w *work) lend(l *localWrite) (*work, error) {
	inner := &work{db: w.db, c: w.c, st: w.st.fork()}
	x := &tx{work: w}
	w.db.capture.start()
	l.turn <- x
	l.err = <-l.ran
	x.done = true
	touched := w.db.capture.stop()
	if l.err == nil {
		l.commit, l.err = inner.commitLocal(touched)
	}
	if w.c.c.AutoCommit() {
		return nil, fmt.Errorf("transaction ended by SQLite: %w", l.err)
	}
	if l.err != nil {
		l.ahead = w.st.clock.Last().Wall().Sub(w.db.cfg.Now().Add(hlc.MaxAhead))
	}
	return inner, nil
}

var errPanicked = errors.New("write panicked")

// transaction runs fn in one SQL transaction.
func (db *DB) transaction(synced bool, fn func(*work) error) error {
	return db.transact(mode{synced: synced}, fn)
}

// mode is how a transaction runs.
type mode struct {
	synced bool // its commit waits for the disk
	sql    bool // it runs statements of users, so triggers must tell what they touch
}

// transact runs fn in one SQL transaction, and publishes what it did once that
// is committed.
func (db *DB) transact(how mode, fn func(*work) error) error {
	if err := db.Failed(); err != nil {
		return err
	}
	err := errors.Join(db.sync(how.synced), db.c.triggers(how.sql))
	if err == nil {
		err = db.c.exec("BEGIN IMMEDIATE")
	}
	if err != nil {
		return db.broken(err)
	}
	w := &work{db: db, c: db.c, st: db.st.fork()}
	w.begin()
	err = fn(w)
	if err == nil {
		err = w.flush(db.st.clock.Last())
	}
	if err == nil {
		err = db.c.exec("COMMIT")
	}
	if errors.Is(err, errUndone) {
		return db.broken(db.rollback())
	}
	if err != nil {
		return db.broken(errors.Join(err, db.rollback()))
	}
	db.st.absorb(w.st)
	db.publish()
	return nil
}

// publish tells of what is committed.
func (db *DB) publish() {
	self := db.st.get(db.st.self).writer
	if old := db.writer.Load(); old == nil || *old != self {
		db.writer.Store(&self)
	}
	db.held.Store(db.st.withheld)
	db.line.publish(db.st.entries, db.st.boots)
	db.wal.wrote(db.c.state.Frames())
	db.st.entries, db.st.lines = nil, db.st.lines[:0]
}

// sync makes commits wait for the disk, or not.
func (db *DB) sync(on bool) error {
	if on == db.synced {
		return nil
	}
	mode := "NORMAL"
	if on {
		mode = "FULL"
	}
	err := db.c.script("PRAGMA synchronous = " + mode)
	if err == nil {
		db.synced = on
	}
	return err
}

// broken notes an error after which nobody knows what is durable.
func (db *DB) broken(err error) error {
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return err
	}
	if e.ExtendedCode == sqlite3.ErrIoErrFsync || e.ExtendedCode == sqlite3.ErrIoErrDirFsync || e.Code == sqlite3.ErrCorrupt || e.Code == sqlite3.ErrNotADB {
		err = fmt.Errorf("store takes no more writes: %w", err)
		db.failed.CompareAndSwap(nil, &err)
		db.cfg.Logger.Error("database failed", "path", db.cfg.Path, "err", err)
	}
	return err
}

// due does what has become due.
func (db *DB) due() {
	if db.st.ahead > 0 {
		more := true
		for more {
			err := db.transaction(false, func(w *work) (err error) {
				more, err = w.releaseAhead()
				return err
			})
			if err != nil {
				db.cfg.Logger.Warn("release of withheld records", "err", err)
				break
			}
		}
	}
	if oldest := db.line.trimmable(trimEvery); oldest > 0 {
		err := db.transaction(false, func(w *work) error {
			return w.c.exec(`DELETE FROM _fb_local_feed WHERE sequence < ?`, int64(oldest))
		})
		if err != nil {
			db.cfg.Logger.Warn("trim of the feed", "err", err)
			return
		}
		db.line.trimmed(oldest)
	}
}

func (db *DB) nextDue() time.Duration {
	if db.st.ahead > 0 {
		return dueEvery
	}
	return idleEvery
}

// breatheRemote keeps peers' records waiting while a WAL checkpoint that fell
// behind comes to its end, so that the log does not grow without end.
func (db *DB) breatheRemote() {
	done := db.wal.behind(walRemote)
	for done != nil {
		select {
		case <-done:
			return
		case w := <-db.local:
			db.takeLocal(w)
		case j := <-db.jobs:
			j.done <- db.transaction(true, j.fn)
		case <-db.quit:
			return
		}
	}
}

// breatheLocal does so for local writes, but not for long.
func (db *DB) breatheLocal() {
	done := db.wal.behind(walLocal)
	if done == nil {
		return
	}
	t := time.NewTimer(pauseLimit)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	case <-db.quit:
	}
}
