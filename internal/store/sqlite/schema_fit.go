package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/schema/definition"
)

// takenTable is what of a table SQLite takes.
type takenTable struct {
	table schema.Table
	ok    bool // some of it is
	idle  []SchemaIdle
}

// fit finds out, in a database in memory, which parts of a table of
// definitions SQLite takes together, and that it takes each for what the
// definition says it is, and for nothing else.
func fit(t schema.Table) takenTable {
	if takes(t) == nil {
		return takenTable{table: t, ok: true}
	}
	f := takenTable{table: t}
	f.table.Generated, f.table.Checks, f.table.Indexes, f.table.Order = nil, nil, nil, nil
	if err := takes(f.table); err != nil {
		f.idle = append(f.idle, SchemaIdle{What: string(definition.Table), Table: t.Name, Why: err.Error()})
		return f
	}
	f.ok = true
	rest := slices.Clone(t.Generated)
	for more := true; more; { // one may need another
		more = false
		for i := 0; i < len(rest); i++ {
			next := f.table
			next.Generated = append(slices.Clone(next.Generated), rest[i])
			if takes(next) == nil {
				f.table, more = next, true
				rest = slices.Delete(rest, i, i+1)
				i--
			}
		}
	}
	for _, g := range rest {
		f.try(definition.Generated, g.Name, func(n *schema.Table) { n.Generated = append(slices.Clone(n.Generated), g) })
	}
	for _, c := range t.Checks {
		f.try("check", c.Expr, func(n *schema.Table) { n.Checks = append(slices.Clone(n.Checks), c) })
	}
	for _, x := range t.Indexes {
		f.try(definition.Index, x.Name, func(n *schema.Table) { n.Indexes = append(slices.Clone(n.Indexes), x) })
	}
	shown := f.table.Shown()
	for _, name := range t.Order {
		if slices.Contains(shown, name) {
			f.table.Order = append(f.table.Order, name)
		}
	}
	return f
}

func (f *takenTable) try(what definition.What, name string, add func(*schema.Table)) {
	next := f.table
	add(&next)
	if err := takes(next); err != nil {
		f.idle = append(f.idle, SchemaIdle{What: string(what), Table: f.table.Name, Name: name, Why: err.Error()})
		return
	}
	f.table = next
}

// takes reports why SQLite does not take t for what it is.
func takes(t schema.Table) error {
	got, err := ParseSQL(fileSQL(t))
	switch {
	case err != nil:
		return err
	case len(got) != 1 || !bytes.Equal(bare(got[0]), bare(t)):
		return errors.New("SQLite takes it for something else than it says")
	}
	return nil
}

// bare is what a file says of a table.
func bare(t schema.Table) []byte {
	t.Order = t.Shown()
	t.ID, t.WithoutRowID = 0, false
	t.Key, t.Columns = slices.Clone(t.Key), slices.Clone(t.Columns)
	for i := range t.Key {
		t.Key[i].ID, t.Key[i].NotNull = 0, true
	}
	for i := range t.Columns {
		t.Columns[i].ID = 0
	}
	return definition.Append(nil, []schema.Table{t})
}

// fileSQL returns a schema file with one table.
func fileSQL(t schema.Table) string {
	out := t.SQL() + ";\n"
	if t.Kind == record.Owned {
		out = fmt.Sprintf("-- firebreak: owned by %s\n", t.Key[0].Name) + out
	}
	for _, x := range t.Indexes {
		out += x.SQL(t.Name) + ";\n"
	}
	return out
}
