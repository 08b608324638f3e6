package sqlite

import (
	"github.com/firebreak-dev/firebreak/internal/schema"
)

// PlainSQL is what benchmarks run on a table alone: insert, update, delete.
func PlainSQL(s schema.Table) [3]string {
	t := newTable(s)
	return [3]string{t.insert, t.update, t.remove}
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
CREATE TABLE notes (id TEXT NOT NULL PRIMARY KEY, body TEXT, n INTEGER NOT NULL DEFAULT 7); -- shared
-- firebreak: ranked by epoch
CREATE TABLE grants (id TEXT NOT NULL PRIMARY KEY, epoch INTEGER NOT NULL, owner BLOB);
-- firebreak: ranked by boot evicts
CREATE TABLE evicted (worker TEXT NOT NULL PRIMARY KEY, boot INTEGER NOT NULL);
-- firebreak: local
CREATE TABLE scratch (id INTEGER PRIMARY KEY, v);
`

// TestSchema is testSchema for the tests outside of the package.
const TestSchema = testSchema

// AlarmAt lowers the size of the log from which on its readers are named. Call
// it before the store is used.
func (db *DB) AlarmAt(bytes int64) { db.wal.alarm = bytes }
