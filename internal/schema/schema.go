// Package schema describes replicated tables: what the store creates, and by
// which ids records name tables and columns. It is pure data; the store reads
// it from SQL, and the in-memory store takes it as it is.
package schema

import (
	"fmt"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// Column is one stored column. Generated columns are no cells and are not
// listed.
type Column struct {
	Name    string // lower case
	Type    string // upper case, as declared
	NotNull bool
	Default record.Value // constant default; NULL for none or for an expression
	Expr    string       // expression default, evaluated by the writer alone; empty for none
	ID      record.ColumnID
}

// Absent returns the value that a row has in c if its record carries no cell.
func (c Column) Absent() record.Value { return c.Default }

// Table is one table. Its rows are the key columns, in key order, and then the
// other columns, in declared order.
type Table struct {
	Name    string // lower case
	Kind    record.Kind
	Key     []Column // the owner first in an owned table
	Columns []Column // the rest
	RankBy  []string // ranked: the columns that rank, all NOT NULL
	Evicts  bool     // ranked: a row (node, boot, …) evicts owned rows of that node up to that boot
	Checks  []string // CHECK expressions over the row itself
	ID      record.TableID
}

// WithIDs returns t with the ids that its definition has at number 0.
func (t Table) WithIDs() Table {
	key := make([]record.KeyColumn, len(t.Key))
	for i, c := range t.Key {
		key[i] = record.KeyColumn{Name: c.Name, Type: c.Type}
	}
	t.ID = record.NewTableID(t.Name, t.Kind, key, 0)
	t.Key, t.Columns = slices.Clone(t.Key), slices.Clone(t.Columns)
	for _, cols := range [][]Column{t.Key, t.Columns} {
		for i := range cols {
			def, expr := cols[i].Default, cols[i].Expr != ""
			if expr {
				def = record.Of(cols[i].Expr)
			}
			cols[i].ID = record.NewColumnID(t.ID, cols[i].Name, cols[i].Type, def, expr, 0)
		}
	}
	return t
}

// Width returns how many values a row of t has.
func (t Table) Width() int { return len(t.Key) + len(t.Columns) }

// Names returns the column names in row order.
func (t Table) Names() []string {
	var out []string
	for _, c := range slices.Concat(t.Key, t.Columns) {
		out = append(out, c.Name)
	}
	return out
}

// Index returns the place of a column in a row, or -1.
func (t Table) Index(name string) int { return slices.Index(t.Names(), name) }

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
		if v := row[len(t.Key)+i]; c.Expr != "" || !v.Equal(c.Absent()) {
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
// its absent value. Cells of unknown columns come back beside it.
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
			row = append(row, c.Absent())
			continue
		}
		row = append(row, cells[i].Value)
		cells = slices.Delete(cells, i, i+1)
	}
	return row, cells, nil
}

// SQL returns the CREATE TABLE statement of t. Every table with a key that is
// not a lone INTEGER is WITHOUT ROWID, so owned tables cluster by owner.
func (t Table) SQL() string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE %s (", Quote(t.Name))
	for i, c := range slices.Concat(t.Key, t.Columns) {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %s", Quote(c.Name), c.Type)
		if c.NotNull || i < len(t.Key) {
			b.WriteString(" NOT NULL")
		}
		if c.Expr != "" {
			fmt.Fprintf(&b, " DEFAULT (%s)", c.Expr)
		} else if c.Default.Type != record.Null {
			fmt.Fprintf(&b, " DEFAULT %s", literal(c.Default))
		}
	}
	names := make([]string, len(t.Key))
	for i, c := range t.Key {
		names[i] = Quote(c.Name)
	}
	fmt.Fprintf(&b, ", PRIMARY KEY (%s)", strings.Join(names, ", "))
	for _, c := range t.Checks {
		fmt.Fprintf(&b, ", CHECK (%s)", c)
	}
	b.WriteString(") WITHOUT ROWID")
	return b.String()
}

// Quote returns name as an SQL identifier.
func Quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func literal(v record.Value) string {
	switch v.Type {
	case record.Text:
		return "'" + strings.ReplaceAll(v.Data, "'", "''") + "'"
	case record.Blob:
		return fmt.Sprintf("x'%x'", v.Data)
	}
	return v.String()
}
