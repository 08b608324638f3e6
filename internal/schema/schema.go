// Package schema describes tables: what the store creates, by which ids records
// name tables and columns, and what is refused by which rule. It is pure data;
// the store reads it from SQL, and the in-memory store takes it as it is.
package schema

import (
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// Column is one stored column.
type Column struct {
	Name    string       // lower case (of ASCII): SQLite tells names apart so
	Spelled string       // as declared, if that is not Name
	Type    string       // upper case, as declared
	NotNull bool         // key columns are, whatever this says
	Default record.Value // constant default, as the column stores it; NULL for none or for an expression
	Expr    string       // expression default, evaluated by the writer alone and then carried; empty for none
	Collate string       // upper case; empty is BINARY; always so in a key
	ID      record.ColumnID
}

// Absent returns the value that a row has in c if its record carries no cell.
func (c Column) Absent() record.Value { return c.Default }

// Missing returns what a row shows of a record that carries no cell of c: the
// absent value, or the zero value of its type if that is NULL and c may not be.
func (c Column) Missing(strict bool) record.Value {
	v := c.Absent()
	if v.Type != record.Null || !c.NotNull {
		return v
	}
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(c.Type, p) })
	}
	// Section 3.1 of https://www.sqlite.org/datatype3.html.
	switch {
	case strict && c.Type == "ANY":
		return record.Of([]byte{})
	case has("INT"):
		return record.Of(0)
	case has("CHAR", "CLOB", "TEXT"):
		return record.Of("")
	case has("BLOB"), c.Type == "":
		return record.Of([]byte{})
	case has("REAL", "FLOA", "DOUB"):
		return record.Of(0.0)
	}
	return record.Of(0)
}

// Generated is a column that each node computes. It has no cells and no id.
type Generated struct {
	Name    string // lower case
	Spelled string // as declared, if that is not Name
	Type    string // upper case, as declared
	Expr    string // as written, without its parentheses and comments
	Stored  bool
	NotNull bool
	Collate string // upper case; empty is BINARY
}

// Check is a CHECK over the row itself, of a column or of the table.
type Check struct {
	Name string // of its CONSTRAINT, as written without quotes; empty for none
	Expr string // as written, without its parentheses and comments
}

// Checks returns checks without names.
func Checks(exprs ...string) []Check {
	var out []Check
	for _, e := range exprs {
		out = append(out, Check{Expr: e})
	}
	return out
}

// Index is an index beside the key. It is never unique.
type Index struct {
	Name    string // lower case; one index of a database has it
	Spelled string // as declared, if that is not Name
	Terms   string // as written, without their parentheses and comments
	Where   string // condition of a partial index, as written; empty for none
}

// Table is one table. Its rows are the key columns, in key order, and then the
// other stored columns, in declared order.
type Table struct {
	Name         string // lower case (of ASCII)
	Spelled      string // as declared, if that is not Name
	Kind         record.Kind
	Key          []Column    // the owner first in an owned table
	Columns      []Column    // the rest
	Generated    []Generated // no cells
	Order        []string    // names of all columns as SELECT * shows them; nil: key, columns, generated
	RankBy       []string    // ranked: the columns that rank, all NOT NULL
	Evicts       bool        // ranked: a row (node, boot, …) evicts owned rows of that node up to that boot
	Checks       []Check
	Indexes      []Index
	Strict       bool
	WithoutRowID bool     // as declared; a replicated table is always made so
	Local        []string // of kind zero: its CREATE TABLE and then CREATE INDEX statements, as written
	ID           record.TableID
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

// Shown returns the names of all columns in the order that SELECT * has.
func (t Table) Shown() []string {
	out := t.Names()
	for _, g := range t.Generated {
		out = append(out, g.Name)
	}
	if len(t.Order) == len(out) {
		return t.Order
	}
	return out
}

// IntegerKey reports whether SQLite by itself would keep nothing but integers
// in the key, and choose one that is not given: the key is one column of type
// INTEGER, of a table not declared WITHOUT ROWID.
func (t Table) IntegerKey() bool {
	return len(t.Key) == 1 && t.Key[0].Type == "INTEGER" && !t.WithoutRowID
}
