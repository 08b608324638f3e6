package sqlite

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/schema/definition"
)

// keeper makes the tables of users what the definitions say, step by step. It
// belongs to the loop. Nothing that it does makes, changes or hashes a record.
//
// What costs no more than a change of SQLite's catalog is done at once. What
// reads or writes rows goes in slices, or, where SQLite knows no slices, when
// this node's turn has come: not with the other nodes, and not unannounced.
type keeper struct {
	dirty  bool // definitions have come
	stray  bool // a record of an unknown table was withheld
	set    *definition.Set
	want   definition.Schema
	dead   map[record.ColumnID]bool // columns that were dropped; replaced whole
	fitted map[string]takenTable    // by the bytes of a table
	idle   []SchemaIdle
	hides  map[record.TableID]bool // tables whose records are kept and not shown

	rest     time.Time            // nothing is done before, after a fault of the disk; zero for none
	asleep   bool                 // nothing is done before wakeAt, or before something comes
	wakeAt   time.Time            // zero is never
	first    map[string]time.Time // when a step was seen first, by its name
	mine     map[string]bool      // steps that a load here asked for: they wait for no turn
	failed   map[string]failure
	rows     map[string]int64 // rows of the table of a step
	adopting map[record.TableID][]record.Value
	moving   map[record.ColumnID][]record.Value
	moved    map[record.ColumnID]bool
	release  map[record.TableID]record.Key
}

// failure is a step that SQLite refused.
type failure struct {
	why   string
	again time.Time
}

func newKeeper() *keeper {
	return &keeper{
		dirty: true, stray: true, set: &definition.Set{}, fitted: map[string]takenTable{}, first: map[string]time.Time{}, mine: map[string]bool{},
		failed: map[string]failure{}, rows: map[string]int64{}, adopting: map[record.TableID][]record.Value{},
		moving: map[record.ColumnID][]record.Value{}, moved: map[record.ColumnID]bool{}, release: map[record.TableID]record.Key{},
	}
}

// gone returns the ids of dropped columns; k may be nil.
func (k *keeper) gone() map[record.ColumnID]bool {
	if k == nil {
		return nil
	}
	return k.dead
}

const (
	keptEffect = "effect" // the tables of users as they are in the file
	keptLoaded = "loaded" // the tables of the files that this node last loaded
	keptTables = `CREATE TABLE IF NOT EXISTS _fb_local_schema (name TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT, WITHOUT ROWID`
	sqlKeep    = `INSERT OR REPLACE INTO _fb_local_schema (name, data) VALUES (?, ?)`
	sqlKept    = `SELECT data FROM _fb_local_schema WHERE name = ?`
)

func (c *conn) keptSchema(name string) ([]schema.Table, error) {
	r, err := c.row(sqlKept, name)
	if err != nil || r == nil {
		return nil, err
	}
	return definition.Tables([]byte(r[0].Data))
}

// adoptPrefix begins the names of values that say which tables have columns to
// be taken up.
const adoptPrefix = "adopt/"

func adoptName(id record.TableID) string { return fmt.Sprintf("%s%016x", adoptPrefix, uint64(id)) }

// openSchema adds to the tables of the configuration those of users, as the
// file has them.
func (db *DB) openSchema() error {
	if db.schema == nil {
		return nil
	}
	kept, err := db.c.keptSchema(keptEffect)
	if err != nil {
		return fmt.Errorf("the schema in effect: %w", err)
	}
	at, err := db.c.value(valueSchema)
	if err != nil {
		return err
	}
	all := slices.Clone(db.tables().all)
	for _, s := range kept {
		t := newUserTable(s)
		all = append(all, t)
		v, err := db.c.value(adoptName(t.ID))
		if err != nil {
			return err
		}
		if v != 0 {
			db.schema.adopting[t.ID] = nil
		}
	}
	db.tableSet.Store(newTableSet(at, all))
	return nil
}

func newUserTable(s schema.Table) *table {
	t := newTable(s)
	t.user, t.hidden = true, s.Name == definition.HiddenName(s.ID)
	if len(s.Indexes) > 0 {
		t.replace = ""
	}
	return t
}

// readSchema reads the definitions anew, and finds out what they add up to.
func (db *DB) readSchema() error {
	k := db.schema
	set := &definition.Set{}
	t := db.tables().byName[definition.TableName]
	err := db.c.rows(context.Background(), t.scan(0, false), nil, func(r []record.Value) error {
		d, _, err := definition.Read(r)
		if err == nil {
			set.Add(d)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("definitions: %w", err)
	}
	k.dirty, k.stray = false, true
	if set.Hash() == k.set.Hash() && k.dead != nil {
		return nil
	}
	k.set, k.want = set, set.Assemble()
	k.dead = k.want.Gone
	k.hides = map[record.TableID]bool{}
	for _, h := range k.want.Hidden {
		k.hides[h.ID] = true
	}
	k.idle = nil
	for _, x := range k.want.Idle {
		k.idle = append(k.idle, SchemaIdle{What: string(x.What), Table: k.nameOf(x.Definition), Name: x.Name(), Why: x.Why})
	}
	tables := k.want.Tables
	k.want.Tables = nil
	used := map[string]takenTable{}
	for _, t := range tables {
		key := string(definition.Append(nil, []schema.Table{t}))
		f, known := k.fitted[key]
		if !known {
			f = fit(t)
		}
		used[key] = f
		k.idle = append(k.idle, f.idle...)
		if f.ok {
			k.want.Tables = append(k.want.Tables, f.table)
		} else {
			k.want.Hidden = append(k.want.Hidden, definition.Hide(t))
			k.hides[t.ID] = true
		}
	}
	k.fitted = used
	clear(k.failed)
	clear(k.rows)
	return nil
}

func (k *keeper) nameOf(d definition.Definition) string {
	for _, o := range k.set.All() {
		if o.What == definition.Table && (o.ID() == uint64(d.Parent) || o.Key() == d.Key()) {
			return o.Name()
		}
	}
	return ""
}

// forget drops what is kept of steps that are done or no longer asked for.
func (k *keeper) forget(ops []op) {
	names := map[string]bool{}
	for _, o := range ops {
		names[o.id()] = true
	}
	done := func(id string) bool { return !names[id] }
	maps.DeleteFunc(k.first, func(id string, _ time.Time) bool { return done(id) })
	maps.DeleteFunc(k.failed, func(id string, _ failure) bool { return done(id) })
	maps.DeleteFunc(k.rows, func(id string, _ int64) bool { return done(id) })
}
