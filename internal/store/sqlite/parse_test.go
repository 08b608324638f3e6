package sqlite_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

func parse(t testing.TB, sql string) []schema.Table {
	t.Helper()
	out, err := sqlite.ParseSQL(sql)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestParseReadsWhatTheTableIs(t *testing.T) {
	got := parse(t, `
-- firebreak: owned by worker
CREATE TABLE IF NOT EXISTS "Machines" ( -- what runs
	id TEXT NOT NULL, worker TEXT NOT NULL,
	app TEXT NOT NULL DEFAULT 'it''s' CHECK (length(app) < 64), n INTEGER DEFAULT -7,
	blob BLOB DEFAULT x'00ff', at TEXT DEFAULT CURRENT_TIMESTAMP, e INTEGER DEFAULT (abs(-1)),
	PRIMARY KEY (worker, id),
	CONSTRAINT sane CHECK (n > 0 /* yes */ OR  (n < 0))
) WITHOUT ROWID;
/* firebreak: ranked by epoch, at evicts */ create table e (node text not null primary key, boot integer not null, epoch int not null, at int not null);
CREATE TABLE plain (id INTEGER NOT NULL PRIMARY KEY, CHECKED TEXT);
CREATE TABLE mine (a TEXT PRIMARY KEY UNIQUE, b COLLATE NOCASE); -- firebreak: local
CREATE UNIQUE INDEX mine_b ON mine (b)`)
	text := func(name string, notNull bool) schema.Column {
		return schema.Column{Name: name, Type: "TEXT", NotNull: notNull}
	}
	app, n, blob, at, e := text("app", true), schema.Column{Name: "n", Type: "INTEGER"}, schema.Column{Name: "blob", Type: "BLOB"}, text("at", false), schema.Column{Name: "e", Type: "INTEGER"}
	app.Default, n.Default, blob.Default = record.Of("it's"), record.Of(-7), record.Of([]byte{0, 0xff})
	at.Expr, e.Expr = "CURRENT_TIMESTAMP", "abs(-1)"
	num := func(name, typ string) schema.Column { return schema.Column{Name: name, Type: typ, NotNull: true} }
	checked := text("checked", false)
	checked.Spelled = "CHECKED"
	want := []schema.Table{
		schema.Table{
			Name: "machines", Spelled: "Machines", Kind: record.Owned, Key: []schema.Column{text("worker", true), text("id", true)},
			Columns: []schema.Column{app, n, blob, at, e}, Order: []string{"id", "worker", "app", "n", "blob", "at", "e"}, WithoutRowID: true,
			Checks: []schema.Check{{Expr: "length(app) < 64"}, {Name: "sane", Expr: "n > 0 OR (n < 0)"}},
		}.WithIDs(),
		schema.Table{
			Name: "e", Kind: record.Ranked, Key: []schema.Column{text("node", true)}, RankBy: []string{"epoch", "at"}, Evicts: true,
			Columns: []schema.Column{num("boot", "INTEGER"), num("epoch", "INT"), num("at", "INT")},
		}.WithIDs(),
		schema.Table{Name: "plain", Kind: record.Shared, Key: []schema.Column{num("id", "INTEGER")}, Columns: []schema.Column{checked}}.WithIDs(),
		{
			Name: "mine", Key: []schema.Column{text("a", false)}, Columns: []schema.Column{{Name: "b"}}, Order: []string{"a", "b"},
			Local: []string{"CREATE TABLE mine (a TEXT PRIMARY KEY UNIQUE, b COLLATE NOCASE)", "CREATE UNIQUE INDEX mine_b ON mine (b)"},
		},
	}
	same(t, "tables", want, got)
}

// What people put into their files, and what there is of it in the end.
func TestParseReadsEveryForm(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY)", `CREATE TABLE "t" ("id" TEXT NOT NULL, PRIMARY KEY ("id")) WITHOUT ROWID`},
		{
			"\ufeffcreate table main.[t](`id` int primary key not null, \"a b\" varchar(264) default \"\", c char(4) not null default XXXX,\r\n d decimal(10, 2) default 1.50);\r\n",
			`CREATE TABLE "t" ("id" INT NOT NULL, "a b" VARCHAR(264) DEFAULT '', "c" CHAR(4) NOT NULL DEFAULT 'XXXX', "d" DECIMAL(10, 2) DEFAULT 1.5, PRIMARY KEY ("id")) WITHOUT ROWID`,
		},
		{
			"CREATE TABLE t (v TEXT AS (json_extract(doc, '$.a')), id TEXT NOT NULL, doc TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(doc)), n INT GENERATED ALWAYS AS (length(doc)) STORED, PRIMARY KEY (id))",
			`CREATE TABLE "t" ("v" TEXT AS (json_extract(doc, '$.a')), "id" TEXT NOT NULL, "doc" TEXT NOT NULL DEFAULT '{}', "n" INT AS (length(doc)) STORED, PRIMARY KEY ("id"), CHECK (json_valid(doc))) WITHOUT ROWID`,
		},
		{"CREATE TABLE t (id TEXT PRIMARY KEY, v ANY) STRICT", `CREATE TABLE "t" ("id" TEXT NOT NULL, "v" ANY, PRIMARY KEY ("id")) WITHOUT ROWID, STRICT`},
		{
			"CREATE TABLE t (id TEXT PRIMARY KEY COLLATE BINARY, Name TEXT COLLATE NoCase) WITHOUT ROWID, STRICT",
			`CREATE TABLE "t" ("id" TEXT NOT NULL, "Name" TEXT COLLATE "NOCASE", PRIMARY KEY ("id")) WITHOUT ROWID, STRICT`,
		},
		{
			"CREATE TABLE t (id NOT NULL, b, CONSTRAINT pk PRIMARY KEY (id DESC) CONSTRAINT one CHECK (b IN (1, 2)) CHECK (b <> ')'))",
			`CREATE TABLE "t" ("id" NOT NULL, "b", PRIMARY KEY ("id"), CONSTRAINT "one" CHECK (b IN (1, 2)), CHECK (b <> ')')) WITHOUT ROWID`,
		},
		{ // what the key says already
			"CREATE TABLE t (ID TEXT NOT NULL UNIQUE PRIMARY KEY, b TEXT, UNIQUE ([id]), CONSTRAINT u UNIQUE (b, id))",
			`CREATE TABLE "t" ("ID" TEXT NOT NULL, "b" TEXT, PRIMARY KEY ("id")) WITHOUT ROWID`,
		},
		{
			"CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, a TEXT DEFAULT 0, b BOOLEAN DEFAULT false, c BLOB DEFAULT X'', d INTEGER DEFAULT +5, e REAL DEFAULT -1, f INTEGER DEFAULT (1+1), g TEXT DEFAULT 1.50, h INTEGER DEFAULT '12', i DEFAULT .5, j DEFAULT 1e+3, k REAL DEFAULT 9e999, l INTEGER DEFAULT -9223372036854775808, m DEFAULT NULL)",
			`CREATE TABLE "t" ("id" TEXT NOT NULL, "a" TEXT DEFAULT '0', "b" BOOLEAN DEFAULT 0, "c" BLOB DEFAULT x'', "d" INTEGER DEFAULT 5, "e" REAL DEFAULT -1.0, "f" INTEGER DEFAULT (1+1), "g" TEXT DEFAULT '1.5', "h" INTEGER DEFAULT 12, "i" DEFAULT 0.5, "j" DEFAULT 1000.0, "k" REAL DEFAULT 9e999, "l" INTEGER DEFAULT -9223372036854775808, "m", PRIMARY KEY ("id")) WITHOUT ROWID`,
		},
	} {
		got := parse(t, c.in)
		if len(got) != 1 || got[0].SQL() != c.want {
			t.Errorf("%q\n got %s\nwant %s", c.in, got[0].SQL(), c.want)
			continue
		}
		if again := parse(t, got[0].SQL()); again[0].ID != got[0].ID || again[0].SQL() != c.want {
			t.Errorf("its own SQL is read as %s", again[0].SQL())
		}
	}
}

func TestParseReadsIndexes(t *testing.T) {
	got := parse(t, "CREATE TABLE T (id TEXT NOT NULL PRIMARY KEY, a, b);\nDROP INDEX IF EXISTS old;\nCREATE INDEX IF NOT EXISTS [T_a] ON t (a COLLATE NOCASE DESC, lower(b)) WHERE a > ';' -- some\n;")
	want := []schema.Index{{Name: "t_a", Spelled: "T_a", Terms: "a COLLATE NOCASE DESC, lower(b)", Where: "a > ';'"}}
	same(t, "indexes", want, got[0].Indexes)
	if sql, want := got[0].Indexes[0].SQL("t"), `CREATE INDEX "T_a" ON "t" (a COLLATE NOCASE DESC, lower(b)) WHERE a > ';'`; sql != want {
		t.Errorf("SQL %s, want %s", sql, want)
	}
}

// What one schema says by hand and another by SQL is one table.
func TestParsedTableHasTheIdsOfItsDefinition(t *testing.T) {
	a := parse(t, "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, v INTEGER NOT NULL DEFAULT 7) WITHOUT ROWID")
	same(t, "tables", a, parse(t, a[0].SQL()))
}

func TestParseRefusesByName(t *testing.T) {
	for _, c := range []struct {
		sql  string
		rule schema.Rule
		want string
	}{
		{"DROP TABLE t", schema.RuleStatement, "DROP TABLE is not allowed"},
		{"PRAGMA x", schema.RuleStatement, "PRAGMA is not allowed"},
		{"INSERT INTO t VALUES (1)", schema.RuleStatement, "INSERT is not allowed in a schema file: write rows through the API"},
		{"CREATE VIRTUAL TABLE t USING fts5(a)", schema.RuleStatement, "CREATE VIRTUAL is not allowed"},
		{"CREATE TEMP TABLE t (a TEXT NOT NULL PRIMARY KEY)", schema.RuleStatement, "CREATE TEMP is not allowed"},
		{"CREATE TABLE t AS SELECT 1", schema.RuleStatement, "list its columns"},
		{"CREATE TABLE t AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT * FROM n", schema.RuleStatement, "CREATE TABLE AS"},
		{"CREATE VIEW v AS SELECT 1", schema.RuleView, "CREATE VIEW"},
		{"CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM t; DELETE FROM u; END", schema.RuleTrigger, "CREATE TRIGGER"},
		{"CREATE TABLE t (a INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT)", schema.RuleChosenKey, "AUTOINCREMENT is not supported"},
		{"CREATE TABLE t (a INTEGER PRIMARY KEY)", schema.RuleChosenKey, "write a INTEGER NOT NULL and give the key"},
		{"CREATE TABLE t (a INTEGER PRIMARY KEY) STRICT", schema.RuleChosenKey, "SQLite would choose"},
		{"\nCREATE TABLE t (\na TEXT PRIMARY KEY)", schema.RuleNullableKey, "line 3: table t: key column a may be NULL: write a TEXT NOT NULL (rule nullable-key)"},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY, b TEXT UNIQUE)", schema.RuleUnique, "make it the key"},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY, b TEXT, UNIQUE (b))", schema.RuleUnique, "make it the key"},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY, b);\nCREATE UNIQUE INDEX i ON t (b)", schema.RuleUnique, "line 2: table t: UNIQUE INDEX i"},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY, b TEXT REFERENCES t (a) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED)", schema.RuleForeignKey, "REFERENCES"},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY, FOREIGN KEY (a) REFERENCES t)", schema.RuleForeignKey, "REFERENCES"},
		{"CREATE TABLE t (a TEXT NOT NULL COLLATE NOCASE PRIMARY KEY)", schema.RuleKeyCollation, "COLLATE NOCASE"},
		{"CREATE TABLE t (a TEXT NOT NULL, PRIMARY KEY (a COLLATE rtrim))", schema.RuleKeyCollation, "COLLATE RTRIM"},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY ON CONFLICT REPLACE)", schema.RuleConflict, "INSERT OR REPLACE"},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY, b NOT NULL ON CONFLICT IGNORE)", schema.RuleConflict, "INSERT OR IGNORE"},
		{"CREATE TABLE t (a REAL NOT NULL PRIMARY KEY)", schema.RuleRealKey, "1 and 1.0 would be one key"},
		{"CREATE TABLE t (a TEXT)", schema.RuleNoKey, "no primary key"},
		{"CREATE TABLE t (a TEXT, b AS (a), PRIMARY KEY (b))", schema.RuleSyntax, "generated columns cannot be part of the PRIMARY KEY"},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY, _fb_w TEXT)", schema.RuleName, `"_fb_w" is reserved`},
		{"CREATE TABLE _fb_t (a TEXT NOT NULL PRIMARY KEY)", schema.RuleName, "is reserved"},
		{"CREATE TABLE Fleet_t (a TEXT NOT NULL PRIMARY KEY)", schema.RuleName, "is reserved"},
		{"-- firebreak: local\nCREATE TABLE fleet_t (a)", schema.RuleName, "is reserved"},
		{"CREATE TABLE sqlite_t (a TEXT NOT NULL PRIMARY KEY)", schema.RuleSyntax, "reserved"},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY); CREATE INDEX _fb_i ON t (a)", schema.RuleName, "is reserved"},
		{"CREATE TABLE t (" + strings.Repeat("x", 129) + " TEXT NOT NULL PRIMARY KEY)", schema.RuleName, "129 bytes"},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY" + manyColumns(199) + ")", "", ""},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY" + manyColumns(1999) + ")", schema.RuleColumns, "2000 columns are over the cap of 200"},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY" + manyColumns(2000) + ")", schema.RuleSyntax, "too many columns"},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY, b 'my type')", schema.RuleColumnType, "column b"},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY, b INTEGER DEFAULT 'x') STRICT", schema.RuleDefault, "column b: default 'x'"},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY);\nCREATE TABLE t (a TEXT NOT NULL PRIMARY KEY)", schema.RuleName, "line 2: table t: it is there twice"},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY);\nCREATE TABLE IF NOT EXISTS T (a TEXT NOT NULL PRIMARY KEY)", schema.RuleName, "line 2: table t: it is there twice"},
		{"-- firebreak: owned by b\nCREATE TABLE t (a TEXT NOT NULL PRIMARY KEY, b TEXT)", schema.RuleOwner, "owner column b is not the first"},
		{"-- firebreak: owned by a\nCREATE TABLE t (a INTEGER NOT NULL PRIMARY KEY)", schema.RuleOwner, "owner column is not TEXT"},
		{"-- firebreak: ranked by n\nCREATE TABLE t (a TEXT NOT NULL PRIMARY KEY, n INTEGER)", schema.RuleRank, "may be NULL"},
		{"-- firebreak: something\nCREATE TABLE t (a TEXT NOT NULL PRIMARY KEY)", schema.RuleMark, `"firebreak: something" is not understood`},
		{"-- firebreak: local\n-- firebreak: shared\nCREATE TABLE t (a TEXT NOT NULL PRIMARY KEY)", schema.RuleMark, "2 firebreak comments"},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY);\n-- firebreak: local\nDROP INDEX IF EXISTS x", schema.RuleMark, "stands at no table"},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY", schema.RuleSyntax, "incomplete input"},
		{"CREATE TABLE t (a\x00 TEXT NOT NULL PRIMARY KEY)", schema.RuleSyntax, "NUL"},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY) -- \xff", schema.RuleSyntax, "UTF-8"},
		{strings.Repeat(" ", 1<<20+1), schema.RuleSyntax, "over the limit"},
		{"CREATE INDEX i ON Nowhere (a)", schema.RuleSyntax, "an index is on table nowhere, which the schema files do not make"},
		{"CREATE TABLE t (a TEXT NOT NULL, b TEXT NOT NULL, UNIQUE (a), PRIMARY KEY (a, b))", schema.RuleUnique, "line 1: table t: UNIQUE beyond"},
		{"CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY, b TEXT, UNIQUE (a COLLATE NOCASE, b))", schema.RuleUnique, "UNIQUE beyond"},
		{"DROP INDEX i", schema.RuleDropIndex, "IF EXISTS"},
		{"CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, a);\nCREATE INDEX i ON t (a);\nDROP INDEX IF EXISTS I", schema.RuleDropIndex, "line 3: index i is made and dropped"},
		{"CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, a);\nDROP INDEX IF EXISTS i;\nCREATE INDEX i ON t (a)", schema.RuleDropIndex, "line 3: table t: index i is dropped and made"},
	} {
		_, err := sqlite.ParseSQL(c.sql)
		if c.rule == "" {
			if err != nil {
				t.Errorf("%.60q: %v", c.sql, err)
			}
			continue
		}
		var r *schema.Refusal
		if !errors.As(err, &r) || r.Rule != c.rule || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: error %v, want %q by rule %s", c.sql, err, c.want, c.rule)
		}
	}
}

func manyColumns(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ", c%d", i)
	}
	return b.String()
}

// A file is refused as a whole, and told of everything at once.
func TestParseSaysEverythingAtOnce(t *testing.T) {
	_, err := sqlite.ParseSQL(`CREATE TABLE routes (
    id TEXT PRIMARY KEY,
    app TEXT
);
CREATE TABLE good (id TEXT NOT NULL PRIMARY KEY, v TEXT);
INSERT INTO routes (id, app) VALUES ('r1', 'web');
`)
	want := "schema: line 2: table routes: key column id may be NULL: write id TEXT NOT NULL (rule nullable-key)\n" +
		"line 6: INSERT is not allowed in a schema file: write rows through the API once the schema is loaded; " +
		"a schema file holds CREATE TABLE, CREATE INDEX and DROP INDEX IF EXISTS (rule statement)"
	if err == nil || err.Error() != want {
		t.Errorf("error %v\nwant  %s", err, want)
	}
}

func FuzzParseSQL(f *testing.F) {
	f.Add(sqlite.TestSchema)
	f.Add("CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY, CHECK (a <> ')')) -- firebreak: local")
	f.Add("create table t(a not null primary key default ';' check(\"a\"='x''') , [b c]);")
	f.Add("create table t(a int not null, b as (a+1), primary key(a)); create index i on t(b) where a>1; drop index if exists x")
	f.Add("CREATE TABLE T (Id TEXT PRIMARY KEY, v ANY DEFAULT 1e+5, w DEFAULT (random())) STRICT, WITHOUT ROWID")
	f.Fuzz(func(t *testing.T, sql string) {
		tables, err := sqlite.ParseSQL(sql)
		if err != nil {
			return
		}
		for _, table := range tables {
			if table.Kind == 0 {
				continue
			}
			again, err := sqlite.ParseSQL(table.SQL())
			if err != nil || again[0].Name != table.Name || again[0].SQL() != table.SQL() {
				t.Errorf("%q is %+v, whose own SQL is %q: %v", sql, table, table.SQL(), err)
			}
		}
	})
}
