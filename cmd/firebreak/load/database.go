package load

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/cell"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// Database is one table of an SQLite file.
type Database struct {
	file    *sqlite.Foreign
	table   sqlite.ForeignTable
	columns []string
	rows    int64
	read    int64
}

// NewDatabase reads a table of a file, in the order of its key.
func NewDatabase(ctx context.Context, file *sqlite.Foreign, table sqlite.ForeignTable) (*Database, error) {
	n, err := file.Count(ctx, table.Name)
	if err != nil {
		return nil, fmt.Errorf("count rows of %s: %w", table.Name, err)
	}
	return &Database{file: file, table: table, columns: table.Columns, rows: n}, nil
}

// Part implements [Source].
func (d *Database) Part() float64 {
	if d.rows == 0 {
		return 1
	}
	return float64(d.read) / float64(d.rows)
}

// Each implements [Source].
func (d *Database) Each(ctx context.Context, fn func(Row) error) error {
	return d.file.Rows(ctx, d.table, func(vals []record.Value) error {
		d.read++
		r := Row{Columns: slices.Clone(d.columns), Values: make([]cell.Value, len(vals))}
		for i, v := range vals {
			r.Values[i] = cell.Value(v)
		}
		r.Place = d.place(r)
		return fn(r)
	})
}

// place names a row by its key.
func (d *Database) place(r Row) string {
	if len(d.table.Key) == 0 {
		return fmt.Sprintf("row %d", d.read)
	}
	var key []string
	for i, c := range d.columns {
		if contains(d.table.Key, c) {
			key = append(key, fmt.Sprintf("%s = %.80q", c, r.Values[i].Text()))
		}
	}
	return "row " + strings.Join(key, ", ")
}

// marks of Corrosion's and cr-sqlite's own tables.
const clock = "__crsql_clock"

// OfCorrosion splits the tables of a Corrosion database into those that it
// replicated, and its users' others. Its own books, and cr-sqlite's, are in
// neither.
func OfCorrosion(tables []sqlite.ForeignTable) (replicated, local []sqlite.ForeignTable) {
	clocks := map[string]bool{}
	for _, t := range tables {
		if name, ok := strings.CutSuffix(t.Name, clock); ok {
			clocks[name] = true
		}
	}
	for _, t := range tables {
		switch {
		case Books(t.Name):
		case clocks[t.Name]:
			replicated = append(replicated, t)
		default:
			local = append(local, t)
		}
	}
	return replicated, local
}

// Books reports whether a table holds the books of an engine, not rows of a
// user.
func Books(name string) bool {
	name = strings.ToLower(name)
	for _, p := range []string{"crsql_", "__crsql_", "__corro_", "_fb_", "_litestream_"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return strings.HasSuffix(name, clock) || strings.HasSuffix(name, "__crsql_pks")
}
