package schema

import (
	"fmt"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// Record makes the record of a row. Stamp is the Order of a shared record.
func (t Table) Record(row []record.Value, stamp string) (record.Record, error) {
	if len(row) != t.Width() {
		return record.Record{}, fmt.Errorf("table %s: row of %d values, want %d", t.Name, len(row), t.Width())
	}
	key, err := record.EncodeKey(row[:len(t.Key)]...)
	if err != nil {
		return record.Record{}, fmt.Errorf("table %s: %w", t.Name, err)
	}
	r := record.Record{Table: t.ID, Kind: t.Kind, Key: key}
	var cells []record.Cell
	for i, c := range t.Columns {
		if v := row[len(t.Key)+i]; !v.Equal(c.Absent()) {
			cells = append(cells, record.Cell{Column: c.ID, Value: v})
		}
	}
	r.Cells = record.EncodeCells(cells)
	switch t.Kind {
	case record.Shared:
		r.Order = stamp
	case record.Ranked:
		r.Order, err = t.order(row)
	}
	return r, err
}

func (t Table) order(row []record.Value) (string, error) {
	vals := make([]record.Value, len(t.RankBy))
	for i, name := range t.RankBy {
		vals[i] = row[t.Index(name)]
	}
	k, err := record.EncodeKey(vals...)
	if err != nil {
		return "", fmt.Errorf("table %s: rank columns %s: %w", t.Name, strings.Join(t.RankBy, ", "), err)
	}
	return string(k), nil
}

// Row makes the row of a live record: key columns, then each column's cell or
// what a row shows without one. Cells of unknown columns come back beside it.
func (t Table) Row(r record.Record) (row []record.Value, unknown []record.Cell, err error) {
	row, err = r.Key.Columns()
	if err != nil {
		return nil, nil, err
	}
	if len(row) != len(t.Key) {
		return nil, nil, fmt.Errorf("table %s: key of %d columns, want %d", t.Name, len(row), len(t.Key))
	}
	cells, err := record.DecodeCells(r.Cells)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range t.Columns {
		i := slices.IndexFunc(cells, func(x record.Cell) bool { return x.Column == c.ID })
		if i < 0 {
			row = append(row, c.Missing(t.Strict))
			continue
		}
		row = append(row, cells[i].Value)
		cells = slices.Delete(cells, i, i+1)
	}
	return row, cells, nil
}
