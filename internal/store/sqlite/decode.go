package sqlite

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// column is one of a table beyond its key, as records have it.
type column struct {
	schema.Column
	at       int // in a row
	affinity affinity
	absent   record.Value
	missing  record.Value // what a row shows of a record that has no cell
	going    bool         // it was dropped, and is about to be taken out of the table
}

// columnsOf returns the columns of s in the order of cells.
func columnsOf(s schema.Table) []column {
	out := make([]column, len(s.Columns))
	for i, c := range s.Columns {
		out[i] = column{Column: c, at: len(s.Key) + i, affinity: affinityIn(s, c.Type), absent: c.Absent(), missing: c.Missing(s.Strict)}
	}
	slices.SortFunc(out, func(a, b column) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// decode makes the row of a live record with this key, and the bytes of cells
// that lie beside it. It reports whether the record is as a table of these
// columns writes it: a cell that equals its column's absent value is left out.
func (t *table) decode(r record.Record, key []record.Value) (row store.Row, more []byte, canonical bool, err error) {
	row = make(store.Row, t.Width())
	copy(row, key)
	canonical = true
	known := t.columns
	absent := func() {
		c := &known[0]
		if row[c.at] = c.missing; !c.missing.Equal(c.absent) {
			more = record.AppendCell(more, record.Cell{Column: c.ID})
		}
		known = known[1:]
	}
	err = record.EachCell(string(r.Cells), func(c record.Cell) {
		for len(known) > 0 && known[0].ID < c.Column {
			absent()
		}
		if len(known) == 0 || known[0].ID != c.Column {
			more = record.AppendCell(more, c)
			return
		}
		row[known[0].at] = c.Value
		canonical = canonical && !c.Value.Equal(known[0].absent)
		if known[0].going {
			more = record.AppendCell(more, c)
		}
		known = known[1:]
	})
	for len(known) > 0 {
		absent()
	}
	if t.Kind == record.Ranked && canonical && err == nil {
		order, bad := t.order(row)
		canonical = bad == nil && order == r.Order
	}
	return row, more, canonical, err
}

// encode makes the record of a row. Order is that of a shared one. It is what
// [schema.Table.Record] makes, in the order that the columns are in already.
func (t *table) encode(row store.Row, order string) (record.Record, error) {
	key, err := record.EncodeKey(row[:len(t.Key)]...)
	if err != nil {
		return record.Record{}, fmt.Errorf("table %s: %w", t.Name, err)
	}
	r := record.Record{Table: t.ID, Kind: t.Kind, Key: key}
	size := 0
	for _, v := range row[len(t.Key):] {
		size += 24 + len(v.Data)
	}
	cells := make([]byte, 0, size)
	for i := range t.columns {
		c := &t.columns[i]
		if v := row[c.at]; !v.Equal(c.absent) {
			cells = record.AppendCell(cells, record.Cell{Column: c.ID, Value: v})
		}
	}
	if len(cells) > 0 {
		r.Cells = cells
	}
	switch t.Kind {
	case record.Shared:
		r.Order = order
	case record.Ranked:
		r.Order, err = t.order(row)
	}
	return r, err
}

// order is the ordered encoding of the rank columns of a row.
func (t *table) order(row store.Row) (string, error) {
	vals := make([]record.Value, len(t.rankAt))
	for i, at := range t.rankAt {
		vals[i] = row[at]
	}
	k, err := record.EncodeKey(vals...)
	if err != nil {
		return "", fmt.Errorf("table %s: rank columns %s: %w", t.Name, strings.Join(t.RankBy, ", "), err)
	}
	return string(k), nil
}

// missing names a column that may not be NULL and is: REPLACE would write its
// default for it.
func (t *table) missing(row store.Row) string {
	for i := range t.columns {
		if c := &t.columns[i]; c.NotNull && row[c.at].Type == record.Null {
			return c.Name
		}
	}
	return ""
}
