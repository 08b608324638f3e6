package sqlite

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/schema/definition"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// ErrNoDefinitions says that this store's tables come from its configuration
// alone.
var ErrNoDefinitions = errors.New("this store has no schema of users")

// SchemaStatus is what a node has of the users' schema. It is never changed.
type SchemaStatus struct {
	Received string         // of the definitions: equal on nodes that have received the same
	Effect   string         // of what is done of them: equal on nodes whose tables are the same
	Tables   []schema.Table // those that are shown, with ids, by name
	Pending  []SchemaStep   // what is still to be done here
	Idle     []SchemaIdle   // what is there and cannot be in effect
	Hidden   []string       // names under which records of dropped tables are kept
	Withheld int64          // records whose table is unknown here
}

// SchemaStep is a step that waits.
type SchemaStep struct {
	Act         string
	Table, Name string
	Rows        int64
	Pause       time.Duration // for which writes will wait, as far as that can be told
	Due         time.Time     // zero: as soon as the loop gets to it
	Why         string        // it failed, and is tried again; empty if it did not

	perRow time.Duration
}

// SchemaIdle is a part of the schema that is there and not in effect.
type SchemaIdle struct {
	What, Table, Name, Why string
}

// SchemaStatus tells how far this node is with the schema, and what the steps
// that wait will cost.
func (db *DB) SchemaStatus(ctx context.Context) (SchemaStatus, error) {
	if !db.cfg.Definitions {
		return SchemaStatus{}, ErrNoDefinitions
	}
	told := db.told.Load()
	if told == nil {
		return SchemaStatus{}, errors.New("the schema is not read yet: ask again")
	}
	s := *told
	s.Pending = slices.Clone(s.Pending)
	s.Withheld = db.withheld()[reasonAt(store.ReasonSchema)]
	err := db.inside.with(ctx, func(c *conn) (err error) {
		for i := range s.Pending {
			if p := &s.Pending[i]; p.perRow > 0 && err == nil {
				p.Rows, err = countRows(c, p.Table)
				p.Pause = time.Duration(p.Rows) * p.perRow
			}
		}
		return err
	})
	return s, err
}

// countRows counts the rows of a table; zero if it is not there.
func countRows(c *conn, table string) (int64, error) {
	r, err := c.row(`SELECT 1 FROM sqlite_schema WHERE type = 'table' AND lower(name) = ?`, table)
	if err != nil || r == nil {
		return 0, err
	}
	s, err := c.prepare("SELECT count(*) FROM " + schema.Quote(table))
	if err != nil {
		return 0, err
	}
	defer s.Close()
	var n int64
	err = readRows(context.Background(), s, nil, nil, func(r []record.Value) error {
		n = r[0].Int
		return nil
	})
	return n, err
}

// tellSchema publishes how far the loop is.
func (db *DB) tellSchema() {
	k := db.schema
	received := k.set.Hash()
	s := SchemaStatus{Received: hex.EncodeToString(received[:8]), Idle: slices.Clone(k.idle)}
	for _, t := range db.tables().all {
		switch {
		case t.hidden:
			s.Hidden = append(s.Hidden, t.Name)
		case t.user:
			s.Tables = append(s.Tables, t.Table)
		}
	}
	slices.Sort(s.Hidden)
	slices.SortFunc(s.Tables, func(a, b schema.Table) int { return strings.Compare(a.Name, b.Name) })
	s.Effect = effectOf(s.Tables)
	for _, o := range steps(db.tables(), k.want, nil) {
		step := SchemaStep{Act: string(o.act), Table: o.want.Name, Name: o.name}
		if o.heavy() {
			step.Due, step.perRow = db.dueAt(o), perRow(o.act)
		}
		if f, failed := k.failed[o.id()]; failed {
			step.Why, step.Due = f.why, f.again
		}
		s.Pending = append(s.Pending, step)
	}
	if len(k.adopting) > 0 || len(k.release) > 0 {
		s.Pending = append(s.Pending, SchemaStep{Act: "take up what was withheld"})
	}
	db.told.Store(&s)
}

// effectOf names the tables in effect, whatever the order of their columns.
func effectOf(tables []schema.Table) string {
	set := &definition.Set{}
	for _, t := range tables {
		for _, d := range definition.Of(t, 0) {
			d.Place, d.Places = 0, make([]int, len(d.Places))
			d.Parent = t.ID
			if d.What == definition.Table {
				d.Parent = 0
			}
			set.Add(d)
		}
	}
	h := set.Hash()
	return hex.EncodeToString(h[:8])
}

// perRow is about how long a step keeps the database for each row of its table:
// BenchmarkSchemaStep gives it. Rebuilding is guessed: it merges every record.
func perRow(a act) time.Duration {
	switch a {
	case actDropIndex:
		return 150 * time.Nanosecond
	case actRebuild:
		return 20 * time.Microsecond
	case actCreateIndex:
		return 1500 * time.Nanosecond
	case actDropColumn:
		return 500 * time.Nanosecond
	}
	return 0
}

// WaitSchema returns once every definition received is in effect here, or
// cannot be, but for steps that wait for this node's turn.
func (db *DB) WaitSchema(ctx context.Context) error {
	for {
		settled := false
		err := db.inLoop(ctx, func() error {
			k := db.schema
			if k == nil {
				return ErrNoDefinitions
			}
			ops, err := db.steps()
			settled = err == nil && !k.dirty && len(k.adopting)+len(k.release) == 0
			for _, o := range ops {
				_, failed := k.failed[o.id()]
				settled = settled && (failed || o.heavy() && time.Now().Before(db.dueAt(o)))
			}
			return err
		})
		if err != nil || settled {
			return err
		}
		if err := backoff.Wait(ctx, 2*time.Millisecond); err != nil {
			return fmt.Errorf("schema is not in effect yet: %w", err)
		}
	}
}

// SchemaChange is the last change of one definition.
type SchemaChange struct {
	What, Table, Name string
	Number            uint64
	There             bool
	SQL               string // what it says, to be read
	Who               string
	At                record.Point
	Wall              time.Time // of the commit, by the clock of its writer
}

// SchemaHistory returns the last change of each definition, the latest first.
func (db *DB) SchemaHistory(ctx context.Context) ([]SchemaChange, error) {
	if !db.cfg.Definitions {
		return nil, ErrNoDefinitions
	}
	s, err := db.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var out []SchemaChange
	var all []definition.Definition
	err = s.Scan(definition.TableName, nil, func(row store.Row, at record.Point, wall int64) error {
		d, who, err := definition.Read(row)
		if err != nil {
			return err
		}
		all = append(all, d)
		out = append(out, SchemaChange{
			What: string(d.What), Name: d.Name(), Number: d.Number, There: d.There(), SQL: sqlOf(d), Who: who, At: at, Wall: time.UnixMilli(wall),
		})
		return nil
	})
	for i, d := range all {
		for _, t := range all {
			if t.What == definition.Table && (t.Key() == d.Key() || slices.Contains(t.IDs(), uint64(d.Parent))) {
				out[i].Table = t.Name()
			}
		}
	}
	slices.SortStableFunc(out, func(a, b SchemaChange) int { return b.Wall.Compare(a.Wall) })
	return out, err
}

func sqlOf(d definition.Definition) string {
	switch d.What {
	case definition.Table:
		return d.Table.SQL()
	case definition.Column:
		return d.Column.SQL()
	case definition.Generated:
		return d.Generated.SQL()
	}
	return "(" + d.Index.Terms + ")"
}
