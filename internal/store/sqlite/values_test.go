package sqlite_test

import (
	"errors"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/plain"
)

// strange are values that are lost or changed on some way through some driver.
var strange = []record.Value{
	{}, record.Of(0), record.Of(-1), record.Of(math.MaxInt64), record.Of(math.MinInt64), record.Of(1 << 53), record.Of(1<<53 + 1),
	record.Of(0.0), record.Of(math.Copysign(0, -1)), record.Of(1.0), record.Of(1.5), record.Of(1e300), record.Of(9223372036854775808.0),
	record.Of(math.Inf(1)), record.Of(math.Inf(-1)), record.Of(math.NaN()), {Type: record.Real, Real: math.NaN()}, record.Of(math.SmallestNonzeroFloat64),
	record.Of(""), record.Of("1"), record.Of("007"), record.Of("1e3"), record.Of(" 42 "), record.Of("0x10"), record.Of(`{"x":1}`), record.Of("12.0"),
	record.Of("9223372036854775808"), record.Of("2026-03-01 10:00:00"), record.Of("true"), record.Of("a\x00b"), record.Of("\x00"),
	record.Of("\xff\xfe"), record.Of("\xed\xa0\x80"), record.Of("é\U0001f600"), record.Of(strings.Repeat("long ", 12_000)),
	record.Of([]byte{}), record.Of([]byte{0}), record.Of([]byte("1")), record.Of([]byte{255, 0}), record.Of(make([]byte, 30_000)), // a zero takes two bytes of a key
}

// types are declared types that people use, of every affinity.
var types = []string{
	"", "INTEGER", "BIGINT", "BOOLEAN", "DATE", "DATETIME", "TIMESTAMP", "ANY", "JSON", "NUMERIC", "DECIMAL(10,2)",
	"REAL", "DOUBLE PRECISION", "TEXT", "VARCHAR(264)", "BLOB",
}

// dump are all rows of a table as SQLite itself tells of them.
func dump(t testing.TB, db *sqlite.DB, columns []string, table, key string) []store.Row {
	return query(t, db, dumpSQL(columns, table, key))
}

func dumpSQL(columns []string, table, key string) string {
	var out []string
	for _, c := range columns {
		out = append(out, fmt.Sprintf("typeof(%s), hex(%s), %s", c, c, c))
	}
	return fmt.Sprintf("SELECT %s FROM %s ORDER BY %s", strings.Join(out, ", "), table, key)
}

// Every value in a column of every type: written by parameter, by the API, read
// by SQL and as a row, at the writer, at another node, and as plain SQLite
// stores it.
func TestEveryNodeReadsTheValueThatPlainSQLiteStores(t *testing.T) {
	for _, strict := range []bool{false, true} {
		cols, defs := []string{"id"}, "id INTEGER NOT NULL PRIMARY KEY"
		for i, typ := range types {
			if strict && !slices.Contains([]string{"INTEGER", "ANY", "REAL", "TEXT", "BLOB"}, typ) {
				continue
			}
			cols = append(cols, fmt.Sprintf("c%d", i))
			defs += fmt.Sprintf(", c%d %s", i, typ)
		}
		sql := "CREATE TABLE vals (" + defs + ")"
		if strict {
			sql += " STRICT"
		}
		p := newPair(t, sql)
		base, err := plain.Open(filepath.Join(t.TempDir(), "plain.db"), plain.Config{})
		if err == nil {
			err = base.Script(sql)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer base.Close()
		for i, v := range strange {
			for j, col := range cols[1:] {
				id := int64(i*100 + j)
				insert := fmt.Sprintf("INSERT INTO vals (id, %s) VALUES (?, ?)", col)
				_, want := base.Exec(insert, id, v.Any())
				_, _, got := p.request(sqlite.Statement{SQL: insert, Args: []record.Value{record.Of(id), v}})
				if (want == nil) != (got == nil) {
					t.Fatalf("%s of %v: %v, plain SQLite %v", col, v, got, want)
				}
				if want != nil {
					continue
				}
				// The same again, in both ways, is no write.
				_, c, err := p.request(sqlite.Statement{SQL: strings.Replace(insert, "INSERT", "REPLACE", 1), Args: []record.Value{record.Of(id), v}})
				if err != nil || c.Point.Version != 0 {
					t.Errorf("%s of %v again: %+v, %v", col, v, c, err)
				}
				row := slices.Repeat(store.Row{{}}, len(cols))
				row[0], row[j+1] = record.Of(id), v
				if c, err := p.a.Update(t.Context(), func(x store.Tx) error { return x.Put("vals", row) }); err != nil || c.Point.Version != 0 {
					t.Errorf("%s of %v by the API: %+v, %v", col, v, c, err)
				}
			}
		}
		p.send()
		p.agree()
		a := dump(t, p.a, cols, "vals", "id")
		if diff := cmp.Diff(a, dump(t, p.b, cols, "vals", "id")); diff != "" {
			t.Errorf("writer and reader differ (-writer +reader):\n%.2000s", diff)
		}
		if diff := cmp.Diff(plainRows(t, base, dumpSQL(cols, "vals", "id")), a); diff != "" {
			t.Errorf("plain SQLite and the store differ (-plain +store):\n%.2000s", diff)
		}
	}
}

func plainRows(tb testing.TB, db *plain.DB, sql string) []store.Row {
	tb.Helper()
	var out []store.Row
	err := db.Stored(sql, func(r []record.Value) error {
		out = append(out, r)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// Keys of every kind, in order, and as keys of records.
func TestStrangeKeysAreKept(t *testing.T) {
	for _, typ := range []string{"", "TEXT", "BLOB", "NUMERIC", "INT", "ANY"} {
		strict := map[bool]string{true: " STRICT"}[typ == "ANY"] // where it is one
		p := newPair(t, fmt.Sprintf("CREATE TABLE k (k %s NOT NULL, n INTEGER NOT NULL, v TEXT, PRIMARY KEY (k, n))%s", typ, strict))
		kept := 0
		for i, v := range strange {
			_, _, err := p.request(sqlite.Statement{SQL: "INSERT INTO k VALUES (?, ?, 'v')", Args: []record.Value{v, record.Of(i)}})
			if err == nil {
				kept++
				continue
			}
			// What may be refused: NULL, and what is stored as REAL.
			if v.Type == record.Text && typ != "INT" && typ != "NUMERIC" || v.Type == record.Integer || v.Type == record.Blob {
				t.Errorf("%q key %.40v: %v", typ, v, err)
			}
		}
		if kept < 15 {
			t.Errorf("%q: %d keys kept", typ, kept)
		}
		p.send()
		p.agree()
		if got := dump(t, p.b, []string{"k", "n", "v"}, "k", "k, n"); len(got) != kept {
			t.Errorf("%q: %d rows of %d", typ, len(got), kept)
		}
		// Each is found by its own value, moved and deleted by it.
		if out, _ := p.write("UPDATE k SET n = n + 1000"); out[0].Rows != int64(kept) {
			t.Errorf("%q: moved %d of %d", typ, out[0].Rows, kept)
		}
		p.agree()
		if out, _ := p.write("DELETE FROM k WHERE (k, n) IN (SELECT k, n FROM k)"); out[0].Rows != int64(kept) {
			t.Errorf("%q: deleted %d of %d", typ, out[0].Rows, kept)
		}
		p.shows("SELECT * FROM k")
	}
}

// A default that is declared in another type than its column's is what SQLite
// makes of it, and written out it is no write.
func TestDefaultsAreWhatTheirColumnsMakeOfThem(t *testing.T) {
	p := newPair(t, `CREATE TABLE ad (
    id TEXT NOT NULL PRIMARY KEY,
    stamp TEXT NOT NULL DEFAULT 0, flag BOOLEAN NOT NULL DEFAULT false, note TEXT NOT NULL DEFAULT "", raw BLOB NOT NULL DEFAULT X'',
    five INTEGER NOT NULL DEFAULT +5, neg REAL NOT NULL DEFAULT -1, two INTEGER NOT NULL DEFAULT (1+1), num TEXT NOT NULL DEFAULT 1.50,
    cnt INTEGER NOT NULL DEFAULT '12', at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, big NUMERIC DEFAULT 9223372036854775808)`)
	p.write("INSERT INTO ad (id, at) VALUES ('k', 'now')")
	p.shows(`SELECT quote(stamp), quote(flag), quote(note), quote(raw), quote(five), quote(neg), quote(two), quote(num), quote(cnt), typeof(big) FROM ad`,
		`"'0'"|"0"|"''"|"X''"|"5"|"-1.0"|"2"|"'1.5'"|"12"|"real"`)
	_, c := p.write("REPLACE INTO ad VALUES ('k', '0', 0, '', x'', 5, -1.0, 2, '1.5', 12, 'now', 9223372036854775808)")
	if c.Point.Version != 0 {
		t.Errorf("the defaults written out are %+v", c)
	}
	p.write("INSERT INTO ad (id) VALUES ('expression')")
	p.shows("SELECT length(at) FROM ad WHERE id = 'expression'", "19")
}

func TestJSONFunctionsAndBlobsOfThem(t *testing.T) {
	p := newPair(t, "CREATE TABLE game (endpoint varchar(264) not null primary key, code char(4) not null default 'XXXX', givers blob, given_at timestamp)")
	p.write("INSERT INTO game (endpoint, givers) VALUES ('e', jsonb_array('a'))")
	p.write("UPDATE game SET givers = jsonb_insert(givers, '$[#]', 'b'), given_at = '2026-01-02T03:04:05Z'")
	p.shows("SELECT code, typeof(givers), json(givers), given_at FROM game", `"XXXX"|"blob"|"[\"a\",\"b\"]"|"2026-01-02T03:04:05Z"`)
}

// The changes of all tables that stand, for any program that reads the file.
func TestChangesViewTellsWhatStands(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	db := openAt(t, path, sqlite.Config{})
	w := record.Writer{Node: "w2", Boot: 5, Bits: 0xab}
	apply(t, db, pushed(w, 1, machineRecord("w2", "m'1", "web")))
	one := mustExec(t, db, "INSERT INTO notes (id, body) VALUES ('a', 'x'), (x'00ff', 'y')")
	two := mustExec(t, db, "DELETE FROM notes WHERE id = 'a'")
	self := fmt.Sprintf("%s/%d/%016x", one.Point.Writer.Node, one.Point.Writer.Boot, one.Point.Writer.Bits)
	want := []store.Row{
		{record.Of("w2/5/00000000000000ab"), record.Of(1), record.Of("machines"), record.Of("'w2', 'm''1'"), record.Of(0)},
		{record.Of(self), record.Of(int64(two.Point.Version)), record.Of("notes"), record.Of("'a'"), record.Of(1)},
		{record.Of(self), record.Of(int64(one.Point.Version)), record.Of("notes"), record.Of("X'00FF'"), record.Of(0)},
	}
	const sql = `SELECT writer, version, "table", key, deleted FROM _fb_changes WHERE wall > 0 ORDER BY 3, 4`
	same(t, "changes", want, query(t, db, sql))
	if _, _, err := execute(db, t, "DELETE FROM _fb_changes"); err == nil {
		t.Error("the view was written")
	}
	shell, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("no sqlite3 on this machine: only SQL of the store was tried")
	}
	out, err := exec.Command(shell, "-readonly", path, sql).CombinedOutput()
	if lines := strings.Split(strings.TrimSpace(string(out)), "\n"); err != nil || len(lines) != 3 || lines[0] != "w2/5/00000000000000ab|1|machines|'w2', 'm''1'|0" {
		t.Errorf("in the shell: %s, %v", out, err)
	}
}

// More tables than one compound SELECT may name.
func TestChangesViewOfManyTables(t *testing.T) {
	var sql strings.Builder
	for i := range 120 {
		fmt.Fprintf(&sql, "CREATE TABLE t%d (id TEXT NOT NULL PRIMARY KEY);\n", i)
	}
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Tables: parse(t, sql.String()), Durability: sqlite.OS})
	mustExec(t, db, "INSERT INTO t119 VALUES ('a')")
	if got := query(t, db, `SELECT "table" FROM _fb_changes`); len(got) != 1 || got[0][0].Data != "t119" {
		t.Errorf("changes %v", got)
	}
	none := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Tables: parse(t, "-- firebreak: local\nCREATE TABLE x (a)")})
	if got := query(t, none, "SELECT * FROM _fb_changes"); len(got) != 0 {
		t.Errorf("changes %v", got)
	}
}

// Indexes are set only where a column of theirs changes, also one that is
// computed, and hold what a scan finds.
func TestIndexesFollowTheirColumns(t *testing.T) {
	p := newPair(t, `
CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, a, b, c, g AS (a || b), h AS (g || '!'));
CREATE INDEX t_h ON t (h);
CREATE INDEX t_c ON t (c) WHERE b > 1`)
	p.write("INSERT INTO t VALUES ('x', 1, 1, 1), ('y', 2, 2, 2)")
	for _, sql := range []string{"UPDATE t SET a = 5 WHERE id = 'x'", "UPDATE t SET b = 7", "UPDATE t SET c = 9 WHERE id = 'y'", "UPDATE t SET a = a", "DELETE FROM t WHERE h = '57!'"} {
		p.write(sql)
		p.agree()
		for _, q := range []string{"SELECT id FROM t INDEXED BY t_h WHERE h > '' ORDER BY id", "SELECT id FROM t INDEXED BY t_c WHERE b > 1 AND c > 0 ORDER BY id"} {
			got := query(t, p.b, q)
			if diff := cmp.Diff(query(t, p.b, strings.NewReplacer("INDEXED BY t_h", "NOT INDEXED", "INDEXED BY t_c", "NOT INDEXED").Replace(q)), got); diff != "" {
				t.Errorf("%s: %s (-scan +index):\n%s", sql, q, diff)
			}
		}
	}
}

// An index that is in the schema no more is dropped, and no other.
func TestIndexesThatNoSchemaHasAreDropped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	const table = "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, a, b);\n"
	const list = "SELECT name, rootpage FROM sqlite_schema WHERE type = 'index' AND tbl_name = 't' AND name NOT LIKE 'sqlite%' ORDER BY name"
	open := func(sql string) (names []string, pages map[string]int64) {
		t.Helper()
		db, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{Tables: parse(t, table+sql)}))
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, db, "INSERT OR REPLACE INTO t VALUES ('x', 1, 2)")
		pages = map[string]int64{}
		for _, r := range query(t, db, list) {
			names = append(names, r[0].Data)
			pages[r[0].Data] = r[1].Int
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		return names, pages
	}
	names, first := open("CREATE INDEX T_a ON t (a); CREATE INDEX t_b ON t (b) WHERE a > 0")
	same(t, "indexes", []string{"T_a", "t_b"}, names)
	p, err := plain.Open(path, plain.Config{})
	if err == nil {
		err = errors.Join(p.Script("CREATE INDEX theirs ON t (b, a)"), p.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	names, again := open("CREATE INDEX T_a ON t (a); DROP INDEX IF EXISTS t_b")
	same(t, "indexes", []string{"T_a", "theirs"}, names)
	if again["T_a"] != first["T_a"] {
		t.Error("the index that stayed was made anew")
	}
	names, _ = open("CREATE INDEX T_a ON t (a DESC)")
	same(t, "indexes", []string{"T_a", "theirs"}, names)
	names, _ = open("")
	same(t, "indexes", []string{"theirs"}, names)
	taken := parse(t, table+"CREATE TABLE u (id TEXT NOT NULL PRIMARY KEY); CREATE INDEX theirs ON u (id)")
	if _, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{Tables: taken})); err == nil || !strings.Contains(err.Error(), "index theirs: an index of table t has the name") {
		t.Errorf("an index name that is taken: %v", err)
	}
}
