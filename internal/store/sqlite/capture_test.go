package sqlite_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// changesOf tells of the next entry of a feed: table key: old > new.
func changesOf(t *testing.T, feed store.Feed) []string {
	t.Helper()
	entries, err := feed.Next(t.Context())
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	var out []string
	for _, c := range entries[0].Changes {
		key, err := c.Key.Columns()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %v: %v > %v", c.Table, key, c.Old, c.New))
	}
	return out
}

func TestKeysMoveAndSwap(t *testing.T) {
	p := newPair(t, "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, v TEXT NOT NULL DEFAULT '', w BLOB)")
	feed := feedFrom(t, p.b)
	p.write("INSERT INTO t VALUES ('a', '1', x''), ('c', '3', NULL)")
	same(t, "insert", []string{`t ["a"]: [] > ["a" "1" x'']`, `t ["c"]: [] > ["c" "3" NULL]`}, changesOf(t, feed))
	p.write("UPDATE t SET id = 'b' WHERE id = 'a'")
	same(t, "move", []string{`t ["a"]: ["a" "1" x''] > []`, `t ["b"]: [] > ["b" "1" x'']`}, changesOf(t, feed))
	_, c := p.write("UPDATE t SET id = '_' WHERE id = 'b'", "UPDATE t SET id = 'b' WHERE id = 'c'", "UPDATE t SET id = 'c' WHERE id = '_'")
	if c.Records != 2 {
		t.Errorf("a swap is %+v", c)
	}
	same(t, "swap", []string{`t ["b"]: ["b" "1" x''] > ["b" "3" NULL]`, `t ["c"]: ["c" "3" NULL] > ["c" "1" x'']`}, changesOf(t, feed))
	p.shows("SELECT * FROM t ORDER BY 1", `"b"|"3"|NULL`, `"c"|"1"|x''`)
}

func TestReplaceResetsWhatItLeavesOut(t *testing.T) {
	p := newPair(t, "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, a TEXT NOT NULL DEFAULT '', b TEXT NOT NULL DEFAULT 'B')")
	p.write("INSERT INTO t VALUES (1, 'x', 'y')")
	for i, want := range []int{1, 0} {
		out, c := p.write("INSERT OR REPLACE INTO t (id, a) VALUES (1, 'z')")
		if c.Records != want || out[0].Rows != 1 {
			t.Errorf("time %d: %+v, %d rows", i+1, c, out[0].Rows)
		}
	}
	p.shows("SELECT * FROM t", `1|"z"|"B"`)
}

func TestWriteThatChangesNothingNamesWhatStands(t *testing.T) {
	p := newPair(t, "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, v, n INTEGER NOT NULL DEFAULT 7)")
	_, first := p.write("INSERT INTO t (id, v) VALUES ('a', 1), ('b', 2)")
	_, second := p.write("UPDATE t SET v = 3 WHERE id = 'b'")
	for _, sql := range [][]string{
		{"UPDATE t SET v = v"},
		{"INSERT OR REPLACE INTO t VALUES ('a', 1, 7), ('b', 3, '7')"},
		{"INSERT INTO t (id, v) VALUES ('a', 1), ('b', 3) ON CONFLICT DO UPDATE SET v = excluded.v"},
		{"UPDATE t SET v = 9", "UPDATE t SET v = CASE id WHEN 'a' THEN 1 ELSE 3 END"},
		{"DELETE FROM t", "INSERT INTO t (id, v) VALUES ('b', 3), ('a', 1)", "INSERT INTO t (id) VALUES ('c')", "DELETE FROM t WHERE id = 'c'"},
		{"UPDATE t SET id = id || 'x'", "UPDATE t SET id = rtrim(id, 'x')"},
	} {
		_, c := p.write(sql...)
		if diff := cmp.Diff(store.Commit{Standing: []record.Point{first.Point, second.Point}}, c); diff != "" {
			t.Errorf("%q (-want +got):\n%s", sql, diff)
		}
	}
	for _, sql := range []string{"UPDATE t SET v = 0 WHERE id = 'none'", "INSERT INTO t (id) VALUES ('a') ON CONFLICT DO NOTHING", "INSERT OR IGNORE INTO t (id) VALUES ('b')"} {
		if _, c := p.write(sql); c.Point.Version != 0 || c.Standing != nil {
			t.Errorf("%s: %+v", sql, c)
		}
	}
	p.shows("SELECT * FROM t ORDER BY id", `"a"|1|7`, `"b"|3|7`)
}

func TestUpsertsWithConditions(t *testing.T) {
	p := newPair(t, "CREATE TABLE u (id TEXT NOT NULL PRIMARY KEY, doc TEXT NOT NULL DEFAULT '{}', seen TIMESTAMP NOT NULL DEFAULT '1970-01-01 00:00:00', ms DATETIME, day DATE)")
	const sql = `INSERT INTO u (id, doc, seen, ms, day) VALUES ('u1', '{"a":1}', '2026-03-01 10:00:00', 1706842979630, '2026-03-01')
		ON CONFLICT (id) DO UPDATE SET doc = excluded.doc, seen = excluded.seen WHERE u.doc != excluded.doc`
	for i, want := range []int64{1, 0} {
		out, c := p.write(sql)
		if out[0].Rows != want || c.Records != int(want) {
			t.Errorf("time %d: %d rows, %+v", i+1, out[0].Rows, c)
		}
	}
	p.shows("SELECT seen, typeof(seen), ms, typeof(ms), day FROM u", `"2026-03-01 10:00:00"|"text"|1706842979630|"integer"|"2026-03-01"`)
}

func TestReturningOfEveryKindAndTheRowsAffected(t *testing.T) {
	p := newPair(t, "CREATE TABLE rt (id INTEGER NOT NULL PRIMARY KEY, v TEXT NOT NULL DEFAULT '', g AS (id * 2))")
	out, c := p.write(
		"INSERT INTO rt VALUES (1, 'a'), (2, 'b'), (3, 'c') RETURNING id, g",
		"UPDATE rt SET v = v || '!' RETURNING id, v",
		"DELETE FROM rt WHERE id = 2 RETURNING *",
		"INSERT INTO rt VALUES (4, 'd')",
	)
	row := func(vals ...any) (r store.Row) {
		for _, v := range vals {
			r = append(r, record.Of(v))
		}
		return r
	}
	for i := range out {
		out[i].Time = 0
	}
	same(t, "answers", []sqlite.Affected{
		{Rows: 3, Columns: []string{"id", "g"}, Result: []store.Row{row(1, 2), row(2, 4), row(3, 6)}},
		{Rows: 3, Columns: []string{"id", "v"}, Result: []store.Row{row(1, "a!"), row(2, "b!"), row(3, "c!")}},
		{Rows: 1, Columns: []string{"id", "v", "g"}, Result: []store.Row{row(2, "b!", 4)}},
		{Rows: 1},
	}, out)
	if c.Point.Version != 1 || c.Records != 3 {
		t.Errorf("commit %+v", c)
	}
	p.shows("SELECT id, v FROM rt ORDER BY id", `1|"a!"`, `3|"c!"`, `4|"d"`)
}

func TestGeneratedColumnsAreComputedByEachNode(t *testing.T) {
	const tables = `
CREATE TABLE hosts (
	id TEXT NOT NULL PRIMARY KEY,
	label TEXT AS (json_extract(doc, '$.label')),
	doc TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(doc))
);
CREATE INDEX hosts_label ON hosts (label);
CREATE INDEX hosts_long ON hosts (length(doc)) WHERE label IS NOT NULL;`
	p := newPair(t, tables)
	p.write(`INSERT INTO hosts (id, doc) VALUES ('m1', '{"label":"alpha"}'), ('m2', '{}')`)
	p.shows("SELECT id, label FROM hosts ORDER BY id", `"m1"|"alpha"`, `"m2"|NULL`)
	p.shows("SELECT * FROM hosts WHERE label = 'alpha'", `"m1"|"alpha"|"{\"label\":\"alpha\"}"`)
	for _, db := range []*sqlite.DB{p.a, p.b} {
		if got := query(t, db, "EXPLAIN QUERY PLAN SELECT id FROM hosts WHERE label = 'alpha'"); !strings.Contains(got[0][3].Data, "hosts_label") {
			t.Errorf("plan %v", got)
		}
	}
	p.refused("malformed JSON", `INSERT INTO hosts (id, doc) VALUES ('m4', '{}')`, `INSERT INTO hosts (id, doc) VALUES ('m3', '{not json')`)
	p.refused("cannot INSERT into generated column", `INSERT INTO hosts (id, label) VALUES ('m3', 'x')`)
	p.write(`UPDATE hosts SET doc = json_set(doc, '$.label', 'beta') WHERE label = 'alpha'`)
	p.shows("SELECT id, label FROM hosts WHERE label IS NOT NULL", `"m1"|"beta"`)
	p.write("DELETE FROM hosts WHERE label = 'beta'")
	p.shows("SELECT id FROM hosts", `"m2"`)
}

// One more generated column changes no record.
func TestAddedGeneratedColumnMakesNoRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	const before = "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, doc TEXT NOT NULL);"
	db, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{Tables: parse(t, before)}))
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, `INSERT INTO t VALUES ('a', '{"n":1}')`)
	w, was := db.Writer(), states(t, db)[0]
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	after := parse(t, "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, doc TEXT NOT NULL, n INTEGER AS (json_extract(doc, '$.n'))); CREATE INDEX t_n ON t (n)")
	db = openAt(t, path, sqlite.Config{Tables: after})
	if got := query(t, db, "SELECT id FROM t WHERE n = 1"); len(got) != 1 {
		t.Errorf("rows %v", got)
	}
	for _, s := range states(t, db) {
		if s.Writer == w {
			same(t, "state", was, s)
		}
	}
}

// unknownColumn is a node that knows less of a table than w2, which has written
// rows a and b of it.
func unknownColumn(t *testing.T) (db *sqlite.DB, more func(key string) string) {
	full := parse(t, "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, v, later TEXT)")
	db = openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Tables: parse(t, "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, v)")})
	w2 := record.Writer{Node: "w2", Boot: 5, Bits: 1}
	var recs []record.Record
	for _, id := range []string{"a", "b"} {
		recs = append(recs, recordOf(full[0], store.Row{record.Of(id), record.Of(1), record.Of("later " + id)}, record.StampOrder(1)))
	}
	apply(t, db, pushed(w2, 1, recs...))
	return db, func(key string) string {
		t.Helper()
		for _, w := range []record.Writer{w2, db.Writer()} {
			for _, d := range deliverAll(t, db, w) {
				for _, c := range d.Changesets {
					for _, r := range c.Records {
						if cols, _ := r.Key.Columns(); r.Deleted || cols[0].Data != key {
							continue
						}
						row, _, err := full[0].Row(r)
						if err != nil {
							t.Fatal(err)
						}
						return row[2].Data
					}
				}
			}
		}
		return "no record"
	}
}

func TestCellsOfUnknownColumnsGoWithTheirRow(t *testing.T) {
	for _, c := range []struct {
		sql  []string
		a, b string
	}{
		{[]string{"UPDATE t SET v = 2"}, "later a", "later b"},
		{[]string{"INSERT INTO t VALUES ('a', 3) ON CONFLICT DO UPDATE SET v = excluded.v"}, "later a", "later b"},
		{[]string{"REPLACE INTO t VALUES ('a', 3)"}, "", "later b"},
		{[]string{"REPLACE INTO t VALUES ('a', 1)"}, "", "later b"},
		{[]string{"DELETE FROM t WHERE id = 'a'", "INSERT INTO t VALUES ('a', 3)"}, "", "later b"},
		{[]string{"UPDATE t SET id = '_' WHERE id = 'a'", "UPDATE t SET id = 'a' WHERE id = 'b'", "UPDATE t SET id = 'b' WHERE id = '_'"}, "later b", "later a"},
		{[]string{"UPDATE OR REPLACE t SET id = 'a', v = 5 WHERE id = 'b'"}, "later b", "no record"},
		{[]string{"UPDATE t SET id = 'c' WHERE id = 'a'", "UPDATE t SET id = 'a' WHERE id = 'c'", "UPDATE t SET v = 9"}, "later a", "later b"},
	} {
		db, more := unknownColumn(t)
		var stmts []sqlite.Statement
		for _, s := range c.sql {
			stmts = append(stmts, sqlite.Statement{SQL: s})
		}
		if _, _, err := db.Exec(t.Context(), sqlite.Request{Statements: stmts}); err != nil {
			t.Fatal(err)
		}
		if a, b := more("a"), more("b"); a != c.a || b != c.b {
			t.Errorf("%q: %q and %q, want %q and %q", c.sql, a, b, c.a, c.b)
		}
		recount(t, db)
	}
}

// The widest table and the longest key that there may be.
func TestWideTablesAreCaptured(t *testing.T) {
	p := newPair(t, "CREATE TABLE wide (k INTEGER NOT NULL PRIMARY KEY"+manyColumns(199)+")")
	p.write("INSERT INTO wide (k, c0, c198) VALUES (1, 'first', 'last')")
	p.write("UPDATE wide SET k = 2, c100 = x'00'")
	p.shows("SELECT k, c0, c100, c198 FROM wide", `2|"first"|x'00'|"last"`)
}

func TestTooMuchInOneStatementIsRefused(t *testing.T) {
	p := newPair(t, "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v)")
	for _, sql := range []string{
		"INSERT INTO t SELECT value, 1 FROM json_each('[' || rtrim(replace(hex(zeroblob(1001)), '00', '1,'), ',') || ']')",
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1001) INSERT INTO t SELECT i, 1 FROM n",
		"INSERT INTO t VALUES (1, zeroblob(70000))",
	} {
		if _, _, err := p.request(sqlite.Statement{SQL: sql}); err == nil {
			t.Errorf("%s: taken", sql)
		}
	}
	_, _, err := p.request(sqlite.Statement{SQL: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1001) INSERT INTO t SELECT i, 1 FROM n"})
	if !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("1001 records: %v", err)
	}
	p.write("INSERT INTO t VALUES (1, 1)")
	p.shows("SELECT * FROM t", "1|1")
}

func TestKeysThatSQLiteWouldChooseAreGiven(t *testing.T) {
	p := newPair(t, `
CREATE TABLE auto1 (id INTEGER NOT NULL PRIMARY KEY, v TEXT NOT NULL DEFAULT '');
CREATE TABLE auto2 (id INT NOT NULL PRIMARY KEY, v TEXT NOT NULL DEFAULT '')`)
	p.refused("table auto1: a key is given by who writes", "INSERT INTO auto1 (v) VALUES ('x')")
	p.refused("table auto1: a key is given by who writes", "INSERT INTO auto1 VALUES (NULL, 'x')")
	p.refused("NOT NULL constraint failed: auto2.id", "INSERT INTO auto2 (v) VALUES ('x')")
	p.refused("datatype mismatch", "INSERT INTO auto1 VALUES ('one', 'x')")
	p.refused("datatype mismatch", "INSERT INTO auto1 VALUES (1.5, 'x')")
	p.refused("is not allowed in a key", "INSERT INTO auto2 VALUES (1.5, 'x')")
	p.write("INSERT INTO auto1 VALUES ('7', 'x'), (8.0, 'y')", "INSERT INTO auto2 VALUES ('one', 'x')")
	p.shows("SELECT id, typeof(id) FROM auto1 UNION ALL SELECT id, typeof(id) FROM auto2", `7|"integer"`, `8|"integer"`, `"one"|"text"`)
	if _, err := p.a.Update(t.Context(), func(x store.Tx) error { return x.Put("auto1", store.Row{record.Of("one"), record.Of("x")}) }); err == nil {
		t.Error("the API wrote a key that is no integer")
	}
	bad := recordOf(p.tables[0], store.Row{record.Of("one"), record.Of("x")}, record.StampOrder(1))
	if out := apply(t, p.b, pushed(record.Writer{Node: "w3", Boot: 5, Bits: 1}, 1, bad)); out[0].Withheld != 1 {
		t.Errorf("a peer's key that is no integer: %+v", out[0])
	}
}

// The tables of the API are read by SQL and written by the API.
func TestTablesOfTheAPIAreOnlyRead(t *testing.T) {
	key := schema.Column{Name: "id", Type: "TEXT", NotNull: true}
	table := schema.Table{Name: "fleet_things", Kind: record.Shared, Key: []schema.Column{key}}.WithIDs()
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Tables: []schema.Table{table}})
	if _, err := db.Update(t.Context(), func(x store.Tx) error { return x.Put("fleet_things", store.Row{record.Of("a")}) }); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{"DELETE FROM fleet_things", "INSERT INTO Fleet_Things VALUES ('b')", "UPDATE fleet_things SET id = 'c'"} {
		if _, _, err := execute(db, t, sql); err == nil || !strings.Contains(err.Error(), "writing table fleet_things (only the API does) is not allowed") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if got := query(t, db, "SELECT * FROM fleet_things"); len(got) != 1 {
		t.Errorf("rows %v", got)
	}
}

func TestDeleteAndInsertAsFastAsTheyGo(t *testing.T) {
	now := int64(1_700_000_000_000)
	p := newPair(t, "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, v INTEGER)")
	for i := range 100 {
		p.write("DELETE FROM t WHERE id = 'k'")
		p.write(fmt.Sprintf("INSERT INTO t VALUES ('k', %d)", i))
		p.shows("SELECT v FROM t", fmt.Sprint(i))
	}
	feed := feedFrom(t, p.b)
	_, c := p.write("DELETE FROM t WHERE id = 'k'", fmt.Sprintf("INSERT INTO t VALUES ('k', %d)", now))
	if c.Records != 1 {
		t.Errorf("in one transaction: %+v", c)
	}
	same(t, "event", []string{fmt.Sprintf(`t ["k"]: ["k" 99] > ["k" %d]`, now)}, changesOf(t, feed))
}
