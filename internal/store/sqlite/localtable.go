package sqlite

import (
	"context"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

// readLocals finds out which tables of the file are this node's alone: those
// of users that have no books. What a transaction that makes and drops tables
// sees is not kept: it may be undone.
func (db *DB) readLocals(ddl bool) error {
	v, err := db.c.row("PRAGMA schema_version")
	if err != nil || !ddl && db.locals != nil && db.localAt == v[0].Int {
		return err
	}
	locals, replicated := map[string]bool{}, map[string]bool{}
	err = db.c.rows(context.Background(), `SELECT name FROM sqlite_schema WHERE type = 'table'`, nil, func(r []record.Value) error {
		name := schema.Lower(r[0].Data)
		if of, ok := strings.CutPrefix(name, "_fb_rows_"); ok {
			replicated[of] = true
		}
		if !reservedName(name) {
			locals[name] = true
		}
		return nil
	})
	for name := range replicated {
		delete(locals, name)
	}
	if db.locals, db.localAt = locals, v[0].Int; ddl {
		db.localAt = -1
	}
	return err
}

// isLocal reports whether a table is this node's alone.
func (db *DB) isLocal(name string) bool { return db.locals[name] }

// writable reports whether users' SQL may write a table.
func (db *DB) writable(name string) bool {
	return db.isLocal(name) || db.tables().byName[name] != nil && !reservedName(name)
}
