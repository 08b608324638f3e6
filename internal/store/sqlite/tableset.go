package sqlite

import (
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// tableSet is the tables of the database between two changes of its schema. It
// is never changed, so readers and the loop share it.
type tableSet struct {
	at     int64 // how many changes the file has seen
	all    []*table
	byID   map[record.TableID]*table // replicated ones
	byName map[string]*table
}

func newTableSet(at int64, tables []*table) *tableSet {
	for _, own := range []schema.Table{store.ClosedSchema(), store.VoidSchema()} { // the engine's
		if !slices.ContainsFunc(tables, func(t *table) bool { return t.ID == own.ID }) {
			tables = append(slices.Clip(tables), newTable(own))
		}
	}
	s := &tableSet{at: at, all: tables, byID: map[record.TableID]*table{}, byName: map[string]*table{}}
	for _, t := range tables {
		s.byName[t.Name] = t
		if t.Kind != 0 {
			s.byID[t.ID] = t
		}
	}
	return s
}

// nameOf is what a person is told of a table: its name, or its id.
func (s *tableSet) nameOf(id record.TableID) string {
	if t := s.byID[id]; t != nil {
		return t.Name
	}
	return fmt.Sprintf("%016x", uint64(id))
}

// tables returns the tables of now.
func (db *DB) tables() *tableSet { return db.tableSet.Load() }

// SchemaVersion rises with every change of the tables: what was concluded from
// them under another version is to be concluded anew.
func (db *DB) SchemaVersion() int64 { return db.tables().at }

// Tables implements [store.Store].
func (db *DB) Tables() []schema.Table {
	var out []schema.Table
	for _, t := range db.tables().all {
		if t.Kind != 0 && !t.internal() {
			out = append(out, t.Table)
		}
	}
	return out
}
