package sqlite

import (
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// What a row does not show of its record lies in _fb_more beside it, as cells
// in the order of their ids, so that the record's bytes can be made again:
//
//   - cells of columns that the table has not;
//   - a cell of a column that has come since and is not taken up yet: it stands
//     while the row has the column's absent value;
//   - the cell of a column that is going, beside the row: once the column is
//     gone nothing else has to be written;
//   - NULL of a column that may not be NULL: the record has no cell of it, and
//     the row shows the zero value of its type.

// column returns a column of t beyond its key, or nil.
func (t *table) column(id record.ColumnID) *column {
	i, found := slices.BinarySearchFunc(t.columns, id, func(c column, id record.ColumnID) int {
		switch {
		case c.ID < id:
			return -1
		case c.ID > id:
			return 1
		}
		return 0
	})
	if !found {
		return nil
	}
	return &t.columns[i]
}

// marks reports whether x says that a record has no cell of c.
func (c *column) marks(x record.Cell) bool {
	return c.NotNull && c.absent.Type == record.Null && x.Value.Type == record.Null
}

// withMore adds to the cells of a row those that lie beside it.
func (t *table) withMore(row store.Row, cells []record.Cell, more []byte) ([]record.Cell, error) {
	err := record.EachCell(string(more), func(x record.Cell) {
		switch c := t.column(x.Column); {
		case c == nil:
			cells = append(cells, x)
		case c.marks(x):
			if row[c.at].Equal(c.missing) {
				cells = slices.DeleteFunc(cells, func(o record.Cell) bool { return o.Column == c.ID })
			}
		case row[c.at].Equal(c.absent):
			cells = append(cells, x)
		}
	})
	return cells, err
}

// takeUp sets in a row what lies beside it for columns that t has by now. It
// reports whether there was any.
func (t *table) takeUp(row store.Row, more []byte) (changed bool, err error) {
	err = record.EachCell(string(more), func(x record.Cell) {
		c := t.column(x.Column)
		if c != nil && !c.going && !c.marks(x) && row[c.at].Equal(c.absent) && !x.Value.Equal(c.absent) {
			row[c.at], changed = x.Value, true
		}
	})
	return changed, err
}

// carry returns what lies beside a row that this node writes: cells of columns
// that are not known here go on, those of columns that were dropped do not.
func (t *table) carry(row store.Row, more []byte, gone map[record.ColumnID]bool) ([]byte, error) {
	var cells []record.Cell
	err := record.EachCell(string(more), func(x record.Cell) {
		if t.column(x.Column) == nil && !gone[x.Column] {
			cells = append(cells, x)
		}
	})
	for _, c := range t.columns {
		if c.going && !row[c.at].Equal(c.absent) {
			cells = append(cells, record.Cell{Column: c.ID, Value: row[c.at]})
		}
	}
	if err != nil || len(cells) == 0 {
		return nil, err
	}
	return record.EncodeCells(cells), nil
}
