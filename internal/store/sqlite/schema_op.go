package sqlite

import (
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/schema/definition"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
)

// act is what a step does to the file.
type act string

const (
	actCreate        act = "create table"
	actHide          act = "hide table"
	actShow          act = "show table"
	actRebuild       act = "make table anew"
	actAddColumn     act = "add column"
	actDropColumn    act = "drop column"
	actAddGenerated  act = "add generated column"
	actDropGenerated act = "drop generated column"
	actCreateIndex   act = "create index"
	actDropIndex     act = "drop index"
)

// op is one step from the tables of the file to those that are wanted.
type op struct {
	act    act
	table  *table       // as it is; nil to create one
	want   schema.Table // as it is to be
	name   string       // of a column or index
	column record.ColumnID
}

// id names o for as long as it is asked for.
func (o op) id() string { return fmt.Sprintf("%s %016x %s", o.act, uint64(o.want.ID), o.name) }

// heavy reports whether o keeps the database for a time that grows with the
// rows of its table.
func (o op) heavy() bool {
	switch o.act {
	case actRebuild, actDropColumn, actCreateIndex, actDropIndex:
		return true
	}
	return false
}

// steps finds out what is to be done to the tables of the file, in an order in
// which it can be done. Some of it shows only once other steps are done.
func steps(now *tableSet, want definition.Schema, strays map[record.TableID]bool) []op {
	var out []op
	taken := map[string]bool{}
	for _, t := range now.all {
		if !t.user {
			taken[t.Name] = true
			continue
		}
		wanted := slices.ContainsFunc(want.Tables, func(w schema.Table) bool { return w.ID == t.ID })
		if !t.hidden && !wanted {
			out = append(out, op{act: actHide, table: t, want: t.Table})
		}
		if !t.hidden {
			taken[t.Name] = true
		}
	}
	for _, w := range want.Tables {
		t := now.byID[w.ID]
		switch {
		case t != nil && !t.hidden:
			out = append(out, stepsOf(t, w)...)
		case taken[w.Name]: // once that is hidden
		case t == nil:
			out = append(out, op{act: actCreate, want: w})
		default:
			out = append(out, op{act: actShow, table: t, want: w})
		}
	}
	for _, h := range want.Hidden {
		if now.byID[h.ID] == nil && strays[h.ID] {
			out = append(out, op{act: actCreate, want: h})
		}
	}
	return out
}

// stepsOf are the steps of one table that is shown and stays so. What names a
// column that goes has to go before it, though it may come again.
func stepsOf(t *table, w schema.Table) []op {
	if needsRebuild(t.Table, w) {
		return []op{{act: actRebuild, table: t, want: w}}
	}
	d := tableSteps{t: t, w: w}
	d.drops()
	d.adds()
	return d.out
}

type tableSteps struct {
	t   *table
	w   schema.Table
	out []op
}

func (d *tableSteps) add(a act, name string, id record.ColumnID) {
	d.out = append(d.out, op{act: a, table: d.t, want: d.w, name: name, column: id})
}

func (d *tableSteps) drops() {
	names := goingOf(d.t.Table, d.w)
	for _, x := range d.t.Indexes {
		if !slices.Contains(d.w.Indexes, x) || mentions(x.Terms+" "+x.Where, names) {
			d.add(actDropIndex, x.Name, 0)
		}
	}
	if len(d.out) > 0 {
		return
	}
	for _, g := range d.t.Generated {
		if !slices.Contains(d.w.Generated, g) || mentions(g.Expr, names) {
			d.add(actDropGenerated, g.Name, 0)
		}
	}
	if len(d.out) > 0 {
		return
	}
	for _, c := range d.t.Columns {
		if !hasColumn(d.w.Columns, c.ID) {
			d.add(actDropColumn, c.Name, c.ID)
		}
	}
}

// goingOf returns the names of the columns of t that are not wanted, and of the
// generated ones that name them or are not wanted.
func goingOf(t, w schema.Table) []string {
	var names []string
	for _, c := range t.Columns {
		if !hasColumn(w.Columns, c.ID) {
			names = append(names, c.Name)
		}
	}
	for range t.Generated { // one may name another
		for _, g := range t.Generated {
			if !slices.Contains(names, g.Name) && (mentions(g.Expr, names) || !slices.Contains(w.Generated, g)) {
				names = append(names, g.Name)
			}
		}
	}
	return names
}

func mentions(sql string, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return sqltext.Mentions(sql, n) })
}

func (d *tableSteps) adds() {
	waiting := false
	for _, c := range d.w.Columns {
		switch {
		case hasColumn(d.t.Columns, c.ID):
			continue
		case !slices.Contains(d.t.Shown(), c.Name): // else for the one that has its name to go
			d.add(actAddColumn, c.Name, c.ID)
		}
		waiting = true
	}
	for _, g := range d.w.Generated {
		if slices.Contains(d.t.Generated, g) {
			continue
		}
		if !waiting && !slices.Contains(d.t.Shown(), g.Name) {
			d.add(actAddGenerated, g.Name, 0)
		}
		waiting = true
	}
	going := goingOf(d.t.Table, d.w)
	for _, x := range d.w.Indexes {
		had := slices.ContainsFunc(d.t.Indexes, func(o schema.Index) bool { return o.Name == x.Name })
		if !had && !waiting && !mentions(x.Terms+" "+x.Where, going) {
			d.add(actCreateIndex, x.Name, 0)
		}
	}
}

func hasColumn(cols []schema.Column, id record.ColumnID) bool {
	return slices.ContainsFunc(cols, func(c schema.Column) bool { return c.ID == id })
}

// needsRebuild reports whether a table differs in what SQLite cannot change.
// It comes of nodes that made it at once and differently: no load asks for it.
func needsRebuild(t, w schema.Table) bool {
	if t.Strict != w.Strict || !slices.Equal(t.Checks, w.Checks) {
		return true
	}
	if slices.ContainsFunc(t.Checks, func(c schema.Check) bool { return mentions(c.Expr, goingOf(t, w)) }) {
		return true
	}
	differs := func(a, b schema.Column) bool {
		a.Spelled, b.Spelled = "", ""
		a.ID, b.ID = 0, 0
		return a != b
	}
	for i, k := range t.Key {
		if differs(k, w.Key[i]) {
			return true
		}
	}
	for _, c := range t.Columns {
		if i := slices.IndexFunc(w.Columns, func(o schema.Column) bool { return o.ID == c.ID }); i >= 0 && differs(c, w.Columns[i]) {
			return true
		}
	}
	stored := func(g schema.Generated) bool { return g.Stored }
	return slices.ContainsFunc(w.Generated, func(g schema.Generated) bool { return g.Stored && !slices.Contains(t.Generated, g) }) ||
		slices.ContainsFunc(t.Generated, func(g schema.Generated) bool { return stored(g) && !slices.Contains(w.Generated, g) })
}
