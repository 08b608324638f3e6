package sqlite_test

import (
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// FuzzRequest has any text as a statement of a request and as a query. It
// writes all of its rows or none, and never more than rows of users' tables:
// the next write works and the books are right.
func FuzzRequest(f *testing.F) {
	for _, sql := range []string{
		"INSERT INTO notes (id) VALUES ('x') ON CONFLICT DO UPDATE SET n = n + 1 RETURNING *", "DELETE FROM notes; SELECT 1",
		"UPDATE notes SET id = id || 'x'", "CREATE TABLE mine AS SELECT * FROM notes", "DROP TABLE IF EXISTS scratch",
		"CREATE TABLE a (x INTEGER PRIMARY KEY AUTOINCREMENT, y UNIQUE CHECK (y > 1))", "CREATE UNIQUE INDEX i ON scratch (v)",
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 9) REPLACE INTO notes SELECT i, i, i FROM n",
		"SELECT * FROM _fb_changes", "PRAGMA table_info(notes)", "EXPLAIN SELECT 1", "VALUES (zeroblob(9))", "SELECT _fb_touch()", "DELETE FROM [_fb_rows_notes]",
	} {
		f.Add(sql, true)
		f.Add(sql, false)
	}
	db := openAt(f, filepath.Join(f.TempDir(), "node.db"), sqlite.Config{Durability: sqlite.OS})
	n := 0
	f.Fuzz(func(t *testing.T, sql string, local bool) {
		note := func(id string, n int) store.Commit {
			t.Helper()
			c, err := db.Update(t.Context(), func(x store.Tx) error { return x.Put("notes", store.Row{record.Of(id), {}, record.Of(n)}) })
			if err != nil {
				t.Fatalf("before or after %q: %v", sql, err)
			}
			return c
		}
		note("kept", 0)
		_, commit, err := db.Exec(t.Context(), sqlite.Request{LocalTables: local, Timeout: 200 * time.Millisecond, Statements: statements("UPDATE notes SET n = n + 1 WHERE id = 'kept'", sql)})
		if err != nil && commit.Records > 0 {
			t.Errorf("%q: wrote %+v, and %v", sql, commit, err)
		}
		if got := query(t, db, "SELECT n FROM notes WHERE id = 'kept'"); err != nil && (len(got) != 1 || got[0][0].Int != 0) {
			t.Errorf("%q left %v behind: %v", sql, got, err)
		}
		_, err = db.Query(t.Context(), sqlite.Query{SQL: sql, MaxRows: 100, Timeout: 200 * time.Millisecond}, func([]string, store.Row) error { return nil })
		if errors.Is(err, store.ErrClosed) {
			t.Fatal(err)
		}
		n++
		if c := note("next", n); c.Records != 1 {
			t.Errorf("after %q the next write is %+v", sql, c)
		}
		for _, table := range []string{"machines", "notes", "grants", "_fb_rows_notes", "_fb_changes"} {
			query(t, db, "SELECT * FROM "+table+" LIMIT 1")
		}
		if n%50 == 0 {
			recount(t, db)
		}
		if err := db.Failed(); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzValues has any value in keys and columns of every affinity: both nodes
// show what the writer's SQLite has stored, and records have it so.
func FuzzValues(f *testing.F) {
	f.Add(byte(0), int64(0), 0.0, "")
	for i, s := range []string{"a\x00b", "\xff", "007", " 1 ", "1e300", strings.Repeat("\x00", 70), "9223372036854775808", "-0", "0x1"} {
		f.Add(byte(i), int64(math.MinInt64)+int64(i), math.Copysign(0, -1)+float64(i)*0.1, s)
	}
	p := newPair(f, `CREATE TABLE a (k NOT NULL, t TEXT NOT NULL, n NUMERIC NOT NULL, v, r REAL, b BLOB, i INTEGER, d DATE, PRIMARY KEY (k, t, n))`)
	f.Fuzz(func(t *testing.T, kind byte, i int64, r float64, s string) {
		p.tb = t
		vals := []record.Value{record.Of(i), record.Of(r), record.Of(s), record.Of([]byte(s)), {}}
		at := func(n byte) record.Value { return vals[int(n)%len(vals)] }
		args := []record.Value{at(kind), at(kind / 2), at(kind / 3), at(kind / 5), at(kind / 7), at(kind / 11), at(kind / 13), at(kind / 17)}
		out, _, err := p.request(sqlite.Statement{SQL: "INSERT INTO a VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING *", Args: args})
		if err != nil {
			isKey := func(v record.Value) bool { return v.Type == record.Real || v.Type == record.Null }
			text := args[2].Type == record.Text // may be stored as REAL
			if !slices.ContainsFunc(args[:3], isKey) && !text && !errors.Is(err, store.ErrTooLarge) && !strings.Contains(err.Error(), "UNIQUE") {
				t.Errorf("%v: %v", args, err)
			}
			return
		}
		p.send()
		got := out[0].Result[0]
		p.shows("SELECT count(*) FROM a", "1")
		for _, db := range []*sqlite.DB{p.a, p.b} {
			same(t, "row", got, query(t, db, "SELECT * FROM a")[0])
			hexed := query(t, db, "SELECT count(*) FROM a WHERE hex(k) = hex(?) AND typeof(k) = typeof(?)", got[0].Any(), got[0].Any())
			same(t, "rows that have the key", int64(1), hexed[0][0].Int)
		}
		if row, ok := getRow(t, p.b, got); !ok || !slices.EqualFunc(row, got, record.Value.Equal) {
			t.Errorf("by its key the reader has %v, want %v", row, got)
		}
		p.write("DELETE FROM a")
		p.shows("SELECT * FROM a")
	})
}

func getRow(t *testing.T, db *sqlite.DB, like store.Row) (row store.Row, ok bool) {
	t.Helper()
	_, err := db.Update(t.Context(), func(x store.Tx) (err error) {
		row, ok, err = x.Get("a", like[:3]...)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return row, ok
}
