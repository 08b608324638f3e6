// Package definition is a schema as data: what users' tables consist of, as
// rows that replicate like any others.
//
// A schema is a set of definitions: tables (with their CHECKs), columns,
// generated columns and indexes. Each has a number. Even: it is there; odd: it
// was dropped; the higher number wins, and undo is the next one. At one number
// the definition with the lower hash wins, so nodes that have received the same
// definitions have the same schema, in whatever order they came.
//
// A table's number is part of its id, and a column's of the column's. So a
// table or column that was dropped and made again is another one: late cells of
// the first never come to be shown in the second. Of two that claim one name,
// the lower id has it.
//
// What came from another node is never run as SQL. [Read] takes it apart,
// checks every part, and takes nothing that it would not write the same way.
// Statements are made anew of the parts, by package schema.
package definition

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

// What says what is defined.
type What string

// What can be defined. Part of every row, so never to be changed.
const (
	Table     What = "table"
	Column    What = "column"
	Generated What = "generated"
	Index     What = "index"
)

// MaxNumber bounds numbers: something can be dropped and made again 500 times.
// Each pair of numbers is an id that nodes have to know.
const MaxNumber = 1000

// Definition is one part of a schema. Of the last four fields one is set, as
// What says.
type Definition struct {
	What   What
	Parent record.TableID // the table that a column, generated column or index is of; zero for a table
	Number uint64
	Place  int   // of a column or generated column among those of its table, as far as its writer knew them
	Places []int // of a table: those of its key columns

	Table     schema.Table // owned or shared; without ids, columns, generated columns and indexes
	Column    schema.Column
	Generated schema.Generated
	Index     schema.Index
}

// Key names a definition, whatever its number.
type Key struct {
	What   What
	Parent record.TableID
	Name   string // lower case
	Base   uint64 // the id that a table or column has at number 0; zero for the others
}

// Compare orders keys.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Parent, o.Parent), cmp.Compare(k.What, o.What), cmp.Compare(k.Name, o.Name), cmp.Compare(k.Base, o.Base))
}

// Name returns the name of what is defined, in lower case.
func (d Definition) Name() string {
	switch d.What {
	case Table:
		return d.Table.Name
	case Column:
		return d.Column.Name
	case Generated:
		return d.Generated.Name
	}
	return d.Index.Name
}

// Key returns what d is called.
func (d Definition) Key() Key { return Key{d.What, d.Parent, d.Name(), d.id(0)} }

// There reports whether d says that it is there.
func (d Definition) There() bool { return d.Number%2 == 0 }

// ID returns the id of a table or column that is there, or was last; zero for
// the others.
func (d Definition) ID() uint64 { return d.id(d.Number &^ 1) }

// IDs returns the ids of a table or column that is there or has been.
func (d Definition) IDs() []uint64 {
	var out []uint64
	for n := uint64(0); n <= d.Number; n += 2 {
		out = append(out, d.id(n))
	}
	return out
}

func (d Definition) id(number uint64) uint64 {
	switch d.What {
	case Table:
		key := make([]record.KeyColumn, len(d.Table.Key))
		for i, c := range d.Table.Key {
			key[i] = record.KeyColumn{Name: c.Name, Type: c.Type}
		}
		return uint64(record.NewTableID(d.Table.Name, d.Table.Kind, key, number))
	case Column:
		return uint64(ColumnID(d.Parent, d.Column, number))
	}
	return 0
}

// ColumnID returns the id of a column of a table.
func ColumnID(table record.TableID, c schema.Column, number uint64) record.ColumnID {
	def, expr := c.Default, c.Expr != ""
	if expr {
		def = record.Of(c.Expr)
	}
	return record.NewColumnID(table, c.Name, c.Type, def, expr, number)
}

// Same reports whether both define the same, whatever their numbers, places
// and the spelling of their names.
func (d Definition) Same(o Definition) bool {
	return d.What == o.What && string(d.plain().body()) == string(o.plain().body())
}

func (d Definition) plain() Definition {
	d.Place, d.Places = 0, make([]int, len(d.Table.Key))
	d.Table.Spelled, d.Column.Spelled, d.Generated.Spelled, d.Index.Spelled = "", "", "", ""
	d.Table.Key = slices.Clone(d.Table.Key)
	for i := range d.Table.Key {
		d.Table.Key[i].Spelled = ""
	}
	return d
}

// Low ranks d among the definitions of one key and number: it is the higher,
// the lower the hash of what d says.
func (d Definition) Low() string {
	sum := sha256.Sum256(d.body())
	for i := range sum {
		sum[i] = ^sum[i]
	}
	return string(sum[:16])
}

// Wins reports whether a stands when both are received.
func Wins(a, b Definition) bool {
	return cmp.Or(cmp.Compare(a.Number, b.Number), strings.Compare(a.Low(), b.Low())) > 0
}

// Of returns the definitions of a table that is not there yet, with the id that
// it has at a number.
func Of(t schema.Table, number uint64) []Definition {
	top := Definition{What: Table, Number: number, Table: t}
	top.Table.ID, top.Table.Columns, top.Table.Generated, top.Table.Indexes, top.Table.Order = 0, nil, nil, nil, nil
	top.Table.Key = slices.Clone(t.Key)
	shown := t.Shown()
	for i, k := range t.Key {
		top.Table.Key[i].ID = 0
		top.Places = append(top.Places, slices.Index(shown, k.Name))
	}
	out := []Definition{top}
	id := record.TableID(top.id(number))
	for _, c := range t.Columns {
		c.ID = 0
		out = append(out, Definition{What: Column, Parent: id, Place: slices.Index(shown, c.Name), Column: c})
	}
	for _, g := range t.Generated {
		out = append(out, Definition{What: Generated, Parent: id, Place: slices.Index(shown, g.Name), Generated: g})
	}
	for _, x := range t.Indexes {
		out = append(out, Definition{What: Index, Parent: id, Index: x})
	}
	return out
}
