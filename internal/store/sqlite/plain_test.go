package sqlite

import (
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// Plain is a table without any of the engine, to compare with.
type Plain struct {
	c *conn
	t *table
}

// OpenPlain opens one that commits as peers' records do.
func OpenPlain(tb testing.TB, path string) *Plain {
	tables, err := ParseSQL(testSchema)
	if err != nil {
		tb.Fatal(err)
	}
	c, err := openConn(path, "rwc")
	if err == nil {
		err = c.script("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;" + tables[0].SQL())
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.close() })
	return &Plain{c, newTable(tables[0])}
}

// Transaction runs fn between BEGIN and COMMIT.
func (p *Plain) Transaction(tb testing.TB, fn func(put func(worker, id, app string))) {
	must := func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	must(p.c.script("BEGIN IMMEDIATE"))
	fn(func(worker, id, app string) {
		row := store.Row{record.Of(worker), record.Of(id), record.Of(app), record.Of(nil), record.Of(nil)}
		must(p.c.exec(p.t.upsert, toDriver(row)...))
	})
	must(p.c.script("COMMIT"))
}

// testSchema is what the tests of this package store.
const testSchema = `
-- firebreak: owned by worker
CREATE TABLE machines (
	worker TEXT NOT NULL, id TEXT NOT NULL,
	app TEXT NOT NULL DEFAULT '' CHECK (app <> 'bad'),
	at TIMESTAMP, up BOOLEAN,
	PRIMARY KEY (worker, id)
);
CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT, n INTEGER NOT NULL DEFAULT 7); -- shared
-- firebreak: ranked by epoch
CREATE TABLE grants (id TEXT PRIMARY KEY, epoch INTEGER NOT NULL, owner BLOB);
-- firebreak: ranked by boot evicts
CREATE TABLE evicted (worker TEXT PRIMARY KEY, boot INTEGER NOT NULL);
-- firebreak: local
CREATE TABLE scratch (id INTEGER PRIMARY KEY, v);
`

// TestSchema is testSchema for the tests outside of the package.
const TestSchema = testSchema
