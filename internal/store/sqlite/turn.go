package sqlite

import (
	"fmt"
	"runtime/debug"
)

// The turn is the right to all that the loop owns, the connection that writes
// above all. The loop has it, but for when it waits for something to do: then a
// local write may take it and run in the goroutine of its caller. A write alone
// so needs no other goroutine, which would cost more than its SQL.
//
// It is a channel of size one: full while somebody has the turn. Who waits for
// it gets it in the order of coming, so the loop waits for one write at most.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take()     { t <- struct{}{} }
func (t turn) giveBack() { <-t }

// tryTake takes the turn if nobody has it.
func (t turn) tryTake() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

// inPlace runs w in the goroutine of its caller, and reports whether it has: it
// does if the loop waits, and writes have come one at a time of late. Those of
// users' SQL do not: they take long.
func (db *DB) inPlace(w *localWrite) bool {
	if w.alone || !db.turn.tryTake() {
		return false
	}
	if db.crowd > 1 || len(db.local) > 0 || db.wal.behind(walLocal) != nil {
		db.turn.giveBack()
		return false
	}
	w.here, db.lent = true, true
	over := false
	defer func() {
		switch {
		case over:
		case w.lent:
			db.undo(w)
		default:
			// The engine's own code has panicked. As in the loop that ends the
			// process, whatever the caller recovers from.
			what := fmt.Sprintf("local write: %v\n%s", recover(), debug.Stack())
			go func() { panic(what) }()
			return
		}
		db.turn.giveBack()
	}()
	db.commitGroup([]*localWrite{w})
	over = true
	if db.nextDue() == 0 || db.line.trimmable(trimEvery) > 0 {
		db.remote.kick() // the loop, which has something to do
	}
	return true
}

// undo undoes the transaction of a write that has panicked, or has ended its
// goroutine.
func (db *DB) undo(w *localWrite) {
	db.capture.stop()
	if err := db.rollback(); err != nil {
		db.cfg.Logger.Error("rollback", "err", db.broken(err))
	}
	w.err = errPanicked
	db.metrics.local.WithLabelValues(outcomeLabel(w)).Inc()
}
