package plan

import (
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/schema/definition"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
)

// tableDiffer finds what changes of one table that is there.
type tableDiffer struct {
	*differ
	name  string
	id    record.TableID
	place int // of the last column
}

func (x *tableDiffer) drop(p definition.Definition) {
	now, known := x.now.Get(p.Key())
	if !known || !now.There() {
		return
	}
	now.Number++
	s := Step{Table: x.name, Name: p.Name(), Define: []definition.Definition{now}}
	switch s.Act = DropColumn; p.What {
	case definition.Generated:
		s.Act = DropComputed
	case definition.Index:
		s.Act, s.SQL = DropIndex, "DROP INDEX "+schema.Quote(p.Name())
	}
	if s.SQL == "" {
		s.SQL = fmt.Sprintf("ALTER TABLE %s DROP COLUMN %s", schema.Quote(x.name), schema.Quote(p.Name()))
	}
	x.step(s)
}

func (x *tableDiffer) add(p definition.Definition) {
	if now, known := x.now.Get(p.Key()); known && now.There() {
		if !now.Same(p) {
			x.change(now, p)
		}
		return // another node's file has it too
	} else if known {
		p.Number = now.Number + 1
	}
	if !x.allowed(p) {
		return
	}
	if p.What != definition.Index {
		x.place++
		p.Place = x.place
	}
	s := Step{Table: x.name, Name: p.Name(), Define: []definition.Definition{p}}
	add := "ALTER TABLE " + schema.Quote(x.name) + " ADD COLUMN "
	switch p.What {
	case definition.Column:
		s.Act, s.SQL = AddColumn, add+p.Column.SQL()
	case definition.Generated:
		s.Act, s.SQL = AddComputed, add+p.Generated.SQL()
	case definition.Index:
		s.Act, s.SQL = CreateIndex, p.Index.SQL(x.name)
	}
	x.step(s)
}

// allowed refuses what a table that is there cannot get.
func (x *tableDiffer) allowed(p definition.Definition) bool {
	before := len(x.errs)
	c := p.Column
	for _, o := range x.now.All() {
		if o.Parent == x.id && o.There() && p.What != definition.Index && sameName(o, p) {
			x.change(o, p)
			return false
		}
	}
	if p.What == definition.Column && c.Expr != "" {
		x.refuse(schema.RuleNewExpression, x.name, "give it a constant default, or none and write the value",
			"new column %s has an expression as default, which every node would compute for itself", c.Name)
	} else if p.What == definition.Column && c.NotNull && c.Default.Type == record.Null {
		x.refuse(schema.RuleNewNotNull, x.name, "write DEFAULT and a constant, or leave NOT NULL out", "new column %s is NOT NULL without a constant default", c.Name)
	}
	if p.What == definition.Generated && p.Generated.Stored {
		x.refuse(schema.RuleNewStored, x.name, "make it VIRTUAL", "new generated column %s is STORED, and would be written into every row", p.Generated.Name)
	}
	return len(x.errs) == before
}

// change takes an index that is to be made anew, and refuses all else.
func (x *tableDiffer) change(was, is definition.Definition) {
	const do = "leave it out in one load and put it into the next: its values go; or give the new one another name"
	if was.What == definition.Index {
		now, known := x.now.Get(is.Key())
		if is.Number = 0; known {
			is.Number = now.Number + 2 - now.Number%2
		}
		x.step(Step{Act: CreateIndex, Table: x.name, Name: is.Name(), SQL: is.Index.SQL(x.name), Define: []definition.Definition{is}})
		return
	}
	if was.What == definition.Generated && is.What == definition.Generated {
		x.refuse(schema.RuleGeneratedChange, x.name, "leave it out in one load and put it into the next", "generated column %s would change", is.Name())
		return
	}
	x.refuse(schema.RuleColumnChange, x.name, do, "column %s would change: it is %s, and %s in the files", is.Name(), describe(was), describe(is))
}

func describe(d definition.Definition) string {
	if d.What == definition.Generated {
		return d.Generated.SQL()
	}
	return d.Column.SQL()
}

// settle refuses what the plan would leave behind: names that two have, and
// columns that are gone and still needed.
func (d *differ) settle() {
	if len(d.errs) > 0 {
		return
	}
	next := d.next.Assemble()
	for _, x := range next.Idle {
		if !slices.ContainsFunc(d.schema.Idle, func(o definition.Idle) bool { return o.Key() == x.Key() && o.Number == x.Number }) {
			d.refuse(ruleOf(x), d.tableOf(x.Parent), "choose another name", "%s %s: %s", x.What, x.Name(), x.Why)
		}
	}
	for _, s := range d.plan.Steps {
		if s.Act == CreateLocal && (find(next.Tables, s.Table) != nil || hasIndex(next.Tables, s.Table)) {
			d.refuse(schema.RuleNameTaken, s.Table, "give the local one another name", "a replicated table or index has its name")
		}
		if s.Act != DropColumn && s.Act != DropComputed {
			continue
		}
		if t := find(next.Tables, s.Table); t != nil && !slices.Contains(t.Shown(), s.Name) {
			if by := uses(*t, s.Name); by != "" {
				d.refuse(schema.RuleColumnUsed, s.Table, "drop that first", "column %s is needed by %s, which another node's files have", s.Name, by)
			}
		}
	}
}

func hasIndex(tables []schema.Table, name string) bool {
	return slices.ContainsFunc(tables, func(t schema.Table) bool {
		return slices.ContainsFunc(t.Indexes, func(x schema.Index) bool { return x.Name == name })
	})
}

func ruleOf(x definition.Idle) schema.Rule {
	if x.Taken {
		return schema.RuleNameTaken
	}
	return schema.RuleLimit
}

func (d *differ) tableOf(id record.TableID) string {
	for _, t := range d.next.Assemble().Tables {
		if t.ID == id {
			return t.Name
		}
	}
	return ""
}

// uses names what of a table has a column's name in its text. It may name what
// only seems to: SQLite would know, and says so only once it is too late.
func uses(t schema.Table, column string) string {
	has := func(sql string) bool { return sqltext.Mentions(sql, column) }
	for _, x := range t.Indexes {
		if has(x.Terms) || has(x.Where) {
			return "index " + x.Name
		}
	}
	for _, g := range t.Generated {
		if has(g.Expr) {
			return "generated column " + g.Name
		}
	}
	for _, c := range t.Checks {
		if has(c.Expr) {
			return "CHECK (" + c.Expr + ")"
		}
	}
	return ""
}
