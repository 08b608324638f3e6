package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/store"
)

const (
	maxLocal  = 256         // local writes that wait; callers beyond them wait too
	maxGroup  = 128         // local writes under one commit
	maxYields = 8           // of the processor, for a group to come together
	maxWait   = time.Second // for the clock, before a shared write is refused
)

// localWrite is a local transaction on its way through the loop.
type localWrite struct {
	ctx   context.Context
	fn    func(*tx) error
	alone bool          // it may end its SQL transaction by being interrupted
	turn  chan *tx      // the loop lends the transaction to the caller,
	ran   chan error    // which runs fn and gives it back
	done  chan struct{} // closed when commit and err are set
	here  bool          // it runs in the goroutine of its caller, and needs none of these
	lent  bool          // then: fn is running

	// Owned by the loop until done is closed.
	commit store.Commit
	err    error
	ahead  time.Duration // how long the clock of shared tables would have to wait
}

// Update implements [store.Store]. Fn may run again, if the clock of a shared
// table has to wait for the wall.
func (db *DB) Update(ctx context.Context, fn func(store.Tx) error) (store.Commit, error) {
	return db.update(ctx, false, func(x *tx) error { return fn(x) })
}

func (db *DB) update(ctx context.Context, alone bool, fn func(*tx) error) (store.Commit, error) {
	delayed, err := db.delay(ctx)
	if err != nil {
		return store.Commit{}, err
	}
	commit, err := db.updateNow(ctx, alone, fn)
	commit.Delayed = delayed
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.cfg.Budget.Rate > 0 {
		db.spent.spend(db.cfg.Budget, time.Now(), commit.Records)
	}
	return commit, err
}

// delay waits until this node's own budget is not overdrawn.
func (db *DB) delay(ctx context.Context) (waited time.Duration, err error) {
	if db.cfg.Budget.Rate == 0 {
		return 0, nil
	}
	start := time.Now()
	for {
		db.mu.Lock()
		step := db.spent.wait(db.cfg.Budget, time.Now())
		db.mu.Unlock()
		if step == 0 {
			break
		}
		if err := backoff.Wait(ctx, step+time.Millisecond); err != nil {
			return 0, fmt.Errorf("delayed: this node writes more than %d records a second: %w", db.cfg.Budget.Rate, err)
		}
		waited = time.Since(start)
	}
	db.metrics.delayed.Add(waited.Seconds())
	if waited > time.Second {
		db.cfg.Logger.Warn("local write was delayed: this node writes more than its budget", "rate", db.cfg.Budget.Rate, "waited", waited)
	}
	return waited, nil
}

func (db *DB) updateNow(ctx context.Context, alone bool, fn func(*tx) error) (store.Commit, error) {
	var waited time.Duration
	for {
		w := &localWrite{ctx: ctx, fn: fn, alone: alone}
		if !db.inPlace(w) {
			if err := db.queue(w); err != nil {
				return store.Commit{}, err
			}
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

// queue gives w to the loop and waits for its end.
func (db *DB) queue(w *localWrite) error {
	w.turn, w.ran, w.done = make(chan *tx), make(chan error), make(chan struct{})
	select {
	case db.local <- w:
	case <-w.ctx.Done():
		return w.ctx.Err()
	case <-db.quit:
		return store.ErrClosed
	}
	if !w.await(db.closed) {
		return store.ErrClosed
	}
	return nil
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

// runHere runs fn where its caller is already.
func (w *localWrite) runHere(x *tx) error {
	defer func() { x.done = true }()
	w.lent = true
	err := w.fn(x)
	w.lent = false
	return err
}

// takeLocal commits the local writes that wait, first among them, in groups.
func (db *DB) takeLocal(first *localWrite) bool {
	var group []*localWrite
	if first != nil {
		group = append(group, first)
	}
	group = db.gather(group)
	for tries := 0; len(group) > 0 && len(group) < db.crowd && tries < maxYields; tries++ {
		// Others are about to write too: those that the last commit woke. One
		// commit for all of them is much less work.
		runtime.Gosched()
		group = db.gather(group)
	}
	if len(group) > 0 {
		db.crowd = max(len(group), db.crowd-1)
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

// gather adds the local writes that wait to group.
func (db *DB) gather(group []*localWrite) []*localWrite {
	for len(group) < maxGroup {
		select {
		case w := <-db.local:
			group = append(group, w)
		default:
			return group
		}
	}
	return group
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
		if !l.here {
			close(l.done)
		}
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
	err := w.lend(l)
	if err == nil && l.err != nil {
		err = errUndone
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
	inner := &work{db: w.db, c: w.c, st: w.st.fork()}
	if err := inner.lend(l); err != nil {
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

// lend lets the caller of l run it, and makes the changeset of what it did. If
// l has an error then, the work is to be undone.
func (w *work) lend(l *localWrite) error {
	x := &tx{work: w}
	w.db.capture.start()
	if l.here {
		l.err = l.runHere(x)
	} else {
		l.turn <- x
		l.err = <-l.ran
		x.done = true
	}
	touched := w.db.capture.stop()
	if l.err == nil {
		l.commit, l.err = w.commitLocal(touched)
	}
	if w.c.c.AutoCommit() {
		return fmt.Errorf("transaction ended by SQLite: %w", l.err)
	}
	if l.err != nil {
		l.ahead = w.st.clock.Last().Wall().Sub(w.db.cfg.Now().Add(hlc.MaxAhead))
	}
	return nil
}

var errPanicked = errors.New("write panicked")
