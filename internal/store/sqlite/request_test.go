package sqlite_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// What would break the node, end its transaction or reach beyond the tables:
// nothing of its request is written, and the next request works.
func TestBadRequestsChangeNothingAndTheNextWorks(t *testing.T) {
	endless := "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
	tables := parse(t, sqlite.TestSchema)
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Tables: tables, Durability: sqlite.OS})
	mustExec(t, db, "INSERT INTO notes (id, body) VALUES ('old', 'stays')")
	for _, c := range []struct{ sql, want string }{
		{"INSERT INTO notes (id) VALUES ('x'); DELETE FROM notes", "there is another: DELETE"},
		{"INSERT INTO notes (id) VALUES ('x');;SELECT 1", "there is another: SELECT"},
		{"", "statement is empty"},
		{" ;", "statement is empty"},
		{"-- only a comment", "statement is empty"},
		{"/* only a comment", "statement is empty"},
		{"BEGIN", "BEGIN is not allowed here: a request is one transaction already"},
		{"COMMIT", "COMMIT is not allowed"},
		{"END", "END is not allowed"},
		{"ROLLBACK", "ROLLBACK is not allowed"},
		{"SAVEPOINT s", "SAVEPOINT is not allowed"},
		{"RELEASE _fb", "RELEASE is not allowed"},
		{"ROLLBACK TO s", "ROLLBACK is not allowed"},
		{"PRAGMA journal_mode = DELETE", "PRAGMA is not allowed"},
		{"VACUUM", "VACUUM is not allowed"},
		{"VACUUM INTO 'x.db'", "VACUUM is not allowed"},
		{"ATTACH 'x.db' AS x", "ATTACH is not allowed"},
		{"DETACH main", "DETACH is not allowed"},
		{"REINDEX", "REINDEX is not allowed"},
		{"ANALYZE", "ANALYZE is not allowed"},
		{"EXPLAIN DELETE FROM notes", "EXPLAIN is not allowed"},
		{"SELECT 1", "SELECT is not allowed here: this writes; ask for rows by a query"},
		{"VALUES (1)", "VALUES is not allowed"},
		{"DROP TABLE notes", "not allowed"},
		{"ALTER TABLE notes ADD COLUMN x", "ALTER is not allowed"},
		{"ALTER TABLE scratch RENAME TO y", "ALTER is not allowed here: replicated tables change with the schema files"},
		{"CREATE TRIGGER x AFTER INSERT ON scratch BEGIN DELETE FROM notes; END", "CREATE TRIGGER is not allowed here: write what it would do"},
		{"CREATE TABLE x (a)", "not allowed"},
		{endless + "INSERT INTO scratch (id) SELECT -i FROM n", "over the limit of 150ms (time)"},
		{endless + "INSERT INTO notes (id) SELECT count(*) FROM n", "over the limit of 150ms (time)"},
		{endless + "UPDATE notes SET n = (SELECT max(i) FROM n)", "over the limit of 150ms (time)"},
		{"INSERT INTO notes (id, body) VALUES ('big', zeroblob(1000000000))", "too big"},
		{"INSERT INTO notes (id, body) VALUES ('big', randomblob(1000000000))", "too big"},
		{"INSERT INTO notes (id, body) VALUES ('big', replace(hex(zeroblob(1000000)), '0', 'a hundred'))", "too big"},
		{"INSERT INTO notes (id, body) VALUES ('big', printf('%1000000000d', 1))", "too big"},
		{"INSERT INTO notes (id, body) VALUES ('big', zeroblob(1000000))", "over the cap"},
		{"INSERT INTO notes (id) VALUES (_fb_touch('notes', 'delete', 'old', 'x', 7))", "function _fb_touch is not allowed"},
		{`UPDATE notes SET n = [_FB_Touch]('notes', 'insert', 'x')`, "function _fb_touch is not allowed"},
		{"UPDATE notes SET n = _fb_capture()", "function _fb_capture is not allowed"},
		{"DELETE FROM _fb_rows_notes", "writing table _fb_rows_notes is not allowed"},
		{"INSERT INTO sqlite_schema (name) VALUES ('x')", "sqlite_"},
		{"UPDATE notes SET body = (SELECT node FROM _fb_local_identity)", "reading _fb_local_identity is not allowed"},
		{"UPDATE notes SET body = load_extension('x')", "load_extension"},
		{"INSERT INTO notes (id) VALUES ('\x00')", "NUL byte"},
		{"INSERT INTO notes (id) VALUES (?)", "1 parameters, 0 values"},
		{"INSERT INTO nowhere VALUES (1)", "no such table"},
		{"INSERT INTO notes (id) VALUES ('old')", "UNIQUE constraint failed"},
		{"UPDATE notes SET id = NULL", "NOT NULL constraint failed"},
		{"INSERT OR ROLLBACK INTO notes (id) VALUES ('old')", "UNIQUE constraint failed"},
		{"INSERT OR FAIL INTO notes (id) VALUES ('y'), ('old')", "UNIQUE constraint failed"},
	} {
		req := sqlite.Request{Statements: statements("INSERT INTO notes (id) VALUES ('before')", "INSERT INTO scratch VALUES (7, 'x')", c.sql)}
		if strings.Contains(c.want, "150ms") {
			req.Timeout = 150 * time.Millisecond
		}
		out, commit, err := db.Exec(t.Context(), req)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error()+"statement 3", "statement 3") {
			t.Errorf("%.60q: error %v, want %q", c.sql, err, c.want)
		}
		var at *sqlite.StatementError
		if !errors.As(err, &at) && !errors.Is(err, store.ErrTooLarge) || at != nil && at.Statement != 3 {
			t.Errorf("%.60q: error %v does not name the statement", c.sql, err)
		}
		if out != nil || commit.Point.Version != 0 {
			t.Errorf("%.60q: answered %v, %v", c.sql, out, commit)
		}
		got := query(t, db, "SELECT id, body FROM notes UNION ALL SELECT id, v FROM scratch")
		if diff := cmp.Diff([]store.Row{{record.Of("old"), record.Of("stays")}}, got); diff != "" {
			t.Fatalf("after %.60q (-want +got):\n%s", c.sql, diff)
		}
		if next := mustExec(t, db, "UPDATE notes SET n = n + 1"); next.Records != 1 {
			t.Fatalf("after %.60q the next write is %+v", c.sql, next)
		}
	}
}

func TestGoodRequests(t *testing.T) {
	p := newPair(t, sqlite.TestSchema)
	for _, sql := range []string{
		"INSERT INTO notes (id) VALUES ('1');",
		"INSERT INTO notes (id) VALUES ('2') -- note",
		"/* ; */ INSERT INTO notes (id) VALUES ('3'); -- ;",
		"WITH x(a) AS (VALUES ('4'), ('5')) INSERT INTO notes (id) SELECT a FROM x",
		"UPDATE notes SET body = u.b FROM (SELECT '4' AS a, 'four' AS b) AS u WHERE notes.id = u.a",
		"INSERT INTO notes SELECT id || '0', json_object('was', body), n FROM notes WHERE body IS NOT NULL",
		"DELETE FROM notes WHERE id IN (SELECT id FROM notes WHERE id < '3')",
	} {
		p.write(sql)
	}
	p.shows("SELECT id, body FROM notes ORDER BY id", `"3"|NULL`, `"4"|"four"`, `"40"|"{\"was\":\"four\"}"`, `"5"|NULL`)
	if _, _, err := p.a.Exec(t.Context(), sqlite.Request{}); err == nil || !strings.Contains(err.Error(), "at least one statement is required") {
		t.Errorf("no statement: %v", err)
	}
	if _, _, err := p.a.Exec(t.Context(), sqlite.Request{Statements: make([]sqlite.Statement, 10_001)}); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("10,001 statements: %v", err)
	}
}

func TestParametersByName(t *testing.T) {
	p := newPair(t, sqlite.TestSchema)
	named := func(sql string, vals map[string]record.Value) sqlite.Statement {
		return sqlite.Statement{SQL: sql, Named: vals}
	}
	both := map[string]record.Value{":id": record.Of("a"), "@body": record.Of("x"), "$n": record.Of(3)}
	if _, _, err := p.request(named("INSERT INTO notes (id, body, n) VALUES (:id, @body || :id, $n)", both)); err != nil {
		t.Fatal(err)
	}
	p.send()
	p.shows("SELECT * FROM notes", `"a"|"xa"|3`)
	for _, c := range []struct {
		s    sqlite.Statement
		want string
	}{
		{named("UPDATE notes SET n = :p", map[string]record.Value{"p": record.Of(1)}), `parameter "p" is not in the statement`},
		{named("UPDATE notes SET n = :p + :q", map[string]record.Value{":p": record.Of(1)}), `parameter 2 (":q") is not given`},
		{named("UPDATE notes SET n = ? + :q", map[string]record.Value{":q": record.Of(1)}), `parameter 1 ("") is not given`},
		{sqlite.Statement{SQL: "UPDATE notes SET n = :p", Args: []record.Value{record.Of(1)}, Named: both}, "choose one"},
		{sqlite.Statement{SQL: "UPDATE notes SET n = ?", Args: []record.Value{record.Of(1), record.Of(2)}}, "1 parameters, 2 values"},
	} {
		if _, _, err := p.request(c.s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.s.SQL, err, c.want)
		}
	}
	var got []store.Row
	_, err := p.a.Query(t.Context(), sqlite.Query{SQL: "SELECT id FROM notes WHERE n = $n", Named: map[string]record.Value{"$n": record.Of(3)}}, func(_ []string, r store.Row) error {
		if r != nil {
			got = append(got, r)
		}
		return nil
	})
	if err != nil || len(got) != 1 {
		t.Errorf("query by name: %v, %v", got, err)
	}
}
