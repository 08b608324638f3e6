package sqlite

import (
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// MaxDrift is how far in front of this node's wall a shared record may be
// stamped and still be shown at once.
const MaxDrift = hlc.MaxDrift

// maxAhead is how far in the future a boot may lie.
const maxAhead = 2 * 365 * 24 * time.Hour

// offer is a record that a peer sent, on its way into a table.
type offer struct {
	record.Record
	at     record.Point
	writer int64
	wall   int64
	since  int64 // when it was withheld first, in Unix milliseconds; zero if it was not
	table  *table
	key    []record.Value
	row    store.Row // nil for a tombstone
	more   []byte

	// What merge has found out.
	forced      fault // known before: why it cannot be shown
	fault       fault
	shown, held *standing
	over        bool // withheld, or to be dropped

	room standing        // of shown
	cols [2]record.Value // of key
}

// offer makes o of a record.
func (w *work) offer(o *offer, c record.Changeset, id int64, r record.Record) (err error) {
	*o = offer{Record: r, at: c.Point(), writer: id, wall: c.Wall, table: w.db.tables().byID[r.Table]}
	o.key, err = r.Key.AppendColumns(o.cols[:0])
	return err
}

func (w *work) standing(o *offer) standing {
	return standing{
		writer: o.writer, version: o.at.Version, wall: o.wall, order: o.Order, deleted: o.Deleted,
		hash: w.db.hasher.Hash(o.Record, o.at), more: o.more, row: o.row,
	}
}

// merge takes records of one changeset and one table that were not received
// before, and returns how many of them are withheld. An error is the disk's.
//
// What is shown for a key is the highest record received that nothing speaks
// against; what is withheld is kept only while it ranks above that. So both,
// and the fingerprints, are functions of the set received, in any order.
func (w *work) merge(offers []offer) (withheld int, err error) {
	t := offers[0].table
	for i := range offers {
		if err := w.look(&offers[i]); err != nil {
			return 0, err
		}
	}
	if err := w.findShown(t, offers); err != nil {
		return 0, err
	}
	for i := range offers {
		if o := &offers[i]; !o.over && !w.wins(o, o.shown) {
			o.over = true
		}
	}
	if err := w.show(t, offers); err != nil {
		return 0, err
	}
	side := w.db.packed.books.reset()
	for i := range offers {
		o := &offers[i]
		kept := o.fault.reason == store.ReasonOwner
		switch {
		case o.over:
		case o.fault.reason != "":
			kept, err = w.withhold(o, o.fault, o.shown, o.held)
		default:
			err = w.showed(o, side)
		}
		if err != nil {
			return 0, err
		}
		if kept {
			withheld++
		}
	}
	if side.n > 0 {
		_, _, err = w.c.many(t.putSide, side.args, side.n)
	}
	return withheld, err
}

// look finds out what can be said of o without its table.
func (w *work) look(o *offer) (err error) {
	switch {
	case o.Kind == record.Owned && w.st.over(o.at.Writer), w.st.voids.Cover(o.at.Writer, o.Stamp()):
		o.over = true
		return nil
	case o.ForeignOwner(o.at.Writer):
		o.over, o.fault = true, fault{reason: store.ReasonOwner}
		return w.withholdForeign(o)
	}
	if o.fault = o.forced; o.fault.reason == "" {
		o.fault, err = w.judge(o)
	}
	if err == nil {
		o.held, err = w.held(o.Table, o.Key)
	}
	return err
}

// showed keeps the books of a record that has come to be shown.
func (w *work) showed(o *offer, side *packed) error {
	s := w.standing(o)
	next := &s
	side.addBooks(next, o.key)
	w.retop(o.Kind, w.top(o.Kind, o.shown, o.held), w.top(o.Kind, next, o.held))
	if o.held != nil && w.top(o.Kind, next, o.held) == next {
		if err := w.dropHeld(o.Table, o.Key, o.held); err != nil {
			return err
		}
	}
	var old store.Row
	if o.shown != nil {
		old = o.shown.row
	}
	w.note(o.table, o.Key, old, next)
	w.st.clock.Observe(o.Stamp())
	if o.table.ID == closedID && !o.Deleted {
		w.st.change(o.writer).closed = o.at.Version
		w.st.pending[o.at.Writer.Node] = true
	}
	if err := w.voidBy(o.table, o.row, o.at.Writer); err != nil {
		return err
	}
	return w.evictBy(o.table, o.row)
}

// fault is what speaks against showing a record.
type fault struct {
	reason store.Reason
	detail string
	shaped bool // its key is one that the table can hold
}

// judge looks at a record by the schema and the clock of this node.
func (w *work) judge(o *offer) (fault, error) {
	t := o.table
	switch {
	case t == nil && o.Stub != nil:
		return fault{reason: store.Reason(o.Stub.Reason), detail: "its cells were discarded"}, nil
	case t == nil:
		w.db.straySeen(o.Table)
		return fault{reason: store.ReasonSchema, detail: "table is unknown"}, nil
	}
	if fits, err := w.fits(o); err != nil || !fits {
		return fault{reason: store.ReasonConstraint, detail: "kind or key is not the table's"}, err
	}
	if err := t.fitsKey(o.key); err != nil {
		return fault{reason: store.ReasonConstraint, detail: err.Error()}, nil
	}
	ok := fault{shaped: true}
	if o.Stub != nil {
		return fault{store.Reason(o.Stub.Reason), "its cells were discarded", true}, nil
	}
	bad := func(reason store.Reason, format string, args ...any) (fault, error) {
		return fault{reason, fmt.Sprintf(format, args...), true}, nil
	}
	if w.db.ahead(o.Stamp()) {
		return bad(store.ReasonClock, "stamped %v ahead of this node's clock", o.Stamp().Wall().Sub(w.db.cfg.Now()))
	}
	if o.Deleted {
		if t.ID == closedID || t.ID == voidID {
			return bad(store.ReasonConstraint, "a row of %s is never deleted", t.Name)
		}
		return ok, nil
	}
	row, more, canonical, err := t.decode(o.Record, o.key)
	if err != nil {
		return bad(store.ReasonConstraint, "%v", err)
	}
	if c := t.missing(row); c != "" {
		return bad(store.ReasonConstraint, "NOT NULL constraint failed: %s.%s", t.Name, c)
	}
	for i := range t.columns {
		c := &t.columns[i] // large, and this is done for every row
		if surelyKept(c.affinity, row[c.at]) {
			continue
		}
		if kept, err := w.kept(c.affinity, row[c.at]); err != nil || !kept {
			return fault{store.ReasonConstraint, "value does not fit column " + c.Name, true}, err
		}
	}
	if !canonical {
		return bad(store.ReasonConstraint, "rank or cells are not in their canonical form")
	}
	if t.Evicts {
		if boot := row[t.bootAt]; boot.Type != record.Integer || boot.Int < 0 || uint64(boot.Int) > w.db.bootLimit() {
			return bad(store.ReasonConstraint, "boot %v is beyond two years from now", boot)
		}
	}
	if t.engine {
		if err := checkDefinition(row); err != nil {
			return bad(store.ReasonConstraint, "%v", err)
		}
	}
	if t.ID == closedID {
		if err := closedBy(row, o.at.Writer); err != nil {
			return bad(store.ReasonConstraint, "%v", err)
		}
	}
	if t.ID == voidID {
		if _, err := store.VoidOf(row, o.at.Writer); err != nil {
			return bad(store.ReasonConstraint, "%v", err)
		}
	}
	if w.db.cfg.Trip != nil {
		w.db.cfg.Trip(t.Name, row)
	}
	o.row, o.more = row, more
	return ok, nil
}

// ahead reports whether a stamp lies so far in front of this node's wall that it
// must move nothing here: what it belongs to is withheld, for whatever reason,
// and the clock of this node's own stamps does not follow it.
func (db *DB) ahead(t hlc.Timestamp) bool { return t > hlc.At(db.cfg.Now().Add(MaxDrift)) }

// fits reports whether the table can hold a row with the key of o.
func (w *work) fits(o *offer) (bool, error) {
	t := o.table
	if t == nil || t.Kind != o.Kind || len(o.key) != len(t.Key) {
		return false, nil
	}
	for i := range t.Key {
		if kept, err := w.kept(t.keys[i], o.key[i]); err != nil || !kept {
			return false, err
		}
	}
	return true, nil
}

// rebuild makes the record of a row that the table shows, with what lies
// beside it.
func rebuild(t *table, row store.Row, order string, more []byte) (record.Record, error) {
	r, err := t.encode(row, order)
	if err != nil || len(more) == 0 {
		return r, err
	}
	cells, err := record.DecodeCells(r.Cells)
	if err != nil {
		return r, err
	}
	if cells, err = t.withMore(row, cells, more); err != nil {
		return r, err
	}
	r.Cells = record.EncodeCells(cells)
	return r, nil
}

// kept reports whether a column of this affinity stores v as it is.
func (w *work) kept(a affinity, v record.Value) (bool, error) {
	got, err := w.stored(a, v)
	return err == nil && got.Equal(v), err
}

// stored is what a column of this affinity makes of v. What only SQLite can
// tell it is asked, on a table of its own.
func (w *work) stored(a affinity, v record.Value) (record.Value, error) {
	if surelyKept(a, v) {
		return v, nil
	}
	column := map[affinity]string{affinityText: "t", affinityNumeric: "n", affinityReal: "r"}[a]
	if err := w.c.exec("INSERT OR REPLACE INTO temp._fb_probe (one, "+column+") VALUES (1, ?)", v.Any()); err != nil {
		return v, err
	}
	got, err := w.c.row("SELECT " + column + " FROM temp._fb_probe")
	if err != nil {
		return v, err
	}
	return got[0], nil
}
