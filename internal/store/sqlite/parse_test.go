package sqlite_test

import (
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

func TestParseReadsWhatTheTableIs(t *testing.T) {
	got, err := sqlite.ParseSQL(`
-- firebreak: owned by worker
CREATE TABLE IF NOT EXISTS "Machines" ( -- what runs
	id TEXT, worker TEXT,
	app TEXT NOT NULL DEFAULT 'it''s' CHECK (length(app) < 64), n INTEGER DEFAULT -7,
	blob BLOB DEFAULT x'00ff', at TEXT DEFAULT CURRENT_TIMESTAMP, e INTEGER DEFAULT (abs(-1)),
	PRIMARY KEY (worker, id),
	CONSTRAINT sane CHECK (n > 0 OR (n < 0))
) WITHOUT ROWID;
/* firebreak: ranked by epoch, at evicts */ create table e (node text primary key, boot integer not null, epoch int not null, at int not null);
CREATE TABLE plain (id INTEGER PRIMARY KEY, CHECKED TEXT);
-- firebreak: local
CREATE TABLE mine (a TEXT PRIMARY KEY, b)`)
	if err != nil {
		t.Fatal(err)
	}
	text := func(name string, notNull bool) schema.Column {
		return schema.Column{Name: name, Type: "TEXT", NotNull: notNull}
	}
	app, n, blob, at, e := text("app", true), schema.Column{Name: "n", Type: "INTEGER"}, schema.Column{Name: "blob", Type: "BLOB"}, text("at", false), schema.Column{Name: "e", Type: "INTEGER"}
	app.Default, n.Default, blob.Default = record.Of("it's"), record.Of(-7), record.Of([]byte{0, 0xff})
	at.Expr, e.Expr = "CURRENT_TIMESTAMP", "abs(-1)"
	num := func(name, typ string) schema.Column { return schema.Column{Name: name, Type: typ, NotNull: true} }
	want := []schema.Table{
		schema.Table{
			Name: "machines", Kind: record.Owned, Key: []schema.Column{text("worker", true), text("id", true)},
			Columns: []schema.Column{app, n, blob, at, e}, Checks: []string{"length(app) < 64", "n > 0 OR (n < 0)"},
		}.WithIDs(),
		schema.Table{
			Name: "e", Kind: record.Ranked, Key: []schema.Column{text("node", true)}, RankBy: []string{"epoch", "at"}, Evicts: true,
			Columns: []schema.Column{num("boot", "INTEGER"), num("epoch", "INT"), num("at", "INT")},
		}.WithIDs(),
		schema.Table{Name: "plain", Kind: record.Shared, Key: []schema.Column{num("id", "INTEGER")}, Columns: []schema.Column{text("checked", false)}}.WithIDs(),
		{Name: "mine", Key: []schema.Column{text("a", true)}, Columns: []schema.Column{{Name: "b"}}},
	}
	same(t, "tables", want, got)
}

// What one schema says by hand and another by SQL is one table.
func TestParsedTableHasTheIdsOfItsDefinition(t *testing.T) {
	a, err := sqlite.ParseSQL("CREATE TABLE t (id TEXT PRIMARY KEY, v INTEGER NOT NULL DEFAULT 7)")
	if err != nil {
		t.Fatal(err)
	}
	b, err := sqlite.ParseSQL(a[0].SQL())
	if err != nil {
		t.Fatal(err)
	}
	same(t, "tables", a, b)
}

func TestParseRefusesByName(t *testing.T) {
	for _, c := range []struct{ sql, want string }{
		{"CREATE INDEX i ON t (a)", "CREATE INDEX: only CREATE TABLE"},
		{"DROP TABLE t", "DROP TABLE: only CREATE TABLE"},
		{"PRAGMA x", "only CREATE TABLE"},
		{"CREATE TABLE t (a TEXT PRIMARY KEY) STRICT", "STRICT is not supported"},
		{"CREATE TABLE t (a INTEGER PRIMARY KEY AUTOINCREMENT)", "AUTOINCREMENT is not supported"},
		{"CREATE TABLE t (a TEXT PRIMARY KEY, b TEXT UNIQUE)", "UNIQUE is not supported"},
		{"CREATE TABLE t (a TEXT PRIMARY KEY, b TEXT REFERENCES t (a))", "REFERENCES is not supported"},
		{"CREATE TABLE t (a TEXT COLLATE NOCASE PRIMARY KEY)", "COLLATE is not supported"},
		{"CREATE TABLE t (a TEXT PRIMARY KEY, b GENERATED ALWAYS AS (a))", "GENERATED is not supported"},
		{"CREATE TABLE t AS SELECT 1", "SELECT is not supported"},
		{"CREATE TABLE t (a REAL PRIMARY KEY)", "1 and 1.0 would be one key"},
		{"CREATE TABLE t (a TEXT)", "no primary key"},
		{"CREATE TABLE _fb_t (a TEXT PRIMARY KEY)", "is reserved"},
		{"CREATE TABLE t (a TEXT PRIMARY KEY);\nCREATE TABLE t (a TEXT PRIMARY KEY)", "line 2: "},
		{"-- firebreak: owned by b\nCREATE TABLE t (a TEXT PRIMARY KEY, b TEXT)", "owner column b is not the first"},
		{"-- firebreak: owned by a\nCREATE TABLE t (a INTEGER PRIMARY KEY)", "owner column a is not TEXT"},
		{"-- firebreak: ranked by n\nCREATE TABLE t (a TEXT PRIMARY KEY, n INTEGER)", "may be NULL"},
		{"-- firebreak: something\nCREATE TABLE t (a TEXT PRIMARY KEY)", `"something" is not understood`},
		{"CREATE TABLE t (a TEXT PRIMARY KEY", "incomplete input"},
		{"CREATE TABLE t (a\x00 TEXT PRIMARY KEY)", "NUL"},
	} {
		if _, err := sqlite.ParseSQL(c.sql); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: error %v, want %q", c.sql, err, c.want)
		}
	}
}

func FuzzParseSQL(f *testing.F) {
	f.Add(sqlite.TestSchema)
	f.Add("CREATE TABLE t (a TEXT PRIMARY KEY, CHECK (a <> ')')) -- firebreak: local")
	f.Add("create table t(a primary key default ';' check(\"a\"='x''') , [b c]);")
	f.Fuzz(func(t *testing.T, sql string) {
		tables, err := sqlite.ParseSQL(sql)
		if err != nil {
			return
		}
		for _, table := range tables {
			if table.Kind == 0 {
				continue
			}
			if again, err := sqlite.ParseSQL(table.SQL()); err != nil || again[0].Name != table.Name {
				t.Errorf("%q is %+v, whose own SQL is %q: %v", sql, table, table.SQL(), err)
			}
		}
	})
}
