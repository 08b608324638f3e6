package cli_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sqlite makes a database with the sqlite3 shell.
func (n *realNode) sqlite(sql string) string {
	n.t.Helper()
	if _, err := exec.LookPath("sqlite3"); err != nil {
		n.t.Skip("needs the sqlite3 shell to make another program's database")
	}
	path := filepath.Join(n.t.TempDir(), "other ?#%.db")
	cmd := exec.Command("sqlite3", "-bail", path)
	cmd.Stdin = strings.NewReader(sql)
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Fatalf("sqlite3: %v\n%s", err, out)
	}
	return path
}

// counts reads what import prints.
func counts(t *testing.T, out string) map[string]map[string]float64 {
	t.Helper()
	all := map[string]map[string]float64{}
	for line := range strings.Lines(out) {
		var a struct {
			Table                           string
			Rows, Written, Changed, Refused float64
		}
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all[a.Table] = map[string]float64{"rows": a.Rows, "written": a.Written, "changed": a.Changed, "refused": a.Refused}
	}
	return all
}

const otherSQL = `
CREATE TABLE machines (id TEXT PRIMARY KEY, app TEXT, port INTEGER, doc TEXT, name TEXT AS (json_extract(doc, '$.name')));
INSERT INTO machines (id, app, port, doc) SELECT printf('m%05d', x), 'app' || (x % 7), x, CASE WHEN x % 3 THEN '{"name":"n' || x || '"}' END
	FROM (WITH RECURSIVE n(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM n WHERE x < 2499) SELECT x FROM n);
CREATE TABLE types (id TEXT PRIMARY KEY, i, r, t, b);
INSERT INTO types VALUES ('a', 9223372036854775807, 1e300, 'tëxt', x'00ff'), ('b', -5, -0.0, '', x''), ('c', NULL, 9e999, 'x' || char(0) || 'y', NULL);
CREATE TABLE pairs (b, a, PRIMARY KEY (b, a));
INSERT INTO pairs VALUES (2, 'x'), (1, 'y');
CREATE VIEW v AS SELECT 1;
CREATE TRIGGER trig AFTER INSERT ON types BEGIN SELECT nosuch(); END;
`

func TestImportOfADatabaseKeepsEveryValue(t *testing.T) {
	n := startNode(t)
	path := n.sqlite(otherSQL)
	got := n.ok("", "import", "sqlite", path, "-o", "json")
	want := map[string]map[string]float64{
		"machines": {"rows": 2500, "written": 2500, "changed": 2500, "refused": 0},
		"types":    {"rows": 3, "written": 3, "changed": 3, "refused": 0},
		"pairs":    {"rows": 2, "written": 2, "changed": 2, "refused": 0},
	}
	if c := counts(t, got); fmt.Sprint(c) != fmt.Sprint(want) {
		t.Errorf("%v\nwant %v", c, want)
	}
	for _, sql := range []string{
		"id, typeof(i), i, typeof(r), r = 1e300, r = 9e999, r = 0, typeof(t), length(t), hex(t), typeof(b), hex(b) FROM types ORDER BY id",
		"count(*), sum(port), count(doc), count(name), max(id) FROM machines", "a, b FROM pairs ORDER BY a",
	} {
		out, err := exec.Command("sqlite3", "-json", path, "SELECT json_array("+strings.Replace(sql, " FROM", ") AS x FROM", 1)).Output()
		if err != nil {
			t.Fatal(err)
		}
		var there, here []map[string]string
		if err := json.Unmarshal(out, &there); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		for _, line := range strings.Split(strings.TrimSpace(n.rows("SELECT json_array("+strings.Replace(sql, " FROM", ") AS x FROM", 1))), "\n")[1:] {
			var r struct{ Row []string }
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			here = append(here, map[string]string{"x": r.Row[0]})
		}
		if diff := cmp.Diff(there, here); diff != "" {
			t.Errorf("%s (-there +here):\n%s", sql, diff)
		}
	}
	again := counts(t, n.ok("", "import", "sqlite", path, "-o", "json"))
	if again["machines"]["changed"] != 0 || again["types"]["changed"] != 0 || again["machines"]["written"] != 2500 {
		t.Errorf("the same again changes rows: %v", again)
	}
}

func TestImportTellsEveryRefusedRow(t *testing.T) {
	n := startNode(t)
	big := strings.Repeat("x", 70<<10)
	for _, c := range []struct {
		kind, table, text string
		extra             []string
		written           float64
		refused           []string // what is said of each
	}{
		{"csv", "strict", "id,n\n1,10\n2,ten\n\"3,4\n4,5\n", nil, 1, []string{"line 3: refused: ", "line 4: refused: bad CSV"}},
		{"csv", "machines", "\xef\xbb\xbfid,app,port\r\na,b,1\r\nb,c\r\n\"c\"d,e,2\r\nd,,\r\ne," + big + ",3\r\n", nil, 2,
			[]string{"line 3: refused: 2 fields, want 3", "line 4: refused: bad CSV", "line 6: refused: "}},
		{"ndjson", "machines", `{"id":"a","port":9007199254740993}` + "\n\n" + `{"id":"b","colour":1}` + "\n" + `{"id":"c"` + "\n" + `[1]` + "\n" +
			`{"id":"d","id":"e"}` + "\n" + `{"id":"f","port":9223372036854775808}` + "\n" + `{"id":null}` + "\n{\"id\":\"\xff\"}\n" + `{"id":"g"} x` + "\n" + `{"id":"h","doc":{"name":"N"}}`,
			nil, 2, []string{"line 3: refused: table machines has no column colour", "line 4: refused: bad JSON", "line 5: refused: is no JSON object",
				"line 6: refused: column id is there twice", "line 7: refused: column port", "line 8: refused: ", "line 9: refused: the line is not UTF-8", "line 10: refused: bad JSON"}},
		{"ndjson", "mine", `{"worker":"w1","id":"1"}` + "\n" + `{"worker":"w2","id":"1"}` + "\n" + `{"worker":"w1","id":"2"}`, nil, 2, []string{"line 2: refused: "}},
		{"csv", "types", "a1,NULL,7\na2,x,\n", []string{"--columns", "id,t,i", "--null", "NULL"}, 2, nil},
	} {
		path := n.file("rows", c.text)
		args := append([]string{"import", c.kind, path, "--table", c.table, "-o", "json"}, c.extra...)
		dry := n.run("", append(args, "--dry-run")...)
		got := n.run("", args...)
		one := counts(t, got.out)[c.table]
		code := 0
		if len(c.refused) > 0 {
			code = 1
		}
		if got.code != code || one["written"] != c.written || int(one["refused"]) != len(c.refused) || one["rows"] != one["written"]+one["refused"] {
			t.Errorf("%s into %s: %v", c.kind, c.table, got)
		}
		for _, want := range c.refused {
			if !strings.Contains(got.err, c.table+": "+want) {
				t.Errorf("%s into %s: nothing says %q in %.2000s", c.kind, c.table, want, got.err)
			}
		}
		if d := counts(t, dry.out)[c.table]; d["written"] != 0 || d["changed"] != 0 || d["rows"] != one["rows"] {
			t.Errorf("dry run: %v", dry)
		}
	}
	for sql, want := range map[string]string{
		"SELECT id, app, port, name FROM machines ORDER BY id": `{"row":["a","b",9007199254740993,null]}` + "\n" + `{"row":["d","","",null]}` + "\n" + `{"row":["h","",null,"N"]}`,
		"SELECT id, t, i FROM types ORDER BY id":               `{"row":["a1",null,7]}` + "\n" + `{"row":["a2","x",""]}`,
		"SELECT count(*) FROM mine":                            `{"row":[2]}`,
	} {
		if got := n.rows(sql); !strings.Contains(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", sql, got, want)
		}
	}
}

func TestImportRefusesWhatDoesNotFitBeforeItWrites(t *testing.T) {
	n := startNode(t)
	path := n.sqlite("CREATE TABLE machines (id, color); INSERT INTO machines VALUES ('m', 1); CREATE TABLE nosuch (a); CREATE TABLE types (id); INSERT INTO types VALUES ('t');")
	got := n.run("", "import", "sqlite", path)
	if got.code != 2 || !strings.Contains(got.err, "no column color") || !strings.Contains(got.err, "no table nosuch") || !strings.Contains(got.err, "nothing was written") {
		t.Error(got)
	}
	if got := n.rows("SELECT (SELECT count(*) FROM types) + (SELECT count(*) FROM machines)"); !strings.Contains(got, "[0]") {
		t.Errorf("something was written: %s", got)
	}
	csv := n.file("a.csv", "id,name\nx,y\n")
	for _, args := range [][]string{
		{"sqlite", "/none"}, {"sqlite", t.TempDir()}, {"sqlite", csv}, {"sqlite", path, "--table", "none"}, {"csv", csv}, {"csv", csv, "--table", "nosuch"},
		{"csv", csv, "--table", "machines"}, {"csv", n.file("e", ""), "--table", "machines"}, {"csv", "/none", "--table", "machines"}, {"corrosion", path},
	} {
		if got := n.run("", append([]string{"import"}, args...)...); got.code != 2 || got.out != "" {
			t.Errorf("%v: %v", args, got)
		}
	}
	many := strings.Repeat("x\n", 50)
	if got := n.run(many, "import", "ndjson", "-", "--table", "machines", "--max-refused", "10"); got.code != 1 || strings.Count(got.err, ": refused: ") != 11 || !strings.Contains(got.err, "too many rows were refused") {
		t.Errorf("garbage: %v", got)
	}
}

// corrosionSQL is a file to the layout of Corrosion's: cr-sqlite's clock and
// key tables and triggers beside each replicated table, its books and the
// agent's.
const corrosionSQL = `
PRAGMA journal_mode = WAL;
CREATE TABLE machines (id TEXT NOT NULL PRIMARY KEY, app TEXT NOT NULL DEFAULT '', port INTEGER, doc TEXT);
CREATE TABLE scratch (k TEXT PRIMARY KEY, v);
CREATE TABLE crsql_site_id (site_id BLOB NOT NULL, ordinal INTEGER PRIMARY KEY);
CREATE TABLE crsql_db_versions (site_id BLOB NOT NULL PRIMARY KEY, db_version INTEGER NOT NULL);
CREATE TABLE crsql_master (key TEXT PRIMARY KEY, value ANY);
CREATE TABLE crsql_tracked_peers (site_id BLOB NOT NULL, version INTEGER NOT NULL, seq INTEGER DEFAULT 0, tag INTEGER, event INTEGER, PRIMARY KEY (site_id, tag, event)) STRICT;
CREATE TABLE machines__crsql_clock (key INTEGER NOT NULL, col_name TEXT NOT NULL, col_version INTEGER NOT NULL, db_version INTEGER NOT NULL, site_id INTEGER NOT NULL DEFAULT 0, seq INTEGER NOT NULL, ts TEXT NOT NULL DEFAULT '0', PRIMARY KEY (key, col_name)) WITHOUT ROWID, STRICT;
CREATE TABLE machines__crsql_pks (__crsql_key INTEGER PRIMARY KEY, id);
CREATE TABLE __corro_state (key TEXT NOT NULL PRIMARY KEY, value);
CREATE TABLE __corro_schema (tbl_name TEXT NOT NULL, type TEXT NOT NULL, name TEXT NOT NULL, sql TEXT NOT NULL, source TEXT NOT NULL, PRIMARY KEY (tbl_name, type, name));
CREATE TABLE __corro_bookkeeping (actor_id BLOB NOT NULL, start_version INTEGER NOT NULL, end_version INTEGER, db_version INTEGER, last_seq INTEGER, ts TEXT, PRIMARY KEY (actor_id, start_version)) WITHOUT ROWID;
CREATE TABLE __corro_bookkeeping_gaps (actor_id BLOB NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, PRIMARY KEY (actor_id, start)) WITHOUT ROWID;
CREATE TABLE __corro_buffered_changes ("table" TEXT NOT NULL, pk BLOB NOT NULL, cid TEXT NOT NULL, val ANY, col_version INTEGER NOT NULL, db_version INTEGER NOT NULL, site_id BLOB NOT NULL, seq INTEGER NOT NULL, cl INTEGER NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (site_id, db_version, version, seq)) WITHOUT ROWID;
CREATE TABLE __corro_members (actor_id BLOB PRIMARY KEY NOT NULL, address TEXT NOT NULL, foca_state JSON);
INSERT INTO machines VALUES ('m1', 'web', 80, NULL), ('m2', 'web', NULL, '{"name":"two"}');
INSERT INTO scratch VALUES ('k', 1);
INSERT INTO machines__crsql_pks VALUES (1, 'm1'), (2, 'm2');
INSERT INTO machines__crsql_clock (key, col_name, col_version, db_version, seq) VALUES (1, 'app', 1, 1, 0), (1, 'port', 1, 1, 1), (2, 'app', 1, 2, 0);
CREATE TRIGGER machines__crsql_itrig AFTER INSERT ON machines WHEN crsql_internal_sync_bit() = 0 BEGIN SELECT crsql_after_insert('machines', NEW.id); END;
CREATE TRIGGER machines__crsql_utrig AFTER UPDATE ON machines WHEN crsql_internal_sync_bit() = 0 BEGIN SELECT crsql_after_update('machines', NEW.id, OLD.id); END;
CREATE TRIGGER machines__crsql_dtrig AFTER DELETE ON machines WHEN crsql_internal_sync_bit() = 0 BEGIN SELECT crsql_after_delete('machines', OLD.id); END;
`

func TestImportOfACorrosionDatabase(t *testing.T) {
	n := startNode(t)
	// Its triggers call functions that only cr-sqlite has: rows come first.
	path := n.sqlite(corrosionSQL)
	got := n.run("", "import", "corrosion", path, "-o", "json")
	if c := counts(t, got.out); got.code != 0 || len(c) != 1 || c["machines"]["changed"] != 2 {
		t.Errorf("import: %v", got)
	}
	if !strings.Contains(got.err, "table scratch is not replicated and is left out") {
		t.Errorf("a table that is left out is not named: %s", got.err)
	}
	if got := n.rows("SELECT id, app, port, name FROM machines ORDER BY id"); !strings.Contains(got, `["m1","web",80,null]`) || !strings.Contains(got, `["m2","web",null,"two"]`) {
		t.Error(got)
	}
	if got := n.run("", "import", "corrosion", path, "--table", "scratch"); got.code != 2 || !strings.Contains(got.err, "no table scratch") {
		t.Error(got)
	}
}
