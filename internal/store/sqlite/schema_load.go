package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/schema/definition"
	"github.com/firebreak-dev/firebreak/internal/schema/plan"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// ErrSchemaMoved refuses a load that was planned on another schema.
var ErrSchemaMoved = errors.New("the schema has moved since the plan was made: plan again")

// SchemaLoad is schema files to load.
type SchemaLoad struct {
	Tables []schema.Table // of all files, as ParseSQL reads them
	Who    string         // who loads them, for the history
	Hash   string         // of the plan; empty: whatever the difference is now
}

// SchemaPlan is what a load changes, and what it costs at this node.
type SchemaPlan struct {
	plan.Plan
	Costs []SchemaCost // of each step
}

// SchemaCost is what a step costs at this node: the others take turns.
type SchemaCost struct {
	Rows  int64
	Pause time.Duration // for which writes wait
}

// PlanSchema says what a load would change, and changes nothing.
func (db *DB) PlanSchema(ctx context.Context, files []schema.Table) (SchemaPlan, error) {
	var out SchemaPlan
	if !db.cfg.Definitions {
		return out, ErrNoDefinitions
	}
	err := db.inLoop(ctx, func() (err error) {
		out.Plan, err = db.planNow(files)
		return err
	})
	if err == nil {
		err = db.inside.with(ctx, func(c *conn) (err error) {
			out.Costs, err = costsOf(c, out.Steps)
			return err
		})
	}
	if err != nil {
		return SchemaPlan{}, fmt.Errorf("plan schema: %w", err)
	}
	return out, nil
}

// costsOf is what steps cost here.
func costsOf(c *conn, steps []plan.Step) ([]SchemaCost, error) {
	acts := map[plan.Act]act{plan.DropColumn: actDropColumn, plan.CreateIndex: actCreateIndex, plan.DropIndex: actDropIndex}
	out := make([]SchemaCost, len(steps))
	for i, s := range steps {
		per := perRow(acts[s.Act])
		if per == 0 {
			continue
		}
		n, err := countRows(c, s.Table)
		if err != nil {
			return nil, err
		}
		out[i] = SchemaCost{Rows: n, Pause: time.Duration(n) * per}
	}
	return out, nil
}

func (db *DB) planNow(files []schema.Table) (plan.Plan, error) {
	if db.schema.dirty {
		if err := db.readSchema(); err != nil {
			return plan.Plan{}, err
		}
	}
	loaded, err := db.c.keptSchema(keptLoaded)
	if err != nil {
		return plan.Plan{}, fmt.Errorf("the schema last loaded: %w", err)
	}
	p, err := plan.Make(files, loaded, db.schema.set)
	if err != nil {
		return p, err
	}
	p.Notes = append(p.Notes, stepWarnings(p, files)...)
	return p, db.checkPlan(p)
}

// checkPlan refuses what SQLite would not take, and names that are taken here.
func (db *DB) checkPlan(p plan.Plan) error {
	var errs []error
	changed := map[string]bool{}
	for _, s := range p.Steps {
		changed[s.Table] = true
		name := s.Table
		if s.Act == plan.CreateIndex {
			name = s.Name
		}
		if s.Act != plan.CreateTable && s.Act != plan.CreateIndex {
			continue
		}
		for _, n := range append([]string{name}, indexNames(s)...) {
			if r, err := db.c.row(`SELECT 1 FROM sqlite_schema WHERE lower(name) = ?`, n); err != nil {
				return err
			} else if r != nil && !db.replaces(p, n) && db.tables().byName[n] == nil {
				errs = append(errs, &schema.Refusal{Rule: schema.RuleNameTaken, Table: s.Table, Why: fmt.Sprintf("a table or index of this node alone has the name %s", n),
					Do: "drop that by SQL, or give the new one another name"})
			}
		}
	}
	for _, t := range db.schema.set.With(p.Definitions()...).Assemble().Tables {
		if !changed[t.Name] {
			continue
		}
		for _, x := range fit(t).idle {
			if !slices.Contains(db.schema.idle, x) { // by another node's doing
				errs = append(errs, &schema.Refusal{Rule: schema.RuleSyntax, Table: t.Name, Why: fmt.Sprintf("%s %s: %s", x.What, x.Name, x.Why)})
			}
		}
	}
	return errors.Join(errs...)
}

func indexNames(s plan.Step) []string {
	var out []string
	for _, d := range s.Define {
		if d.What == definition.Index {
			out = append(out, d.Name())
		}
	}
	return out
}

// replaces reports whether something of the schema has a name already: an index
// that is made anew, or a table about to go.
func (db *DB) replaces(p plan.Plan, name string) bool {
	for _, t := range db.tables().all {
		if t.user && (t.Name == name || slices.ContainsFunc(t.Indexes, func(x schema.Index) bool { return x.Name == name })) {
			return true
		}
	}
	return false
}

// maxDefine is how many definitions one changeset of a load has.
const maxDefine = 500

// LoadSchema loads schema files: it writes the difference to what this node
// last loaded, and returns once that is durable and, but for steps that fail,
// in effect here. All of it or, if it is refused, nothing.
func (db *DB) LoadSchema(ctx context.Context, l SchemaLoad) (SchemaPlan, error) {
	p, err := db.loadSchema(ctx, l)
	if err != nil {
		return p, fmt.Errorf("load schema: %w", err)
	}
	return p, nil
}

// maxReplans is how often a load that is bound to no plan looks again: nodes
// whose files change at one moment define the same things.
const maxReplans = 10

func (db *DB) loadSchema(ctx context.Context, l SchemaLoad) (SchemaPlan, error) {
	p, err := db.loadPlanned(ctx, l)
	for range maxReplans {
		if l.Hash != "" || !errors.Is(err, ErrSchemaMoved) {
			break
		}
		p, err = db.loadPlanned(ctx, l)
	}
	return p, err
}

// loadPlanned loads what the difference is now, unless that changes meanwhile.
func (db *DB) loadPlanned(ctx context.Context, l SchemaLoad) (SchemaPlan, error) {
	p, err := db.PlanSchema(ctx, l.Tables)
	if err != nil {
		return p, err
	}
	if l.Hash != "" && l.Hash != p.Hash {
		return p, ErrSchemaMoved
	}
	if len(l.Who) > 200 {
		return p, errors.New("who: at most 200 bytes")
	}
	for parts := slices.Collect(slices.Chunk(writeOrder(p.Definitions()), maxDefine)); ; parts = parts[1:] {
		last := len(parts) <= 1
		_, err := db.update(ctx, false, func(x *tx) error {
			if len(parts) > 0 {
				for _, d := range parts[0] {
					if err := x.define(d, l.Who); err != nil {
						return err
					}
				}
			}
			if !last {
				return nil
			}
			return x.loaded(p.Plan, l.Tables)
		})
		if errors.Is(err, store.ErrOvertaken) {
			return p, fmt.Errorf("%w (%w)", ErrSchemaMoved, err)
		}
		if err != nil || last {
			return p, errors.Join(err, db.settleMine(ctx, p, err))
		}
	}
}

// writeOrder puts tables behind their columns, so that a table that is read
// has them.
func writeOrder(defs []definition.Definition) []definition.Definition {
	slices.SortStableFunc(defs, func(a, b definition.Definition) int {
		rank := func(d definition.Definition) int {
			if d.What == definition.Table {
				return 1
			}
			return 0
		}
		return rank(a) - rank(b)
	})
	return defs
}

// define writes a definition, if none that is higher is there.
func (x *tx) define(d definition.Definition, who string) error {
	row := d.Row(who)
	old, there, err := x.Get(definition.TableName, row[:4]...)
	if err != nil {
		return err
	}
	if there {
		was, _, err := definition.Read(old)
		if err == nil && !definition.Wins(d, was) {
			err = fmt.Errorf("%s %s: %w", d.What, d.Name(), store.ErrOvertaken)
		}
		if err != nil {
			return err
		}
	}
	return x.Put(definition.TableName, row)
}

// loaded notes what the files were, and makes and drops local tables.
func (x *tx) loaded(p plan.Plan, files []schema.Table) error {
	for _, s := range p.Steps {
		switch s.Act {
		case plan.DropLocal:
			if err := x.c.script("DROP TABLE IF EXISTS " + schema.Quote(s.Table)); err != nil {
				return err
			}
		case plan.CreateLocal:
			have, err := columnsIn(x.c, s.Table)
			if err == nil {
				err = createLocal(x.c, newTable(s.Local), have)
			}
			if err != nil {
				return fmt.Errorf("local table %s: %w", s.Table, err)
			}
		}
	}
	sorted := slices.SortedFunc(slices.Values(files), func(a, b schema.Table) int { return strings.Compare(a.Name, b.Name) })
	return x.c.exec(sqlKeep, keptLoaded, definition.Append(nil, sorted))
}

// settleMine lets the steps that a load asked for wait for no turn, and waits
// for them.
func (db *DB) settleMine(ctx context.Context, p SchemaPlan, err error) error {
	if err != nil || len(p.Definitions()) == 0 {
		return nil
	}
	err = db.inLoop(ctx, func() error {
		if db.schema.dirty {
			if err := db.readSchema(); err != nil {
				return err
			}
		}
		ops, err := db.steps()
		db.schema.asleep = false
		for _, o := range ops {
			for _, d := range p.Definitions() {
				if d.Name() == o.name || d.What == definition.Table && d.Name() == o.want.Name || record.TableID(d.ID()) == o.want.ID {
					db.schema.mine[o.id()] = true
				}
			}
		}
		return err
	})
	return errors.Join(err, db.WaitSchema(ctx))
}

// checkDefinition says what is wrong with a row of definitions. What SQLite
// does not take of it is found out when it is to be in effect.
func checkDefinition(row store.Row) error {
	d, _, err := definition.Read(row)
	if err == nil && d.What == definition.Table && reservedName(d.Name()) {
		err = fmt.Errorf("definition: name %q is reserved", d.Name())
	}
	return err
}

// schemaChanged notes that a table of the engine has changed.
func (db *DB) schemaChanged(t *table) {
	if t.Name == definition.TableName && db.schema != nil {
		db.schema.dirty = true
	}
}

// straySeen notes that a record of a table has come that is not in the file:
// it may be one that was dropped.
func (db *DB) straySeen(id record.TableID) {
	if db.schema != nil && db.schema.hides[id] {
		db.schema.stray = true
	}
}

// lint plans a load of tables where nothing is.
func lint(tables []schema.Table) error {
	p, err := plan.Make(tables, nil, &definition.Set{})
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range (&definition.Set{}).With(p.Definitions()...).Assemble().Tables {
		for _, x := range fit(t).idle {
			errs = append(errs, &schema.Refusal{Rule: schema.RuleSyntax, Table: t.Name, Why: fmt.Sprintf("%s %s: %s", x.What, x.Name, x.Why)})
		}
	}
	return errors.Join(errs...)
}
