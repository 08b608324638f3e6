package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

func TestExecRefusesByName(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	put(t, db, machine("w1", "m1", "web"))
	before := query(t, db, "SELECT * FROM machines")
	for _, c := range []struct{ sql, want string }{
		{"", "empty"},
		{" ; ", "empty"},
		{"-- nothing", "empty"},
		{"COMMIT", "COMMIT is not allowed"},
		{"BEGIN", "BEGIN is not allowed"},
		{"ROLLBACK", "ROLLBACK is not allowed"},
		{"SAVEPOINT x", "SAVEPOINT is not allowed"},
		{"RELEASE _fb", "RELEASE is not allowed"},
		{"PRAGMA journal_mode = DELETE", "PRAGMA is not allowed"},
		{"ATTACH 'x.db' AS x", "ATTACH is not allowed"},
		{"DETACH main", "DETACH is not allowed"},
		{"VACUUM", "VACUUM is not allowed"},
		{"/* */ CREATE TABLE x (a)", "CREATE is not allowed"},
		{"DROP TABLE machines", "DROP is not allowed"},
		{"ALTER TABLE machines ADD COLUMN x", "ALTER is not allowed"},
		{"REINDEX", "REINDEX is not allowed"},
		{"SELECT 1", "SELECT is not allowed"},
		{"WITH x AS (SELECT 1) SELECT * FROM x", "does not write"},
		{"DELETE FROM machines; DELETE FROM notes", "there is another: DELETE"},
		{"DELETE FROM machines; COMMIT", "there is another: COMMIT"},
		{"DELETE FROM _fb_rows_machines", "writing table _fb_rows_machines is not allowed"},
		{"DELETE FROM _fb_local_identity", "writing table _fb_local_identity is not allowed"},
		{"DELETE FROM sqlite_schema", "sqlite_"},
		{"INSERT INTO notes (id, body) SELECT node, 'x' FROM _fb_local_identity", "reading _fb_local_identity is not allowed"},
		{"INSERT INTO notes (id) VALUES (load_extension('x'))", "load_extension"},
		{"DELETE FROM machines WHERE id = 'a\x00' ; DROP TABLE x", "NUL"},
		{"INSERT INTO notes (id) VALUES (?)", "1 parameters, 0 values"},
		{strings.Repeat(" ", 1<<20) + "DELETE FROM machines", "over the limit"},
	} {
		_, commit, err := execute(db, t, c.sql)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: error %v, want %q", c.sql, err, c.want)
		}
		if commit.Point.Version != 0 {
			t.Errorf("%.60q: wrote %v", c.sql, commit.Point)
		}
	}
	if diff := cmp.Diff(before, query(t, db, "SELECT * FROM machines")); diff != "" {
		t.Errorf("rows changed (-before +after):\n%s", diff)
	}
}

func TestQueryRefusesByName(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Limits: sqlite.Limits{Time: 200 * time.Millisecond, Rows: 100, Bytes: 1 << 20}})
	put(t, db, machine("w1", "m1", "web"))
	for _, c := range []struct{ sql, want string }{
		{"", "empty"},
		{"DELETE FROM machines", "DELETE is not allowed"},
		{"WITH x AS (SELECT 1) DELETE FROM machines", "writing"},
		{"SELECT 1; SELECT 2", "there is another: SELECT"},
		{"ATTACH 'x.db' AS x", "ATTACH is not allowed"},
		{"PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA wal_checkpoint is not allowed"},
		{"PRAGMA journal_mode", "PRAGMA journal_mode is not allowed"},
		{"PRAGMA query_only = 0", "PRAGMA query_only is not allowed"},
		{"SELECT load_extension('x')", "load_extension"},
		{"SELECT * FROM _fb_local_identity", "reading _fb_local_identity is not allowed"},
		{"SELECT (SELECT count(*) FROM _FB_LOCAL_FEED)", "reading _fb_local_feed is not allowed"},
		{"SELECT * FROM nowhere", "no such table"},
		{"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n", "over the limit of 200ms (time)"},
		{"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n", "over the limit of 100 (rows)"},
		{"SELECT zeroblob(900000) UNION ALL SELECT zeroblob(900001)", "over the limit of 1048576 (bytes)"},
		{"SELECT zeroblob(100000000)", "too big"},
		{"SELECT " + strings.Repeat("(", 300) + "1" + strings.Repeat(")", 300), "expression"},
		{"VACUUM INTO '/tmp/x.db'", "VACUUM is not allowed"},
		{"BEGIN IMMEDIATE", "BEGIN is not allowed"},
	} {
		_, err := db.Query(t.Context(), sqlite.Query{SQL: c.sql}, func([]string, store.Row) error { return nil })
		if c.want == "expression" {
			continue // only that it is answered or refused at all
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.70q: error %v, want %q", c.sql, err, c.want)
		}
	}
	var limit *sqlite.LimitError
	_, err := db.Query(t.Context(), sqlite.Query{SQL: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n", Timeout: time.Millisecond}, func([]string, store.Row) error { return nil })
	if !errors.As(err, &limit) || limit.What != "time" {
		t.Errorf("a query's own timeout: %v", err)
	}
	if got := query(t, db, "SELECT app FROM machines"); len(got) != 1 {
		t.Errorf("after all refusals: %v", got)
	}
}

func TestMaxRowsCutsAndSaysSo(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	var columns []string
	n := 0
	res, err := db.Query(t.Context(), sqlite.Query{SQL: "SELECT 1 AS a, 2 AS b UNION ALL SELECT 3, 4", MaxRows: 1}, func(c []string, r store.Row) error {
		columns = c
		if r != nil {
			n++
		}
		return nil
	})
	if err != nil || !res.Truncated || res.Rows != 1 || n != 1 {
		t.Errorf("result %+v, %d rows, %v", res, n, err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, columns); diff != "" {
		t.Error(diff)
	}
}

func TestQueryEndsWithItsContext(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	ctx, stop := context.WithCancel(t.Context())
	_, err := db.Query(ctx, sqlite.Query{SQL: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"}, func(_ []string, r store.Row) error {
		if r != nil {
			stop()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// Every value, in columns whose declared types a driver likes to interpret.
func TestValuesComeOutAsStored(t *testing.T) {
	schema := `CREATE TABLE vals (id TEXT NOT NULL PRIMARY KEY, ts TIMESTAMP, b BOOLEAN, d DATE, x)`
	tables, err := sqlite.ParseSQL(schema)
	if err != nil {
		t.Fatal(err)
	}
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Tables: tables})
	feed := feedFrom(t, db)
	want := []store.Row{}
	for i, v := range []any{
		nil, "2020-01-01 00:00:00", "1970-01-01", int64(1577836800), 7, int64(math.MaxInt64), int64(math.MinInt64),
		"true", true, []byte{}, []byte{0, 1, 0xff}, "", "a\x00b", "\xff\xfe", math.Inf(1), math.SmallestNonzeroFloat64, "1e5x",
	} {
		row := store.Row{record.Of(fmt.Sprintf("%02d", i)), record.Of(v), record.Of(v), record.Of(v), record.Of(v)}
		c, err := db.Update(t.Context(), func(x store.Tx) error { return x.Put("vals", row) })
		if err != nil || c.Records != 1 {
			t.Fatalf("%v: %+v, %v", v, c, err)
		}
		want = append(want, row)
		entries, err := feed.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(row, entries[0].Changes[0].New); diff != "" {
			t.Errorf("in the feed (-want +got):\n%s", diff)
		}
	}
	if diff := cmp.Diff(want, query(t, db, "SELECT * FROM vals ORDER BY id")); diff != "" {
		t.Errorf("by SQL (-want +got):\n%s", diff)
	}
	var scanned []store.Row
	s, err := db.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Scan("vals", nil, func(r store.Row, _ record.Point, _ int64) error {
		scanned = append(scanned, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, scanned); diff != "" {
		t.Errorf("by scan (-want +got):\n%s", diff)
	}
	if got := query(t, db, "SELECT ?, ?, ?", "a\x00b", []byte{}, nil); !got[0][1].Equal(record.Of([]byte{})) || !got[0][2].Equal(record.Of(nil)) || got[0][0].Data != "a\x00b" {
		t.Errorf("bound values came out as %v", got)
	}
}

func TestStatementsAreCaptured(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	feed := feedFrom(t, db)
	for i, c := range []struct {
		sql  string
		want []string // key: old > new
	}{
		{"INSERT INTO machines (worker, id, app) VALUES ('w1', 'a', 'web'), ('w1', 'b', 'web')", []string{"a: > web", "b: > web"}},
		{"INSERT INTO machines (worker, id, app) VALUES ('w1', 'a', 'db') ON CONFLICT DO UPDATE SET app = excluded.app", []string{"a: web > db"}},
		{"INSERT OR REPLACE INTO machines (worker, id, app) VALUES ('w1', 'b', 'db')", []string{"b: web > db"}},
		{"UPDATE machines SET id = 'c' WHERE id = 'b'", []string{"b: db > ", "c: > db"}},
		{"UPDATE OR REPLACE machines SET id = 'a' WHERE id = 'c'", []string{"c: db > "}}, // a has the bytes it had
		{"DELETE FROM machines", []string{"a: db > "}},
	} {
		commit := mustExec(t, db, c.sql)
		if commit.Point.Version != record.Version(i+1) || commit.Records != len(c.want) {
			t.Errorf("%s: commit %+v", c.sql, commit)
		}
		entries, err := feed.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, ch := range entries[0].Changes {
			cols, _ := ch.Key.Columns()
			app := func(r store.Row) string {
				if r == nil {
					return ""
				}
				return r[2].Data
			}
			got = append(got, strings.TrimLeft(fmt.Sprintf("%s: %s > %s", cols[1].Data, app(ch.Old), app(ch.New)), " "))
		}
		for j := range got {
			got[j] = strings.ReplaceAll(got[j], ":  >", ": >")
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.sql, diff)
		}
	}
	if c := mustExec(t, db, "DELETE FROM machines"); c.Point.Version != 0 {
		t.Errorf("deleting nothing wrote %v", c.Point)
	}
}

func TestReturningTellsTheRows(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	a, _, err := db.Exec(t.Context(), sqlite.Request{Statements: []sqlite.Statement{
		{SQL: "INSERT INTO notes (id, body) VALUES (?, ?) RETURNING id, n", Args: []record.Value{record.Of("x"), record.Of("hello")}},
		{SQL: "UPDATE notes SET body = 'y'"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range a {
		if a[i].Time <= 0 {
			t.Errorf("statement %d took %v", i+1, a[i].Time)
		}
		a[i].Time = 0
	}
	want := []sqlite.Affected{
		{Rows: 1, Columns: []string{"id", "n"}, Result: []store.Row{{record.Of("x"), record.Of(7)}}},
		{Rows: 1},
	}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Error(diff)
	}
}

func TestForeignRowFailsTheWholeStatement(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	put(t, db, machine("w1", "m", "web"))
	apply(t, db, pushed(record.Writer{Node: "w2", Boot: 5, Bits: 1}, 1, machineRecord("w2", "m", "web")))
	for _, sql := range []string{
		"UPDATE machines SET app = 'x'",
		"UPDATE machines SET app = app",
		"DELETE FROM machines WHERE worker <> 'w1'",
		"INSERT INTO machines (worker, id) VALUES ('w1', 'n'), ('w3', 'n')",
		"UPDATE machines SET worker = 'w2' WHERE worker = 'w1'",
		"INSERT OR REPLACE INTO machines (worker, id) VALUES ('w2', 'm')",
	} {
		_, _, err := execute(db, t, sql)
		var owner *store.NotOwnerError
		if !errors.As(err, &owner) && !strings.Contains(fmt.Sprint(err), "UNIQUE") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if got := query(t, db, "SELECT worker, app FROM machines ORDER BY 1"); len(got) != 2 || got[0][1].Data != "web" || got[1][1].Data != "web" {
		t.Errorf("rows %v", got)
	}
}

func TestRankedRowsAreOutrankedNotDeleted(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	mustExec(t, db, "INSERT INTO grants VALUES ('m', 5, 'w1')")
	if _, _, err := execute(db, t, "DELETE FROM grants"); err == nil || !strings.Contains(err.Error(), "outranked, not deleted") {
		t.Errorf("delete: %v", err)
	}
	if _, _, err := execute(db, t, "UPDATE grants SET epoch = 4"); !errors.Is(err, store.ErrOvertaken) {
		t.Errorf("a lower rank: %v", err)
	}
	if c := mustExec(t, db, "UPDATE grants SET epoch = 6"); c.Records != 1 {
		t.Errorf("a higher rank: %+v", c)
	}
}

func TestLocalTablesAreNotReplicated(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	if c := mustExec(t, db, "INSERT INTO scratch VALUES (1, 'x')"); c.Point.Version != 0 {
		t.Errorf("a local table's row is %v", c.Point)
	}
	if got := query(t, db, "SELECT v FROM scratch"); len(got) != 1 {
		t.Errorf("rows %v", got)
	}
}

func TestInterruptedStatementLeavesOthersAlone(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Limits: sqlite.Limits{Time: 100 * time.Millisecond}})
	_, _, err := execute(db, t, "INSERT INTO scratch (id) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n")
	var limit *sqlite.LimitError
	if !errors.As(err, &limit) {
		t.Errorf("endless statement: %v", err)
	}
	put(t, db, machine("w1", "m", "web"))
	if got := query(t, db, "SELECT count(*) FROM scratch"); got[0][0].Int != 0 {
		t.Errorf("%v rows of the interrupted statement", got)
	}
}

// The file is any tool's to read, and only this process's to write.
func TestShellReadsAndCannotWrite(t *testing.T) {
	shell, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("no sqlite3 on this machine")
	}
	path := filepath.Join(t.TempDir(), "node.db")
	db := openAt(t, path, sqlite.Config{Views: []string{"CREATE VIEW web AS SELECT id FROM machines WHERE app = 'web'"}})
	put(t, db, machine("w1", "m1", "web"))
	out, err := exec.Command(shell, "-readonly", path, "SELECT * FROM web").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "m1" {
		t.Errorf("read: %s, %v", out, err)
	}
	for _, sql := range []string{
		"INSERT INTO machines (worker, id) VALUES ('w1', 'm2')", "UPDATE machines SET app = 'x'", "DELETE FROM machines",
		"INSERT OR REPLACE INTO machines (worker, id) VALUES ('w1', 'm1')",
	} {
		out, err := exec.Command(shell, path, sql).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "no such function: _fb_capture") {
			t.Errorf("%s: %s, %v", sql, out, err)
		}
	}
	put(t, db, machine("w1", "m2", "web"))
}
