package sqlite

import (
	"fmt"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
)

func execInside(db *DB, t testing.TB, sql string, args ...any) ([]Affected, error) {
	s := Statement{SQL: sql}
	for _, a := range args {
		s.Args = append(s.Args, record.Of(a))
	}
	out, _, err := db.Exec(t.Context(), Request{Statements: []Statement{s}, LocalTables: true})
	return out, err
}

// keptOf tells what stays prepared, between transactions.
func keptOf(t *testing.T, db *DB) (kept map[string]*userStatement) {
	t.Helper()
	if err := db.inLoop(t.Context(), func() error {
		kept = map[string]*userStatement{}
		for sql, s := range db.c.users.stmts {
			kept[sql] = s
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return kept
}

const insertNote = "INSERT INTO notes (id, body) VALUES (?, ?) ON CONFLICT DO UPDATE SET body = excluded.body"

func TestStatementThatComesAgainIsPreparedOnce(t *testing.T) {
	db := openInside(t, Config{Durability: OS})
	if _, err := execInside(db, t, insertNote, "a", "1"); err != nil {
		t.Fatal(err)
	}
	first := keptOf(t, db)[insertNote]
	if err := db.putRow(t, bigRow("w1", 1)); err != nil { // without triggers, so SQLite plans all anew
		t.Fatal(err)
	}
	if out, err := execInside(db, t, insertNote, "b", "2"); err != nil || out[0].Rows != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	if again := keptOf(t, db)[insertNote]; first == nil || again != first {
		t.Errorf("prepared as %p, and then as %p", first, again)
	}
}

func TestFewSmallStatementsStayPrepared(t *testing.T) {
	db := openInside(t, Config{Durability: OS})
	for i := range maxPrepared + 10 {
		for _, sql := range []string{insertNote, fmt.Sprintf("UPDATE notes SET n = %d WHERE id = ?1 OR body = ?2", i)} {
			if _, err := execInside(db, t, sql, "a", "x"); err != nil {
				t.Fatal(err)
			}
		}
	}
	kept := keptOf(t, db)
	if len(kept) != maxPrepared || kept[insertNote] == nil {
		t.Errorf("%d statements stay prepared, the one used most: %t", len(kept), kept[insertNote] != nil)
	}
	if _, err := execInside(db, t, insertNote, "a", strings.Repeat("x", maxPreparedText)); err != nil {
		t.Fatal(err)
	}
	if keptOf(t, db)[insertNote] != nil {
		t.Error("the memory of large parameters stays with a statement")
	}
}

// What fails, or makes a table, is not kept.
func TestOnlyStatementsThatRanStayPrepared(t *testing.T) {
	db := openInside(t, Config{Durability: OS})
	for _, sql := range []string{
		"CREATE TABLE seen (k)", "INSERT INTO notes (id) VALUES (?)", "INSERT INTO machines (worker, id, app) VALUES ('w1', 'm', 'bad')", "UPDATE notes SET n = NULL",
	} {
		_, _ = execInside(db, t, sql)
	}
	if kept := keptOf(t, db); len(kept) != 1 || kept["UPDATE notes SET n = NULL"] == nil {
		t.Errorf("kept %v, want only the update of no rows", kept)
	}
}

// SQLite plans a statement anew under another schema by itself, and the guard
// sleeps then: what was allowed may read now what is the node's own.
func TestKeptStatementIsJudgedAnewUnderAnotherSchema(t *testing.T) {
	db := openInside(t, Config{Durability: OS})
	const sql = "INSERT INTO notes (id) SELECT x FROM seen_by WHERE true ON CONFLICT DO NOTHING"
	scriptInLoop(t, db, "CREATE VIEW seen_by AS SELECT 'harmless' AS x")
	if _, err := execInside(db, t, sql); err != nil {
		t.Fatal(err)
	}
	if keptOf(t, db)[sql] == nil {
		t.Fatal("the statement is not kept: this shows nothing")
	}
	scriptInLoop(t, db, "DROP VIEW seen_by; CREATE VIEW seen_by AS SELECT node AS x FROM _fb_local_identity")
	if _, err := execInside(db, t, sql); err == nil || !strings.Contains(err.Error(), "reading _fb_local_identity is not allowed") {
		t.Errorf("error %v", err)
	}
}

// A transaction that makes tables and is undone leaves the numbers of its
// schemas to the next one.
func TestKeptStatementsKnowNothingOfUndoneTables(t *testing.T) {
	db := openInside(t, Config{Durability: OS})
	const sql = "INSERT INTO seen VALUES (1)"
	undone := Request{LocalTables: true, Statements: []Statement{{SQL: "CREATE TABLE seen (a)"}, {SQL: sql}, {SQL: "INSERT INTO nowhere VALUES (1)"}}}
	if _, _, err := db.Exec(t.Context(), undone); err == nil {
		t.Fatal("no error")
	}
	for _, c := range []struct{ sql, want string }{
		{sql, "no such table"},
		{"CREATE TABLE seen (a, b)", ""},
		{sql, "2 columns but 1 values"},
		{"DROP TABLE seen", ""},
		{sql, "no such table"},
		{"CREATE TABLE seen (a)", ""},
		{sql, ""},
		{sql, ""},
		{"DROP TABLE seen", ""},
		{sql, "no such table"},
	} {
		_, err := execInside(db, t, c.sql)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.sql, err, c.want)
		}
	}
}

// BenchmarkExec writes one row of a shared table by a statement that comes
// again, and by one that never did.
func BenchmarkExec(b *testing.B) {
	for _, again := range []bool{true, false} {
		b.Run(fmt.Sprintf("again=%t", again), func(b *testing.B) {
			tables, err := ParseSQL(testSchema)
			if err != nil {
				b.Fatal(err)
			}
			db, err := Open(b.Context(), Config{
				Path: b.TempDir() + "/node.db", Fleet: "test", Cluster: "region/iad", Node: "w1", Tables: tables, Durability: OS,
			})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				sql := insertNote
				if !again {
					sql += fmt.Sprint(", n = ", i)
				}
				if _, err := execInside(db, b, sql, fmt.Sprint(i%1000), fmt.Sprint(i)); err != nil {
					b.Fatal(err)
				}
			}
			if err := db.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
