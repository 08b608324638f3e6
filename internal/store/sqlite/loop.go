package sqlite

import (
	"context"
	"errors"
	"time"

	"github.com/firebreak-dev/firebreak/internal/store"
)

const (
	dueEvery    = 100 * time.Millisecond // look at what is withheld for the clock
	idleEvery   = time.Second            // move the log into the file when idle
	trimEvery   = 1000                   // feed entries between two trims
	lookCrashed = time.Minute            // between two looks for withheld records to try again
	pauseLimit  = 50 * time.Millisecond  // for a WAL checkpoint to come closer
)

// job is something else that the loop does between its transactions.
type job struct {
	fn   func() error
	done chan error // of size 1
}

// do runs fn in the loop, in a transaction that waits for the disk.
func (db *DB) do(ctx context.Context, fn func(*work) error) error {
	return db.inLoop(ctx, func() error { return db.transaction(true, fn) })
}

// inLoop runs fn in the goroutine that owns the writing connection.
func (db *DB) inLoop(ctx context.Context, fn func() error) error {
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

// run is the loop that owns the writing connection. It keeps the turn when it
// ends.
func (db *DB) run() {
	db.turn.take()
	timer := time.NewTimer(idleEvery)
	defer timer.Stop()
	for {
		db.cfg.Progress()
		db.breatheLocal()
		busy := db.takeLocal(nil)
		db.takeJob()
		if db.remote.length() > 0 && !db.pausedByLog() {
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
		db.wait(timer)
	}
}

// wait waits for something to do, and does it if that is not the work of the
// next round. Meanwhile a local write may have the turn.
func (db *DB) wait(timer *time.Timer) {
	db.lent = false
	timer.Reset(db.nextDue())
	db.turn.giveBack()
	select {
	case w := <-db.local:
		db.turn.take()
		db.takeLocal(w)
	case j := <-db.jobs:
		db.turn.take()
		j.done <- j.fn()
	case <-db.remote.wake:
		db.turn.take()
	case <-timer.C:
		db.turn.take()
		switch {
		case db.lent: // it was no time of rest
		case db.wal.dirty:
			db.wal.idle()
		default:
			db.tryLog()
		}
	case <-db.quit:
		db.turn.take()
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
		j.done <- j.fn()
	default:
	}
}

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
	held := db.st.held
	db.held.Store(&held)
	db.stamp.Store(uint64(db.st.clock.Last()))
	db.line.publish(db.st.entries, db.st.boots)
	db.wal.wrote(db.c.state.Frames())
	db.pausedByLog()
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

// due does what has become due.
func (db *DB) due() {
	db.dueCrashed()
	db.schemaTurn()
	if db.st.held[reasonAt(store.ReasonClock)] > 0 {
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

// dueCrashed tries again what has ended the process, when it is time to.
func (db *DB) dueCrashed() {
	if db.st.held[reasonAt(store.ReasonCrash)] == 0 || db.cfg.Now().Sub(db.looked).Abs() < lookCrashed {
		return
	}
	db.looked = db.cfg.Now()
	for more, err := db.retryCrashed(); more || err != nil; more, err = db.retryCrashed() {
		if err != nil {
			db.cfg.Logger.Warn("retry of withheld records", "err", err)
			return
		}
	}
}

func (db *DB) nextDue() time.Duration {
	if db.st.held[reasonAt(store.ReasonClock)] > 0 {
		return db.nextSchema(dueEvery)
	}
	return db.nextSchema(idleEvery)
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
			j.done <- j.fn()
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
