package definition

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

// Bounds of what a region's definitions may add up to. What is beyond them is
// not in effect anywhere.
const (
	MaxTables  = 500
	MaxColumns = 200
	MaxIndexes = 64 // of one table
)

// Schema is what a set of definitions adds up to.
type Schema struct {
	Tables []schema.Table           // those that are there, with ids, by name
	Hidden []schema.Table           // those whose records are kept and not shown, as Hide makes them, by id
	Idle   []Idle                   // what is there and not in effect
	Gone   map[record.ColumnID]bool // ids of columns that were dropped
}

// Idle is a definition that is there and not in effect, and why.
type Idle struct {
	Definition
	Why   string
	Taken bool // another one has its name
}

// HiddenName is the name under which a table's records are kept that is not
// shown: it was dropped, or another has its name.
func HiddenName(id record.TableID) string { return fmt.Sprintf("_fb_gone_%016x", uint64(id)) }

// Hide returns what is kept of t while it is not shown: its key. All cells are
// of columns that it has not.
func Hide(t schema.Table) schema.Table {
	return schema.Table{Name: HiddenName(t.ID), Kind: t.Kind, Key: t.Key, Strict: t.Strict, WithoutRowID: t.WithoutRowID, ID: t.ID}
}

// Assemble adds up the definitions of a set. It is a function of them alone:
// nodes with equal sets get equal schemas. Whether the parts fit together as
// SQL is for the store to find out.
func (s *Set) Assemble() Schema {
	out := Schema{Gone: map[record.ColumnID]bool{}}
	parts := map[record.TableID][]Definition{}
	var tables []Definition
	for _, d := range s.all {
		if d.What == Column {
			for _, id := range d.IDs() {
				out.Gone[record.ColumnID(id)] = id != d.ID() || !d.There()
			}
		}
		switch {
		case d.What == Table:
			tables = append(tables, d)
		case d.There():
			parts[d.Parent] = append(parts[d.Parent], d)
		}
	}
	out.addTables(tables, parts)
	out.indexes(parts)
	slices.SortFunc(out.Hidden, func(a, b schema.Table) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// addTables finds out which tables are shown: of two with one name, that with
// the lower id.
func (o *Schema) addTables(tables []Definition, parts map[record.TableID][]Definition) {
	slices.SortStableFunc(tables, func(a, b Definition) int {
		return cmp.Or(cmp.Compare(a.Name(), b.Name()), cmp.Compare(a.ID(), b.ID()))
	})
	for _, d := range tables {
		for _, id := range d.IDs() {
			if id != d.ID() || !d.There() {
				o.hide(d, id)
			}
		}
		switch n := len(o.Tables); {
		case !d.There():
		case n > 0 && o.Tables[n-1].Name == d.Name():
			o.idle(d, true, "another table has its name; drop one of them")
			o.hide(d, d.ID())
		case n == MaxTables:
			o.idle(d, false, fmt.Sprintf("there are %d tables already", MaxTables))
			o.hide(d, d.ID())
		default:
			o.Tables = append(o.Tables, o.table(d, parts))
		}
	}
}

func (o *Schema) idle(d Definition, taken bool, why string) {
	o.Idle = append(o.Idle, Idle{d, why, taken})
}

func (o *Schema) hide(d Definition, id uint64) {
	t := d.Table
	t.ID = record.TableID(id)
	t.Key = keyWithIDs(t)
	o.Hidden = append(o.Hidden, Hide(t))
}

func keyWithIDs(t schema.Table) []schema.Column {
	key := slices.Clone(t.Key)
	for i := range key {
		key[i].ID = ColumnID(t.ID, key[i], 0)
	}
	return key
}

// table adds the columns of a table. A name is that of a key column, else of
// the column with the lowest id, else of a generated one.
func (o *Schema) table(d Definition, parts map[record.TableID][]Definition) schema.Table {
	t := d.Table
	t.ID = record.TableID(d.ID())
	t.Key = keyWithIDs(t)
	type placed struct {
		name  string
		place int
		rank  int // of stored columns before generated ones
	}
	var order []placed
	taken := map[string]bool{}
	for i, k := range t.Key {
		order = append(order, placed{k.Name, d.Places[i], 0})
		taken[k.Name] = true
	}
	for rank, what := range []What{Column, Generated} {
		of := slices.DeleteFunc(slices.Clone(parts[t.ID]), func(p Definition) bool { return p.What != what })
		slices.SortFunc(of, func(a, b Definition) int {
			return cmp.Or(cmp.Compare(a.ID(), b.ID()), cmp.Compare(a.Name(), b.Name()))
		})
		for _, p := range of {
			switch {
			case taken[p.Name()]:
				o.idle(p, true, "another column of the table has its name; drop one of them")
				continue
			case len(taken) == MaxColumns:
				o.idle(p, false, fmt.Sprintf("the table has %d columns already", MaxColumns))
				continue
			}
			taken[p.Name()] = true
			order = append(order, placed{p.Name(), p.Place, rank})
			if what == Column {
				c := p.Column
				c.ID = record.ColumnID(p.ID())
				t.Columns = append(t.Columns, c)
			} else {
				t.Generated = append(t.Generated, p.Generated)
			}
		}
	}
	slices.SortFunc(order, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.rank, b.rank), cmp.Compare(a.name, b.name))
	})
	for _, p := range order {
		t.Order = append(t.Order, p.name)
	}
	place := func(name string) int { return slices.Index(t.Order, name) }
	slices.SortFunc(t.Columns, func(a, b schema.Column) int { return cmp.Compare(place(a.Name), place(b.Name)) })
	slices.SortFunc(t.Generated, func(a, b schema.Generated) int { return cmp.Compare(place(a.Name), place(b.Name)) })
	return t
}

// indexes gives tables their indexes. The names of tables and indexes are of
// one kind: a table has its name, else the index of the table with the lower id.
func (o *Schema) indexes(parts map[record.TableID][]Definition) {
	taken := map[string]bool{}
	for _, t := range o.Tables {
		taken[t.Name] = true
	}
	byID := make([]int, len(o.Tables))
	for i := range byID {
		byID[i] = i
	}
	slices.SortFunc(byID, func(a, b int) int { return cmp.Compare(o.Tables[a].ID, o.Tables[b].ID) })
	for _, i := range byID {
		t := &o.Tables[i]
		for _, p := range parts[t.ID] {
			switch {
			case p.What != Index:
			case taken[p.Name()]:
				o.idle(p, true, "another index or table has its name; drop one of them")
			case len(t.Indexes) == MaxIndexes:
				o.idle(p, false, fmt.Sprintf("the table has %d indexes already", MaxIndexes))
			default:
				taken[p.Name()] = true
				t.Indexes = append(t.Indexes, p.Index)
			}
		}
	}
}
