package sqlite_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

func localRequest(sql ...string) sqlite.Request {
	return sqlite.Request{LocalTables: true, Statements: statements(sql...)}
}

// A table that is made by SQL is this node's alone: its rows are no records,
// and it is there after a restart.
func TestLocalTablesByRequest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	cfg := sqlite.Config{Durability: sqlite.OS}
	db, err := sqlite.Open(t.Context(), config(t, path, cfg))
	if err != nil {
		t.Fatal(err)
	}
	exec := func(sql ...string) ([]sqlite.Affected, store.Commit) {
		t.Helper()
		out, c, err := db.Exec(t.Context(), localRequest(sql...))
		if err != nil {
			t.Fatalf("%q: %v", sql, err)
		}
		return out, c
	}
	mustExec(t, db, "INSERT INTO notes (id, body) VALUES ('a', 'x')")
	before := states(t, db)
	out, c := exec("CREATE TABLE IF NOT EXISTS seen (k TEXT PRIMARY KEY, run INTEGER UNIQUE, ref REFERENCES notes (id))")
	if c.Point.Version != 0 || out[0].Rows != 0 {
		t.Errorf("made by %+v, %+v", c, out)
	}
	exec("CREATE TABLE IF NOT EXISTS seen (k)")
	exec("CREATE TABLE auto (id INTEGER PRIMARY KEY AUTOINCREMENT, v COLLATE NOCASE)", "INSERT INTO auto (v) VALUES ('X')", "CREATE UNIQUE INDEX auto_v ON auto (v)")
	exec("CREATE TABLE copy AS SELECT id, body FROM notes")
	_, c = exec("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) INSERT INTO seen (k, run) SELECT 'k' || i, i FROM n")
	if c.Point.Version != 0 || c.Records != 0 {
		t.Errorf("10,000 local rows are %+v", c)
	}
	if got := query(t, db, "SELECT count(*) FROM seen JOIN notes ON 'k1' = k"); got[0][0].Int != 1 {
		t.Errorf("join: %v", got)
	}
	if _, _, err := db.Exec(t.Context(), localRequest("INSERT INTO auto (v) VALUES ('x')")); err == nil || !strings.Contains(err.Error(), "UNIQUE") {
		t.Errorf("a unique index of a local table: %v", err)
	}
	same(t, "states", before, states(t, db))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	db = openAt(t, path, cfg)
	mustExec(t, db, "INSERT INTO seen (k, run) VALUES ('again', 0)")
	exec("DROP INDEX auto_v", "DROP TABLE auto", "DROP TABLE seen", "CREATE TABLE seen (other)", "INSERT INTO seen VALUES (1)")
	if got := query(t, db, "SELECT * FROM seen"); len(got) != 1 {
		t.Errorf("rows %v", got)
	}
}

func TestLocalTablesTouchNothingElse(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Durability: sqlite.OS})
	mustExec(t, db, "INSERT INTO notes (id, body) VALUES ('a', 'x')")
	for _, c := range []struct{ sql, want string }{
		{"DROP TABLE notes", "dropping table notes (it is not of this node alone) is not allowed"},
		{"DROP TABLE IF EXISTS Notes", "dropping table notes (it is not of this node alone) is not allowed"},
		{"DROP TABLE _fb_rows_notes", "not allowed"},
		{"DROP TABLE _fb_writers", "not allowed"},
		{"DROP TABLE sqlite_schema", "not of this node alone"},
		{"DROP VIEW _fb_changes", "changing the schema is not allowed"},
		{"DROP TRIGGER _fb_on_insert_notes", "changing the schema is not allowed"},
		{"DROP INDEX _fb_by_writer_notes", "is replicated"},
		{"CREATE TABLE _fb_x (a)", "the name is reserved"},
		{"CREATE TABLE fleet_x (a)", "the name is reserved"},
		{"CREATE TABLE notes (a)", "already exists"},
		{"CREATE TEMP TABLE x (a)", "sqlite_temp_master is not allowed"},
		{"CREATE TABLE temp.x (a)", "sqlite_temp_master is not allowed"},
		{"CREATE INDEX i ON notes (body)", "is replicated"},
		{"CREATE INDEX _fb_i ON scratch (v)", "the name is reserved"},
		{"CREATE TRIGGER x AFTER INSERT ON scratch BEGIN DELETE FROM notes; END", "CREATE TRIGGER is not allowed here"},
		{"CREATE TRIGGER x AFTER INSERT ON notes BEGIN DELETE FROM notes", "changing the schema is not allowed"},
		{"CREATE VIEW v AS SELECT 1", "changing the schema is not allowed"},
		{"CREATE VIRTUAL TABLE v USING dbstat", "changing the schema is not allowed"},
		{"CREATE TABLE x AS SELECT * FROM _fb_local_identity", "reading _fb_local_identity is not allowed"},
		{"CREATE TABLE x (a DEFAULT (_fb_touch('notes', 'insert', 'a')))", "function _fb_touch is not allowed"},
		{"ALTER TABLE scratch ADD COLUMN w", "ALTER is not allowed"},
	} {
		_, _, err := db.Exec(t.Context(), localRequest("CREATE TABLE made (a)", "INSERT INTO made VALUES (1)", "INSERT INTO notes (id) VALUES ('b')", c.sql))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.sql, err, c.want)
		}
		if got := query(t, db, "SELECT (SELECT count(*) FROM notes), (SELECT count(*) FROM sqlite_schema WHERE name = 'made')"); got[0][0].Int != 1 || got[0][1].Int != 0 {
			t.Fatalf("after %s: %v", c.sql, got)
		}
		// What was undone is not there to be written.
		if _, _, err := execute(db, t, "INSERT INTO made VALUES (1)"); err == nil || !strings.Contains(err.Error(), "no such table") {
			t.Fatalf("after %s: %v", c.sql, err)
		}
	}
}

// A name is a local table's or a replicated one's, never half of each.
func TestNameOfALocalTableIsNotReplicated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	db, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{Durability: sqlite.OS}))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := db.Exec(t.Context(), localRequest("CREATE TABLE later (id TEXT NOT NULL PRIMARY KEY, v)")); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "INSERT INTO notes (id) VALUES ('a')")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for sql, want := range map[string]string{
		"CREATE TABLE later (id TEXT NOT NULL PRIMARY KEY, v)":        "table later: a local table has the name; DROP TABLE later by SQL",
		"-- firebreak: local\nCREATE TABLE notes (id)":                "table notes: it is replicated in the file, and local in the schema",
		"-- firebreak: local\nCREATE TABLE scratch (id, v, w UNIQUE)": "the local table in the file has other columns than the schema; DROP TABLE scratch by SQL",
	} {
		if _, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{Tables: parse(t, sql)})); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", sql, err, want)
		}
	}
	// Without a schema that names it, a replicated table is nobody's to write.
	db = openAt(t, path, sqlite.Config{Tables: parse(t, "-- firebreak: local\nCREATE TABLE mine (v); CREATE INDEX mine_v ON mine (v)")})
	if _, _, err := db.Exec(t.Context(), localRequest("DELETE FROM notes")); err == nil || !strings.Contains(err.Error(), "writing table notes is not allowed") {
		t.Errorf("a table that is not in the schema: %v", err)
	}
	if _, _, err := db.Exec(t.Context(), localRequest("DROP TABLE notes")); err == nil {
		t.Error("a table that is not in the schema was dropped")
	}
	mustExec(t, db, "INSERT INTO mine VALUES (1), (1)")
	if got := query(t, db, "SELECT v, rowid FROM mine WHERE v = 1"); len(got) != 2 || !got[1][1].Equal(record.Of(2)) {
		t.Errorf("rows %v", got)
	}
}
