package sqlite

import (
	"cmp"
	"slices"

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
}

// columnsOf returns the columns of s in the order of cells.
func columnsOf(s schema.Table) []column {
	out := make([]column, len(s.Columns))
	for i, c := range s.Columns {
		out[i] = column{Column: c, at: len(s.Key) + i, affinity: affinityOf(c.Type), absent: c.Absent()}
	}
	slices.SortFunc(out, func(a, b column) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// decode makes the row of a live record with this key, and the bytes of cells
// of unknown columns. It reports whether the record is as a table of these
// columns writes it: a cell that equals its column's absent value is left out,
// one of a column whose default is an expression is not.
func (t *table) decode(r record.Record, key []record.Value) (row store.Row, more []byte, canonical bool, err error) {
	row = make(store.Row, t.Width())
	copy(row, key)
	canonical = true
	known := t.columns
	absent := func() {
		row[known[0].at] = known[0].absent
		canonical = canonical && known[0].Expr == ""
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
		canonical = canonical && (known[0].Expr != "" || !c.Value.Equal(known[0].absent))
		known = known[1:]
	})
	for len(known) > 0 {
		absent()
	}
	if t.Kind == record.Ranked && canonical && err == nil {
		vals := make([]record.Value, len(t.rankAt))
		for i, at := range t.rankAt {
			vals[i] = row[at]
		}
		order, bad := record.EncodeKey(vals...)
		canonical = bad == nil && string(order) == r.Order
	}
	return row, more, canonical, err
}

// missing names a column that may not be NULL and is: REPLACE would write its
// default for it.
func (t *table) missing(row store.Row) string {
	for _, c := range t.columns {
		if c.NotNull && row[c.at].Type == record.Null {
			return c.Name
		}
	}
	return ""
}
