package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

const (
	heldColumns  = `w, v, wall, ord, del, hash, tbl, key, kind, cells, reason, detail, since`
	sqlHeld      = `SELECT ` + heldColumns + ` FROM _fb_withheld WHERE tbl = ? AND key = ? AND foreign_w = 0 AND foreign_v = 0`
	sqlDropHeld  = `DELETE FROM _fb_withheld WHERE tbl = ? AND key = ? AND foreign_w = 0 AND foreign_v = 0`
	sqlHeldOf    = `SELECT ` + heldColumns + ` FROM _fb_withheld WHERE w = ? AND v BETWEEN ? AND ?`
	sqlHeldAll   = `SELECT ` + heldColumns + ` FROM _fb_withheld ORDER BY tbl, key, foreign_w, foreign_v`
	sqlHeldRetry = `SELECT ` + heldColumns + ` FROM _fb_withheld WHERE foreign_w = 0 AND (tbl, key) > (?, ?) ORDER BY tbl, key LIMIT 500`
	sqlHeldClock = `SELECT ` + heldColumns + ` FROM _fb_withheld WHERE reason = 'clock' AND ord <= ? LIMIT 100`
	sqlPutHeld   = `INSERT INTO _fb_withheld (foreign_w, foreign_v, ` + heldColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
)

// heldRecord is a withheld record, whole.
type heldRecord struct {
	standing
	record.Record
	detail string
	since  int64
}

func readHeld(r []record.Value) *heldRecord {
	h := &heldRecord{
		standing: standing{
			writer: r[0].Int, version: record.Version(r[1].Int), wall: r[2].Int, order: r[3].Data,
			deleted: r[4].Int != 0, reason: store.Reason(r[10].Data),
		},
		Record: record.Record{
			Table: record.TableID(r[6].Int), Key: record.Key(r[7].Data), Kind: record.Kind(r[8].Int),
			Order: r[3].Data, Deleted: r[4].Int != 0,
		},
		detail: r[11].Data, since: r[12].Int,
	}
	copy(h.hash[:], r[5].Data)
	h.size = heldSize(h.Key, r[9].Data)
	if cells := r[9].Data; cells != "" {
		h.Cells = []byte(cells)
	}
	return h
}

// held returns what is withheld for a key, foreign records aside.
func (w *work) held(t record.TableID, k record.Key) (*standing, error) {
	if w.st.withheld == 0 {
		return nil, nil
	}
	r, err := w.c.row(sqlHeld, int64(t), []byte(k))
	if err != nil || r == nil {
		return nil, err
	}
	return &readHeld(r).standing, nil
}

// withhold keeps o beside its table if it ranks above all there is, and
// reports whether it does.
func (w *work) withhold(o *offer, f fault, shown, held *standing) (bool, error) {
	if !record.Wins(o.Rank(o.at), w.rank(o.Kind, held)) {
		return false, nil
	}
	if held != nil {
		if err := w.dropHeld(o.Table, o.Key, held); err != nil {
			return false, err
		}
	}
	next := new(w.standing(o))
	w.retop(o.Kind, w.top(o.Kind, shown, held), next)
	return true, w.putHeld(o, next, f, 0, 0)
}

// withholdForeign keeps a record in another node's name. It competes with
// nothing, so each has its own place.
func (w *work) withholdForeign(o *offer) error {
	s := new(w.standing(o))
	w.retop(o.Kind, nil, s)
	owner, _ := o.Key.Owner()
	f := fault{reason: store.ReasonOwner, detail: fmt.Sprintf("row of %q written by %q", owner, o.at.Writer.Node)}
	return w.putHeld(o, s, f, o.writer, o.at.Version)
}

// maxHeld bounds the bytes withheld of one writer. Over it nothing more of that
// writer is taken: what it sends stays a gap, until something is released.
const maxHeld = 64 << 20

func heldSize(k record.Key, cells string) int64 { return int64(len(k) + len(cells) + 128) }

func (w *work) putHeld(o *offer, s *standing, f fault, foreignWriter int64, foreignVersion record.Version) error {
	w.st.withheld++
	w.st.change(s.writer).held += heldSize(o.Key, string(o.Cells))
	if f.reason == store.ReasonClock {
		w.st.ahead++
	}
	cells := o.Cells
	if cells == nil {
		cells = []byte{}
	}
	return w.c.exec(sqlPutHeld, foreignWriter, int64(foreignVersion),
		s.writer, int64(s.version), s.wall, []byte(s.order), s.deleted, s.hash[:],
		int64(o.Table), []byte(o.Key), int64(o.Kind), cells, string(f.reason), f.detail, w.db.cfg.Now().UnixMilli())
}

func (w *work) dropHeld(t record.TableID, k record.Key, held *standing) error {
	w.uncount(held)
	return w.c.exec(sqlDropHeld, int64(t), []byte(k))
}

func (w *work) uncount(s *standing) {
	w.st.withheld--
	w.st.change(s.writer).held -= s.size
	if s.reason == store.ReasonClock {
		w.st.ahead--
	}
}

// release judges a withheld record anew.
func (w *work) release(h *heldRecord) error {
	at := w.st.point(h.writer, h.version)
	offers := make([]offer, 1)
	o := &offers[0]
	if err := w.offer(o, record.Changeset{Writer: at.Writer, Version: at.Version, Wall: h.wall}, h.writer, h.Record); err != nil {
		return err
	}
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
	if len(w.changes) == 0 && len(w.changed) == 0 {
		return nil
	}
	w.enter(at, nil)
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

func (w *work) list(sql string, args ...driver.Value) ([]*heldRecord, error) {
	var out []*heldRecord
	err := w.c.rows(context.Background(), sql, args, func(r []record.Value) error {
		out = append(out, readHeld(r))
		return nil
	})
	return out, err
}

// withheldOf makes the listing of h.
func (db *DB) withheldOf(h *heldRecord, at record.Point) store.Withheld {
	name := fmt.Sprintf("%016x", uint64(h.Table))
	if t := db.byID[h.Table]; t != nil {
		name = t.Name
	}
	return store.Withheld{
		Table: name, Key: h.Key, Point: at, Hash: h.hash,
		Reason: h.reason, Detail: h.detail, Since: time.UnixMilli(h.since),
	}
}
