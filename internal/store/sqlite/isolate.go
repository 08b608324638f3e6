package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"runtime/debug"

	"github.com/mattn/go-sqlite3"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// panicError is a panic that was caught at a transaction's edge.
type panicError struct {
	what  string
	stack []byte
}

func (e *panicError) Error() string { return "panic: " + e.what }

// shield turns a panic of fn into an error. What fn did must be rolled back.
func shield(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			what := fmt.Sprint(p)
			err = &panicError{what[:min(len(what), 200)], debug.Stack()}
		}
	}()
	return fn()
}

// trouble reports whether err is the disk's, the memory's or this store's, and
// not the fault of what was merged: then nothing is withheld for it.
func trouble(err error) bool {
	var path *fs.PathError
	if errors.Is(err, store.ErrClosed) || errors.As(err, &path) {
		return true
	}
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case sqlite3.ErrConstraint, sqlite3.ErrMismatch, sqlite3.ErrTooBig, sqlite3.ErrError, sqlite3.ErrRange:
		return false
	}
	return true
}

// faultOf says why a record is withheld that could not be merged for err.
func (w *work) faultOf(o *offer, err error) (fault, error) {
	f := fault{reason: store.ReasonConstraint, detail: err.Error()}
	var p *panicError
	if errors.As(err, &p) {
		w.db.cfg.Logger.Error("a record makes the program fail; it is withheld", "writer", o.at.Writer.String(), "version", uint64(o.at.Version), "err", p.what, "stack", string(p.stack))
		f.reason = store.ReasonPanic
	}
	var why error
	f.shaped, why = w.fits(o)
	return f, why
}

// mergeCarefully merges the records of a changeset one at a time, each alone
// in the journal and in a savepoint: what fails is withheld, the rest is not
// touched by it.
func (w *work) mergeCarefully(d *delivery, c record.Changeset, id int64) error {
	for _, r := range voidsFirst(c.Records) {
		o := new(offer)
		if err := w.offer(o, c, id, r); err != nil {
			return err
		}
		withheld, err := w.mergeAlone(o)
		if err != nil {
			return fmt.Errorf("apply changeset %v: %w", c.Point(), err)
		}
		d.out.Withheld += withheld
	}
	return nil
}

func (w *work) mergeAlone(o *offer) (withheld int, err error) {
	hash := w.db.hasher.Hash(o.Record, o.at)
	f := fault{}
	if n := w.db.suspects.crashes[hash]; n >= maxCrashes {
		if f.shaped, err = w.fits(o); err != nil {
			return 0, err
		}
		f.reason, f.detail = store.ReasonCrash, fmt.Sprintf("the process ended %d times while it merged this record alone", n)
	} else {
		if err := w.db.intents.addAlone(hash); err != nil {
			return 0, err
		}
		withheld, err = w.attempt(o)
		if err == nil && n > 0 {
			delete(w.db.suspects.crashes, hash)
			err = w.c.exec(sqlDropCrash, hash[:])
		}
		if err == nil || trouble(err) {
			return withheld, err
		}
		if f, err = w.faultOf(o, err); err != nil {
			return 0, err
		}
	}
	o.forced = f
	return w.attempt(o)
}

// attempt merges one record in a savepoint, which is undone if that fails or
// panics.
func (w *work) attempt(o *offer) (withheld int, err error) {
	err = w.inSavepoint(func(inner *work) (err error) {
		offers := []offer{*o}
		withheld, err = inner.merge(offers)
		return err
	})
	return withheld, err
}

func (w *work) inSavepoint(fn func(inner *work) error) error {
	if err := w.c.exec("SAVEPOINT _fb_one"); err != nil {
		return err
	}
	inner := &work{db: w.db, c: w.c, st: w.st.fork(), careful: true, changed: maps.Clone(w.changed), nodes: maps.Clone(w.nodes), changes: w.changes, quiet: w.quiet, join: w.join}
	if err := shield(func() error { return fn(inner) }); err != nil {
		if w.c.c.AutoCommit() {
			return err // SQLite has undone all
		}
		return errors.Join(err, w.c.script("ROLLBACK TO _fb_one; RELEASE _fb_one"))
	}
	if err := w.c.exec("RELEASE _fb_one"); err != nil {
		return err
	}
	w.st.absorb(inner.st)
	w.changed, w.nodes, w.changes, w.join = inner.changed, inner.nodes, inner.changes, inner.join
	return nil
}

// sliceAlone merges one changeset of d, whose records are suspect.
func (db *DB) sliceAlone(d *delivery) {
	from, done := d.from, false
	err := db.transaction(false, func(w *work) error {
		w.careful = true
		err := shield(func() (err error) {
			done, err = w.takeDelivery(d, func() bool { return true })
			return err
		})
		return errors.Join(err, db.intents.clear())
	})
	if err == nil {
		to := d.from - 1
		if done {
			to = d.Range.To
		}
		err = db.cleared(d.Writer, record.Range{From: max(from, d.Range.From), To: to})
	}
	switch {
	case err != nil && trouble(err):
		db.remote.fail([]*delivery{d}, err)
	case err != nil:
		// Not one record's fault, or it would be withheld: a gap stays.
		db.cfg.Logger.Error("delivery cannot be merged", "writer", d.Writer.String(), "err", err)
		d.out = store.Outcome{Status: store.Rejected, Err: err}
		db.finish(d)
	case done:
		db.finish(d)
	default:
		db.remote.unpop(d)
	}
}

// isolate puts deliveries back, of which one makes the merge fail, to be merged
// record by record.
func (db *DB) isolate(taken []*delivery, err error) {
	db.metrics.isolated.Inc()
	db.cfg.Logger.Warn("a record makes the merge fail: the batch is merged record by record", "deliveries", len(taken), "err", err)
	seen := map[*delivery]bool{}
	for i := len(taken) - 1; i >= 0; i-- {
		d := taken[i]
		if seen[d] {
			continue
		}
		seen[d] = true
		db.remote.remove(d)
		d.next, d.from, d.out, d.careful = 0, 0, store.Outcome{}, true
		db.remote.unpop(d)
	}
}

func (db *DB) finish(d *delivery) {
	db.metrics.deliveries.WithLabelValues(statusLabel(d.out.Status)).Inc()
	close(d.done)
	db.remote.leave()
}

// releaseAll judges withheld records anew: together, and if that fails or has
// ended the process before, each alone.
func (db *DB) releaseAll(held []*heldRecord) error {
	alone := false
	for _, h := range held {
		at := db.st.point(h.writer, h.version)
		alone = alone || db.suspects.suspect(at.Writer, record.Range{From: h.version, To: h.version}) || db.suspects.crashes[h.hash] > 0
	}
	if !alone {
		err := db.transaction(false, func(w *work) error {
			return errors.Join(shield(func() error { return w.releaseTogether(held) }), db.intents.clear())
		})
		if err == nil || trouble(err) {
			return err
		}
	}
	for _, h := range held {
		if err := db.releaseAlone(h, false); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) releaseTogether(held []*heldRecord) error {
	for _, h := range held {
		if err := w.db.intents.add(w.st.point(h.writer, h.version).Writer, record.Range{From: h.version, To: h.version}); err != nil {
			return err
		}
		if err := w.release(h); err != nil {
			return err
		}
	}
	return nil
}

// releaseAlone judges one withheld record anew, alone in hand. One that ended
// the process too often stays, for that reason, unless it is tried again. An
// error is the disk's.
func (db *DB) releaseAlone(h *heldRecord, again bool) error {
	at := db.st.point(h.writer, h.version)
	shown := false
	err := db.transaction(false, func(w *work) error {
		if n := db.suspects.crashes[h.hash]; n >= maxCrashes && !again {
			return w.rename(h, store.ReasonCrash, fmt.Sprintf("the process ended %d times while it merged this record alone", n))
		}
		if err := db.intents.addAlone(h.hash); err != nil {
			return err
		}
		err := w.inSavepoint(func(inner *work) error { return inner.release(h) })
		if err != nil && !trouble(err) {
			db.cfg.Logger.Warn("a withheld record still makes the merge fail", "writer", at.Writer.String(), "version", uint64(at.Version), "err", err)
			err = nil
		} else if err == nil {
			shown = true
			err = w.c.exec(sqlDropCrash, h.hash[:])
		}
		return errors.Join(err, db.intents.clear())
	})
	if err == nil && shown {
		delete(db.suspects.crashes, h.hash)
	}
	if err == nil {
		err = db.cleared(at.Writer, record.Range{From: h.version, To: h.version})
	}
	return err
}

// rename gives a withheld record another reason.
func (w *work) rename(h *heldRecord, reason store.Reason, detail string) error {
	w.count(&h.standing, -1)
	h.reason = reason
	w.count(&h.standing, 1)
	return w.c.exec(`UPDATE _fb_withheld SET reason = ?, detail = ? WHERE hash = ?`, string(reason), detail, h.hash[:])
}
