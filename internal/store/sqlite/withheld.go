package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

const (
	heldColumns  = `w, v, wall, ord, del, hash, tbl, key, kind, cells, reason, detail, since, stub`
	sqlHeld      = `SELECT ` + heldColumns + ` FROM _fb_withheld WHERE tbl = ? AND key = ? AND foreign_w = 0 AND foreign_v = 0`
	sqlDropHeld  = `DELETE FROM _fb_withheld WHERE tbl = ? AND key = ? AND foreign_w = 0 AND foreign_v = 0`
	sqlHeldOf    = `SELECT ` + heldColumns + ` FROM _fb_withheld WHERE w = ? AND v BETWEEN ? AND ?`
	sqlHeldAll   = `SELECT ` + heldColumns + ` FROM _fb_withheld ORDER BY tbl, key, foreign_w, foreign_v`
	sqlForeign   = `SELECT 1 FROM _fb_withheld WHERE tbl = ? AND key = ? AND foreign_w = ? AND foreign_v = ?`
	sqlHeldHash  = `SELECT ` + heldColumns + `, foreign_w FROM _fb_withheld WHERE hash = ?`
	sqlHeldRetry = `SELECT ` + heldColumns + ` FROM _fb_withheld WHERE foreign_w = 0 AND stub = 0 AND reason <> 'crash' AND (tbl, key) > (?, ?) ORDER BY tbl, key LIMIT 500`
	sqlHeldClock = `SELECT ` + heldColumns + ` FROM _fb_withheld WHERE reason = 'clock' AND stub = 0 AND ord <= ? LIMIT 100`
	sqlOverHeld  = `SELECT DISTINCT node FROM (SELECT w, sum(length(key) + length(cells) + 128) AS size FROM _fb_withheld GROUP BY w) JOIN _fb_writers ON id = w WHERE size > ? ORDER BY node`
	sqlPutHeld   = `INSERT INTO _fb_withheld (foreign_w, foreign_v, ` + heldColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
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
	switch cells := r[9].Data; {
	case r[13].Int != 0:
		h.Stub = &record.Stub{Hash: h.hash, Reason: string(h.reason)}
	case cells != "":
		h.Cells = []byte(cells)
	}
	return h
}

// held returns what is withheld for a key, foreign records aside.
func (w *work) held(t record.TableID, k record.Key) (*standing, error) {
	h, err := w.heldRecord(t, k)
	if err != nil || h == nil {
		return nil, err
	}
	return &h.standing, nil
}

func (w *work) heldRecord(t record.TableID, k record.Key) (*heldRecord, error) {
	if w.st.held.all() == 0 {
		return nil, nil
	}
	r, err := w.c.row(sqlHeld, int64(t), []byte(k))
	if err != nil || r == nil {
		return nil, err
	}
	return readHeld(r), nil
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
	if !w.db.ahead(o.Stamp()) {
		w.st.clock.Observe(o.Stamp()) // or a write of this node would rank below it
	}
	return true, w.putHeld(o, next, f, 0, 0)
}

// withholdForeign keeps a stub of a record in another node's name. It competes
// with nothing, so each has its own place.
func (w *work) withholdForeign(o *offer) error {
	if r, err := w.c.row(sqlForeign, int64(o.Table), []byte(o.Key), o.writer, int64(o.at.Version)); err != nil || r != nil {
		return err // a listing has brought it
	}
	s := new(w.standing(o))
	w.retop(o.Kind, nil, s)
	o.Cells, o.Stub = nil, &record.Stub{Hash: s.hash, Reason: string(store.ReasonOwner)}
	owner, _ := o.Key.Owner()
	f := fault{reason: store.ReasonOwner, detail: fmt.Sprintf("row of %q written by %q", owner, o.at.Writer.Node)}
	return w.putHeld(o, s, f, o.writer, o.at.Version)
}

// maxHeld bounds the bytes withheld of one writer. Over it nothing more of that
// writer is taken: what it sends stays a gap, until something is released.
const maxHeld = 64 << 20

func heldSize(k record.Key, cells string) int64 { return int64(len(k) + len(cells) + 128) }

func (w *work) putHeld(o *offer, s *standing, f fault, foreignWriter int64, foreignVersion record.Version) error {
	s.reason, s.size = f.reason, heldSize(o.Key, string(o.Cells))
	w.count(s, 1)
	cells, since := o.Cells, o.since
	if cells == nil {
		cells = []byte{}
	}
	if since == 0 {
		since = w.db.cfg.Now().UnixMilli()
	}
	return w.c.exec(sqlPutHeld, foreignWriter, int64(foreignVersion),
		s.writer, int64(s.version), s.wall, []byte(s.order), s.deleted, s.hash[:],
		int64(o.Table), []byte(o.Key), int64(o.Kind), cells, string(f.reason), f.detail, since, o.Stub != nil)
}

func (w *work) dropHeld(t record.TableID, k record.Key, held *standing) error {
	w.count(held, -1)
	return w.c.exec(sqlDropHeld, int64(t), []byte(k))
}

// count adds a withheld record to what is counted of them, or takes it out.
func (w *work) count(s *standing, by int64) {
	w.st.held[reasonAt(s.reason)] += by
	w.st.change(s.writer).held += by * s.size
}

// heldCount is how many records are withheld, by [reasonAt].
type heldCount [len(store.Reasons) + 1]int64

// reasonAt is the place of a reason; a stub may bring one of a later program.
func reasonAt(r store.Reason) int {
	if i := slices.Index(store.Reasons[:], r); i >= 0 {
		return i
	}
	return len(store.Reasons)
}

func (h heldCount) all() (n int64) {
	for _, k := range h {
		n += k
	}
	return n
}

// fill puts whole records of d in the place of their stubs. Their versions have
// been received: nothing but what is shown changes.
func (w *work) fill(d *delivery, recv record.Received, id int64) error {
	if w.st.held.all() == 0 {
		return nil
	}
	for _, c := range d.Changesets {
		if !recv.Has(c.Version) {
			continue
		}
		for _, r := range c.Records {
			if r.Stub != nil || r.ForeignOwner(c.Writer) {
				continue
			}
			h, err := w.heldRecord(r.Table, r.Key)
			if err != nil {
				return err
			}
			if h == nil || h.Stub == nil || h.writer != id || h.version != c.Version || w.db.hasher.Hash(r, c.Point()) != h.hash {
				continue
			}
			whole := *h
			whole.Record, whole.reason, whole.size = r, "", heldSize(r.Key, string(r.Cells))
			if err := w.replaceHeld(h, &whole); err != nil {
				return err
			}
		}
	}
	return nil
}

// replaceHeld puts a whole record in the place of its stub, and judges it.
func (w *work) replaceHeld(stub, whole *heldRecord) error {
	w.count(&stub.standing, -1)
	whole.reason = stub.reason
	w.count(&whole.standing, 1)
	cells := whole.Cells
	if cells == nil {
		cells = []byte{}
	}
	if err := w.c.exec(`UPDATE _fb_withheld SET stub = 0, cells = ? WHERE hash = ?`, cells, whole.hash[:]); err != nil {
		return err
	}
	return w.release(whole)
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
	return store.Withheld{
		Table: db.tables().nameOf(h.Table), Key: h.Key, Point: at, Hash: h.hash,
		Reason: h.reason, Detail: h.detail, Since: time.UnixMilli(h.since), Stub: h.Stub != nil, Size: len(h.Key) + len(h.Cells),
	}
}
