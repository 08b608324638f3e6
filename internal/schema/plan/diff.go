package plan

import (
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/schema/definition"
)

// differ makes one plan.
type differ struct {
	now    *definition.Set
	next   *definition.Set // with what the plan writes
	schema definition.Schema
	plan   Plan
	errs   []error
}

func (d *differ) refuse(rule schema.Rule, table, do, why string, args ...any) {
	d.errs = append(d.errs, &schema.Refusal{Rule: rule, Table: table, Why: fmt.Sprintf(why, args...), Do: do})
}

func (d *differ) note(format string, args ...any) {
	d.plan.Notes = append(d.plan.Notes, fmt.Sprintf(format, args...))
}

func (d *differ) step(s Step) {
	for _, def := range s.Define {
		if def.Number > definition.MaxNumber {
			d.refuse(schema.RuleNumber, s.Table, "use another name", "%s %s was dropped and made again too often", def.What, def.Name())
			return
		}
		d.next.Add(def)
	}
	d.plan.Steps = append(d.plan.Steps, s)
}

// table finds what changes of one table; was or is may be nil.
func (d *differ) table(was, is *schema.Table) {
	switch {
	case is != nil && is.Kind == record.Ranked:
		d.refuse(schema.RuleRanked, is.Name, "mark it `owned by COLUMN`, or leave the mark out", "ranked tables are the product's own")
	case was == nil && is.Kind == 0:
		if find(d.schema.Tables, is.Name) != nil {
			d.refuse(schema.RuleNameTaken, is.Name, "give the local one another name", "a replicated table has its name")
			return
		}
		d.step(Step{Act: CreateLocal, Table: is.Name, SQL: is.Local[0], Local: *is})
	case is == nil && was.Kind == 0:
		d.step(Step{Act: DropLocal, Table: was.Name, SQL: "DROP TABLE " + schema.Quote(was.Name), Local: *was})
	case is == nil:
		d.dropTable(*was)
	case was != nil && (was.Kind == 0 || is.Kind == 0):
		d.local(*was, *is)
	default:
		d.replicated(was, *is)
	}
}

func (d *differ) local(was, is schema.Table) {
	switch {
	case was.Kind != is.Kind:
		d.refuse(schema.RuleKindChange, is.Name, "give the new one another name", "it was %s and is to be %s", kindWord(was.Kind), kindWord(is.Kind))
	case !slices.Equal(was.Local, is.Local):
		d.refuse(schema.RuleLocalChange, is.Name, "leave it out in one load and put it into the next: its rows go; or give it another name", "a local table cannot be changed")
	}
}

func kindWord(k record.Kind) string {
	if k == 0 {
		return "local"
	}
	return k.String()
}

func topOf(t schema.Table, number uint64) definition.Definition { return definition.Of(t, number)[0] }

func (d *differ) dropTable(was schema.Table) {
	now, known := d.now.Get(topOf(was, 0).Key())
	if !known || !now.There() {
		return
	}
	now.Number++
	d.step(Step{Act: DropTable, Table: was.Name, SQL: "DROP TABLE " + schema.Quote(was.Name), Define: []definition.Definition{now}})
}

// replicated finds what changes of a table that is to be there.
func (d *differ) replicated(was *schema.Table, is schema.Table) {
	top := topOf(is, 0)
	now, known := d.now.Get(top.Key())
	there := find(d.schema.Tables, is.Name)
	switch {
	case was != nil && topOf(*was, 0).Key() != top.Key():
		d.otherTable(*was, is)
	case there != nil && (!known || record.TableID(now.ID()) != there.ID || !now.There()):
		d.otherTable(*there, is)
	case was != nil && !topOf(*was, 0).Same(top):
		d.otherOptions(*was, is)
	case known && now.There() && !now.Same(top):
		d.otherOptions(now.Table, is)
	case known && now.There():
		d.parts(was, is, now)
	case was != nil:
		d.note("table %s is in the files as it was, and another node has dropped it: to have it again, leave it out in one load and put it into the next", is.Name)
	default:
		number := uint64(0)
		if known {
			number = now.Number + 1
		}
		d.step(Step{Act: CreateTable, Table: is.Name, SQL: is.SQL(), Define: definition.Of(is, number)})
	}
}

// otherTable says why a table cannot take the place of one of its name.
func (d *differ) otherTable(was, is schema.Table) {
	const do = "leave it out in one load and put it into the next: its rows go; or give the new one another name"
	if was.Kind != is.Kind {
		d.refuse(schema.RuleKindChange, is.Name, do, "it is %s and would become %s", kindWord(was.Kind), kindWord(is.Kind))
		return
	}
	d.refuse(schema.RuleKeyChange, is.Name, do, "its key would change")
}

// otherOptions says what of a table's own cannot change.
func (d *differ) otherOptions(was, is schema.Table) {
	switch {
	case !slices.Equal(was.Checks, is.Checks):
		d.refuse(schema.RuleCheckChange, is.Name, "rows of other nodes may not pass it; check in the statement that writes, or make a new table",
			"a CHECK cannot be added, dropped or changed once a table is there")
	case was.Strict != is.Strict || was.WithoutRowID != is.WithoutRowID:
		d.refuse(schema.RuleOptionChange, is.Name, "make a new table", "STRICT and WITHOUT ROWID cannot change")
	default:
		d.refuse(schema.RuleKeyChange, is.Name, "make a new table", "its key columns would change")
	}
}

// parts finds what changes of the columns and indexes of a table that is there.
func (d *differ) parts(was *schema.Table, is schema.Table, now definition.Definition) {
	if was == nil {
		was = &schema.Table{}
	}
	x := &tableDiffer{differ: d, name: is.Name, id: record.TableID(now.ID())}
	before, after := partsOf(*was, x.id), partsOf(is, x.id)
	x.place = d.lastPlace(now, x.id)
	for _, p := range before {
		if i := slices.IndexFunc(after, func(o definition.Definition) bool { return sameName(p, o) }); i < 0 {
			x.drop(p)
		}
	}
	for _, p := range after {
		if i := slices.IndexFunc(before, func(o definition.Definition) bool { return sameName(p, o) }); i < 0 {
			x.add(p)
		} else if !before[i].Same(p) {
			x.change(before[i], p)
		}
	}
}

func partsOf(t schema.Table, id record.TableID) []definition.Definition {
	var out []definition.Definition
	if t.Name == "" {
		return nil
	}
	for _, p := range definition.Of(t, 0)[1:] {
		p.Parent = id
		out = append(out, p)
	}
	// Indexes of dropped columns go before them, and come after new ones.
	return out
}

// sameName reports whether two parts of a table have one name: columns share
// theirs with generated columns.
func sameName(a, b definition.Definition) bool {
	return a.Name() == b.Name() && (a.What == definition.Index) == (b.What == definition.Index)
}

// lastPlace is the highest place of a column of a table, dropped ones too.
func (d *differ) lastPlace(table definition.Definition, id record.TableID) int {
	last := slices.Max(table.Places)
	for _, p := range d.now.All() {
		if p.Parent == id {
			last = max(last, p.Place)
		}
	}
	return last
}
