package sqlite_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// Files in the shapes that Corrosion's users have load as shared tables, with
// nothing left out, and a node keeps what they hold.
func TestCorrosionSchemaFilesLoadAsSharedTables(t *testing.T) {
	files, err := filepath.Glob("testdata/corrosion/*.sql")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			sql, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p := newPair(t, string(sql))
			for _, table := range p.tables {
				if table.Kind != record.Shared {
					t.Errorf("table %s is %v", table.Name, table.Kind)
				}
				if got := parse(t, table.SQL())[0]; got.ID != table.ID {
					t.Errorf("table %s has another id by its own SQL", table.Name)
				}
				key := make([]string, len(table.Key))
				for i := range key {
					key[i] = map[bool]string{true: "7", false: "'7'"}[strings.Contains(table.Key[i].Type, "INT")]
				}
				p.write("INSERT INTO \"" + table.Name + "\" (" + order(table) + ") VALUES (" + strings.Join(key, ", ") + ")")
			}
			p.agree()
			for _, db := range []*sqlite.DB{p.a, p.b} {
				want := strings.Count(string(sql), "CREATE INDEX")
				if got := query(t, db, "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND name NOT LIKE '\\_fb%' ESCAPE '\\'"); got[0][0].Int != int64(want) {
					t.Errorf("%v indexes, want %d", got, want)
				}
			}
		})
	}
}

// Editors lock a file by a link to nowhere, other systems put files of theirs
// beside it, and deployments put links in place of files.
func TestSchemaDirectoryHoldsOtherFilesToo(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"b.sql": "-- b", "a.sql.orig": "x", "._a.sql": "\x00", "README": "x", "real": "-- a", "c.sql~": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("me@host.1", filepath.Join(dir, ".#b.sql")), os.Symlink("real", filepath.Join(dir, "a.sql")), os.Mkdir(filepath.Join(dir, "old.sql"), 0o700)); err != nil {
		t.Fatal(err)
	}
	got, err := sqlite.ReadSchemaDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "files", []sqlite.SchemaFile{{Name: "a.sql", SQL: "-- a"}, {Name: "b.sql", SQL: "-- b"}}, got)
	if got, err = sqlite.ReadSchemaDir(filepath.Join(dir, "b.sql")); err != nil {
		t.Fatal(err)
	}
	same(t, "one file", []sqlite.SchemaFile{{Name: "b.sql", SQL: "-- b"}}, got)
	if _, err := sqlite.ReadSchemaDir(filepath.Join(dir, "none")); err == nil {
		t.Error("a directory that is missing is an empty schema")
	}
}

// Files are one schema, whatever is in which and whatever they are called.
func TestIndexesMayBeInAnotherFileThanTheirTable(t *testing.T) {
	files := []sqlite.SchemaFile{
		{Name: "00-indexes.sql", SQL: "CREATE INDEX notes_v ON notes (v);\nDROP INDEX IF EXISTS old;"},
		{Name: "10-notes.sql", SQL: "CREATE INDEX notes_kv ON \"Notes\" (v, k);\nCREATE TABLE IF NOT EXISTS notes (k TEXT NOT NULL PRIMARY KEY, v TEXT);"},
		{Name: "20-more.sql", SQL: "-- nothing yet\n"},
	}
	tables, err := sqlite.ParseFiles(files)
	if err != nil {
		t.Fatal(err)
	}
	one, err := sqlite.ParseSQL("CREATE TABLE notes (k TEXT NOT NULL PRIMARY KEY, v TEXT); CREATE INDEX notes_v ON notes (v); CREATE INDEX notes_kv ON notes (v, k);")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "tables", one, tables)

	files[2].SQL = "CREATE INDEX a ON nowhere (v);\nCREATE TABLE notes (k TEXT NOT NULL PRIMARY KEY);"
	files[0].SQL += "\nDROP INDEX IF EXISTS notes_kv;\nPRAGMA x;"
	_, err = sqlite.ParseFiles(files)
	want := "00-indexes.sql: schema: line 4: PRAGMA is not allowed in a schema file: a schema file holds CREATE TABLE, CREATE INDEX and DROP INDEX IF EXISTS (rule statement)\n" +
		"10-notes.sql: schema: line 1: table notes: index notes_kv is dropped and made by the schema files: leave the DROP INDEX out: an index whose statement changes is made anew (rule drop-index)\n" +
		"20-more.sql: schema: line 1: an index is on table nowhere, which the schema files do not make: put its CREATE TABLE into one of them (rule syntax)\n" +
		"line 2: table notes: it is in 10-notes.sql too: keep one (rule name)"
	if err == nil || err.Error() != want {
		t.Errorf("error %v\nwant  %s", err, want)
	}
}

func TestAffinitiesThatSurpriseAreToldOf(t *testing.T) {
	tables := parse(t, "CREATE TABLE t (k TEXT NOT NULL PRIMARY KEY, v ANY, j JSON, at TIMESTAMP, up BOOLEAN, s STRING, n INTEGER, d DECIMAL(10, 2), x, b BLOB);\nCREATE TABLE u (k TEXT NOT NULL PRIMARY KEY, v ANY) STRICT")
	got := sqlite.Warnings(tables[:1])
	if len(got) != 5 || !strings.Contains(got[0], "column v: ANY is no type of SQLite") || !strings.Contains(got[4], "column s: STRING") {
		t.Errorf("warnings %q", got)
	}
	if got := sqlite.Warnings(tables[1:]); got != nil {
		t.Errorf("of a STRICT table: %q", got)
	}
}

func TestTablesOfTheGuideLoad(t *testing.T) {
	guide, err := os.ReadFile("../../../docs/guides/your-tables.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(guide), "```sql\n")
	sql, _, _ := strings.Cut(rest, "```")
	p := newPair(t, sql)
	var got []string
	for _, table := range p.tables {
		got = append(got, table.Name)
	}
	same(t, "tables", []string{"volumes", "flags", "scratch"}, got)
	p.write(`INSERT INTO volumes (worker, id, doc) VALUES ('w1', 'v', '{"app":"web"}')`, "INSERT INTO flags VALUES ('a', '007')", "INSERT INTO scratch (note) VALUES ('x')")
	p.shows("SELECT id FROM volumes WHERE app = 'web'", `"v"`)
}

// Two nodes that cannot see each other add to one row: then it is one of the
// two, whole, and the same at both.
func TestSetInOneSharedRowIsOneOfTheTwo(t *testing.T) {
	p := newPair(t, "CREATE TABLE game (endpoint TEXT NOT NULL PRIMARY KEY, givers BLOB)")
	p.write("INSERT INTO game VALUES ('e', jsonb_array('first'))")
	for node, db := range map[string]*sqlite.DB{"a": p.a, "b": p.b} {
		mustExec(t, db, "UPDATE game SET givers = jsonb_insert(givers, '$[#]', ?)", node)
	}
	p.exchange()
	a, b := query(t, p.a, "SELECT json(givers) FROM game"), query(t, p.b, "SELECT json(givers) FROM game")
	same(t, "rows", a, b)
	if got := a[0][0].Data; got != `["first","a"]` && got != `["first","b"]` {
		t.Errorf("the row is %s", got)
	}
}
