package sqlite

import (
	"cmp"
	"maps"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// work is one SQL transaction or savepoint of the writing goroutine.
type work struct {
	db *DB
	c  *conn
	st *state

	careful bool // records are merged one at a time

	// Of the feed entry in hand.
	changed map[int64]bool       // writers
	nodes   map[record.Node]bool // whose boots changed
	changes []store.Change
	gone    []record.Writer // forgotten
	quiet   bool            // what is written concerns nobody but peers
	join    bool            // rows may have been dropped and come again
}

// standing is the record that is kept for a key: by a table's bookkeeping, or
// withheld beside it.
type standing struct {
	writer  int64
	version record.Version
	wall    int64
	order   string
	deleted bool
	hash    record.Hash
	more    []byte    // cells of unknown columns, canonical
	row     store.Row // what the table shows, if it was read
	reason  store.Reason
	size    int64 // in bytes, if it is withheld
}

func readSide(r []record.Value, s *standing) {
	*s = standing{
		writer: r[sideWriter].Int, version: record.Version(r[sideVersion].Int), wall: r[sideWall].Int,
		order: r[sideOrder].Data, deleted: r[sideDeleted].Int != 0,
	}
	copy(s.hash[:], r[sideHash].Data)
	if m := r[sideMore].Data; m != "" {
		s.more = []byte(m)
	}
}

// shown returns what t keeps for key, with its row; nil if it never had one.
func (c *conn) shown(t *table, key []record.Value) (*standing, error) {
	r, err := c.get(t.getSide, key)
	if err != nil || r == nil {
		return nil, err
	}
	s := new(standing)
	readSide(r, s)
	if !s.deleted {
		// Not joined: SQLite prepares an outer join anew for every key bound.
		s.row, err = c.get(t.getRow, key)
	}
	return s, err
}

// rank is the rank of s, of a table of kind.
func (w *work) rank(kind record.Kind, s *standing) record.Rank {
	if s == nil {
		return ""
	}
	return record.Record{Kind: kind, Order: s.order}.Rank(w.st.point(s.writer, s.version))
}

// wins reports whether o ranks above s.
func (w *work) wins(o *offer, s *standing) bool {
	if s == nil {
		return true
	}
	at := w.st.point(s.writer, s.version)
	if o.Kind != record.Owned {
		return record.Wins(o.Rank(o.at), w.rank(o.Kind, s))
	}
	// The same without making strings of them.
	return cmp.Or(cmp.Compare(o.at.Writer.Boot, at.Writer.Boot), cmp.Compare(o.at.Writer.Bits, at.Writer.Bits), cmp.Compare(o.at.Version, at.Version)) > 0
}

// top is the higher of what is shown and what is withheld: the one that
// fingerprints count.
func (w *work) top(kind record.Kind, shown, held *standing) *standing {
	if held == nil {
		return shown
	}
	if w.rank(kind, held) > w.rank(kind, shown) {
		return held
	}
	return shown
}

// retop moves a key's place in the fingerprints from one record to another.
func (w *work) retop(kind record.Kind, before, after *standing) {
	if before == after {
		return
	}
	for _, s := range []struct {
		*standing
		in bool
	}{{before, false}, {after, true}} {
		if s.standing != nil && !s.deleted {
			w.st.count(s.writer, kind, s.hash, s.in)
			w.changed[s.writer] = true
		}
	}
}

// putRow makes the table show row, or nothing.
func (w *work) putRow(t *table, key []record.Value, old, row store.Row) error {
	switch {
	case row == nil && old == nil:
		return nil
	case row == nil:
		return w.c.write(t.remove, key)
	case old == nil:
		return w.c.write(t.insert, row)
	case t.update == "":
		return nil
	case t.staysIndexed(old, row):
		return w.c.write(t.cold, t.coldValues(row), key)
	}
	return w.c.write(t.update, row[len(key):], key)
}

// note takes down a change of what is shown.
func (w *work) note(t *table, key record.Key, old store.Row, s *standing) {
	if t.engine {
		w.db.schemaChanged(t)
	}
	if old == nil && s.row == nil || w.quiet || t.internal() {
		return
	}
	if t.Kind == record.Owned && old != nil && s.row != nil && slices.EqualFunc(old, s.row, record.Value.Equal) {
		return // written again as it was: only its record is another
	}
	w.changes = append(w.changes, store.Change{
		Table: t.Name, Key: key, Old: old, New: s.row, OldKnown: true,
		Point: w.st.point(s.writer, s.version), Wall: s.wall,
	})
}

// begin starts a feed entry.
func (w *work) begin() {
	w.changed, w.nodes, w.changes, w.gone = map[int64]bool{}, map[record.Node]bool{}, nil, nil
}

// enter adds the feed entry in hand.
func (w *work) enter(at record.Point, local *record.Changeset) {
	ids := make([]int64, 0, len(w.changed))
	for id := range w.changed {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	if w.join {
		w.changes, w.join = joinChanges(w.changes), false
	}
	w.st.sequence++
	e := store.Entry{Position: w.st.position(), Point: at, Local: local, Changes: w.changes, Forgotten: w.gone}
	for _, n := range slices.Sorted(maps.Keys(w.nodes)) {
		e.Nodes = append(e.Nodes, w.st.node(n))
	}
	for _, id := range ids {
		e.States = append(e.States, w.st.get(id).public())
	}
	w.st.entries = append(w.st.entries, e)
	id, _ := w.st.id(at.Writer)
	w.st.lines = appendLine(w.st.lines, line{at: at, writer: id, writers: ids, changes: w.changes})
}

// flush writes what the transaction changed in memory beside its rows.
func (w *work) flush(before hlc.Timestamp) error {
	if err := w.flushWriters(); err != nil {
		return err
	}
	if last := w.st.clock.Last(); last != before {
		return w.c.exec(sqlPutValue, valueStamp, int64(last))
	}
	return nil
}
