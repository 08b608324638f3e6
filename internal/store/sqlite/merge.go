package sqlite

import (
	"bytes"
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// MaxDrift is how far in front of this node's wall a shared record may be
// stamped and still be shown at once.
const MaxDrift = 500 * time.Millisecond

// maxAhead is how far in the future a boot may lie.
const maxAhead = 2 * 365 * 24 * time.Hour

// offer is a record that a peer sent, on its way into a table.
type offer struct {
	record.Record
	at     record.Point
	writer int64
	wall   int64
	table  *table
	key    []record.Value
	row    store.Row // nil for a tombstone
	more   []byte
}

func (w *work) offer(c record.Changeset, id int64, r record.Record) (*offer, error) {
	o := &offer{Record: r, at: c.Point(), writer: id, wall: c.Wall, table: w.db.byID[r.Table]}
	var err error
	o.key, err = r.Key.Columns()
	return o, err
}

func (w *work) standing(o *offer) *standing {
	return &standing{
		writer: o.writer, version: o.at.Version, wall: o.wall, order: o.Order, deleted: o.Deleted,
		hash: w.db.hasher.Hash(o.Record, o.at), more: o.more, row: o.row,
	}
}

// merge takes one record of a changeset that was not received before, and
// reports whether it is withheld. An error is the disk's.
//
// What is shown for a key is the highest record received that nothing speaks
// against; what is withheld is kept only while it ranks above that. So both,
// and the fingerprints, are functions of the set received, in any order.
func (w *work) merge(o *offer) (bool, error) {
	if o.Kind == record.Owned && o.at.Writer.Boot <= w.st.evictedUpTo(o.at.Writer.Node) {
		return false, nil
	}
	if o.ForeignOwner(o.at.Writer) {
		return true, w.withholdForeign(o)
	}
	fault, err := w.judge(o)
	if err != nil {
		return false, err
	}
	held, err := w.held(o.Table, o.Key)
	if err != nil {
		return false, err
	}
	var shown *standing
	if fault.shaped {
		if shown, err = w.c.shown(o.table, o.key); err != nil {
			return false, err
		}
	}
	if !record.Wins(o.Rank(o.at), w.rank(o.Kind, shown)) {
		return false, nil
	}
	if fault.reason == "" {
		if fault, err = w.show(o, shown); err != nil {
			return false, err
		}
	}
	if fault.reason != "" {
		return w.withhold(o, fault, shown, held)
	}
	return false, w.showed(o, shown, held)
}

// showed keeps the books of a record that has come to be shown.
func (w *work) showed(o *offer, shown, held *standing) error {
	next := w.standing(o)
	if err := w.putSide(o.table, o.key, next); err != nil {
		return err
	}
	w.retop(o.Kind, w.top(o.Kind, shown, held), w.top(o.Kind, next, held))
	if held != nil && w.top(o.Kind, next, held) == next {
		if err := w.dropHeld(o.Table, o.Key, held); err != nil {
			return err
		}
	}
	var old store.Row
	if shown != nil {
		old = shown.row
	}
	w.note(o.table, o.Key, old, next)
	w.st.clock.Observe(o.Stamp())
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
	if t == nil {
		return fault{reason: store.ReasonSchema, detail: "table is unknown"}, nil
	}
	if t.Kind != o.Kind || len(o.key) != len(t.Key) {
		return fault{reason: store.ReasonConstraint, detail: "kind or key is not the table's"}, nil
	}
	for i, c := range t.Key {
		if kept, err := w.kept(c.Type, o.key[i]); err != nil || !kept {
			return fault{reason: store.ReasonConstraint, detail: "value does not fit column " + c.Name}, err
		}
	}
	ok := fault{shaped: true}
	bad := func(reason store.Reason, format string, args ...any) (fault, error) {
		return fault{reason, fmt.Sprintf(format, args...), true}, nil
	}
	if limit := hlc.At(w.db.cfg.Now().Add(MaxDrift)); o.Stamp() > limit {
		return bad(store.ReasonClock, "stamped %v ahead of this node's clock", o.Stamp().Wall().Sub(w.db.cfg.Now()))
	}
	if o.Deleted {
		return ok, nil
	}
	row, unknown, err := t.Row(o.Record)
	if err != nil {
		return bad(store.ReasonConstraint, "%v", err)
	}
	for i, c := range t.Columns {
		if kept, err := w.kept(c.Type, row[len(t.Key)+i]); err != nil || !kept {
			return fault{store.ReasonConstraint, "value does not fit column " + c.Name, true}, err
		}
	}
	more := record.EncodeCells(unknown)
	again, err := rebuild(t, row, o.Order, more)
	if err != nil {
		return bad(store.ReasonConstraint, "%v", err)
	}
	if again.Order != o.Order || !bytes.Equal(again.Cells, o.Cells) {
		return bad(store.ReasonConstraint, "rank or cells are not in their canonical form")
	}
	if t.Evicts {
		if boot := row[t.Index("boot")]; boot.Type != record.Integer || boot.Int < 0 || uint64(boot.Int) > w.db.bootLimit() {
			return bad(store.ReasonConstraint, "boot %v is beyond two years from now", boot)
		}
	}
	o.row, o.more = row, more
	return ok, nil
}

// rebuild makes the record of a row that the table shows, with the cells of
// columns that it has not.
func rebuild(t *table, row store.Row, order string, more []byte) (record.Record, error) {
	r, err := t.Record(row, order)
	if err != nil || len(more) == 0 {
		return r, err
	}
	cells, err := record.DecodeCells(r.Cells)
	if err != nil {
		return r, err
	}
	extra, err := record.DecodeCells(more)
	if err != nil {
		return r, err
	}
	r.Cells = record.EncodeCells(append(cells, extra...))
	return r, nil
}

// show writes the row. A refusal by SQLite that is the row's own fault comes
// back as one; a failed statement leaves nothing behind.
func (w *work) show(o *offer, shown *standing) (fault, error) {
	var old store.Row
	if shown != nil {
		old = shown.row
	}
	err := w.putRow(o.table, o.key, old, o.row)
	if err != nil && recordsFault(err) {
		return fault{store.ReasonConstraint, err.Error(), true}, nil
	}
	return fault{}, err
}

// kept reports whether a column of this declared type stores v as it is. What
// only SQLite can tell it is asked, on a table of its own.
func (w *work) kept(typ string, v record.Value) (bool, error) {
	a := affinityOf(typ)
	if surelyKept(a, v) {
		return true, nil
	}
	column := map[affinity]string{affinityText: "t", affinityNumeric: "n", affinityReal: "r"}[a]
	if err := w.c.exec("INSERT OR REPLACE INTO temp._fb_probe (one, "+column+") VALUES (1, ?)", v.Any()); err != nil {
		return false, err
	}
	got, err := w.c.row("SELECT " + column + " FROM temp._fb_probe")
	return err == nil && got[0].Equal(v), err
}
