package sqlite

import (
	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// release judges a withheld record anew, and shows it if nothing speaks
// against it any more.
func (w *work) release(h *heldRecord) error {
	at := w.st.point(h.writer, h.version)
	offers := make([]offer, 1)
	o := &offers[0]
	if err := w.offer(o, record.Changeset{Writer: at.Writer, Version: at.Version, Wall: h.wall}, h.writer, h.Record); err != nil {
		return err
	}
	o.since = h.since
	f, err := w.judge(o)
	if err != nil {
		return err
	}
	if f.reason == h.reason {
		return nil // still so
	}
	var shown *standing
	if f.shaped {
		if shown, err = w.c.shown(o.table, o.key); err != nil {
			return err
		}
	}
	if err := w.dropHeld(h.Table, h.Key, &h.standing); err != nil {
		return err
	}
	w.begin()
	w.retop(h.Kind, w.top(h.Kind, shown, &h.standing), shown)
	if _, err := w.merge(offers); err != nil {
		return err
	}
	if len(w.changes) > 0 { // else it is withheld again, or a tombstone of nothing: all sums are as they were
		w.enter(at, nil)
	}
	return nil
}

// releaseAhead shows what was stamped ahead and is so no longer, and reports
// whether there may be more.
func (w *work) releaseAhead() (bool, error) {
	limit := record.StampOrder(hlc.At(w.db.cfg.Now().Add(MaxDrift)))
	due, err := w.list(sqlHeldClock, []byte(limit))
	if err != nil {
		return false, err
	}
	for _, h := range due {
		if err := w.release(h); err != nil {
			return false, err
		}
	}
	return len(due) > 0, nil
}

// retryWithheld judges everything withheld anew: the schema may have come, or
// the program learnt better.
func (db *DB) retryWithheld() error {
	var table int64 = -1 << 63
	key := []byte{}
	for {
		var held []*heldRecord
		err := db.transaction(false, func(w *work) (err error) {
			held, err = w.list(sqlHeldRetry, table, key)
			return err
		})
		if err != nil || len(held) == 0 {
			return err
		}
		for _, h := range held {
			table, key = int64(h.Table), []byte(h.Key)
		}
		if err := db.releaseAll(held); err != nil {
			return err
		}
	}
}
