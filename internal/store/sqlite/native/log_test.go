package native_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/mattn/go-sqlite3"

	"github.com/firebreak-dev/firebreak/internal/store/sqlite/native"
)

// openLogged opens the database at path as the store's writer does, with few
// pages in memory.
func openLogged(t *testing.T, path string) (*conn, native.Log) {
	t.Helper()
	log, err := native.NewLog()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.Free)
	c := openFile(t, "file:"+path+"?vfs="+log.Name())
	c.script("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = 5; PRAGMA synchronous = NORMAL")
	return c, log
}

func openFile(t *testing.T, dsn string) *conn {
	t.Helper()
	dc, err := (&sqlite3.SQLiteDriver{}).Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	c := &conn{t: t, c: dc.(*sqlite3.SQLiteConn)}
	t.Cleanup(func() {
		c.out.Free()
		if err := c.c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// first is the first value that a query gives.
func (c *conn) first(sql string) string {
	c.t.Helper()
	p, err := c.c.Prepare(sql)
	if err != nil {
		c.t.Fatal(err)
	}
	defer p.Close()
	s, err := native.Of(p.(*sqlite3.SQLiteStmt))
	if err != nil {
		c.t.Fatal(err)
	}
	rows, _, err := s.Run(&c.out, nil, 1)
	if err != nil {
		c.t.Fatal(err)
	}
	row, _ := rows.Next(nil)
	return row[0].Data
}

func TestPagesOfATransactionGoIntoTheLogTogether(t *testing.T) {
	c, log := openLogged(t, filepath.Join(t.TempDir(), "x.db"))
	c.script("PRAGMA cache_size = 1000; CREATE TABLE x (a INTEGER PRIMARY KEY, b BLOB)")
	before := log.Writes()
	c.script("BEGIN; WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO x SELECT i, zeroblob(4000) FROM n; COMMIT")
	if n := log.Writes() - before; n > 10 {
		t.Errorf("%d writes of about 100 pages", n)
	}
}

// Whatever a transaction does to the log (pages that leave memory before its
// end and are written again, savepoints undone, a log that begins anew), after
// its end the files hold what was committed, no more and no less.
func TestLogHoldsWhatIsCommitted(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.db")
	c, log := openLogged(t, path)
	c.script("CREATE TABLE x (a INTEGER PRIMARY KEY, b BLOB); CREATE INDEX i ON x (b)")
	other := openFile(t, "file:"+path)
	const state = "SELECT count(*) || ' ' || coalesce(sum(a * length(b)), 0) || ' ' || coalesce(max(hex(substr(b, 1, 4))), '') FROM x"
	r := rand.New(rand.NewPCG(3, 4))
	want := other.first(state)
	rewritten := 0
	for i := range 150 {
		c.script("BEGIN")
		for range r.IntN(30) {
			switch a := r.IntN(300); r.IntN(5) {
			case 0:
				c.script(fmt.Sprintf("DELETE FROM x WHERE a BETWEEN %d AND %d", a, a+3))
			case 1:
				c.script(fmt.Sprintf("SAVEPOINT s; UPDATE x SET b = randomblob(500) WHERE a > %d; ROLLBACK TO s; RELEASE s", a))
			default:
				c.script(fmt.Sprintf("INSERT OR REPLACE INTO x VALUES (%d, randomblob(%d))", a, 1+r.IntN(3000)))
			}
		}
		if r.IntN(4) == 0 {
			c.script("ROLLBACK")
		} else {
			want = c.first(state)
			before := log.Writes()
			c.script("COMMIT")
			if log.Writes()-before > 3 {
				rewritten++
			}
		}
		if got := other.first(state); got != want {
			t.Fatalf("after transaction %d another connection reads %s, want %s", i, got, want)
		}
		if i%10 == 9 {
			if got, ok := afterCrash(t, path, state); got != want || ok != "ok" {
				t.Fatalf("after transaction %d a crash leaves %s (%s), want %s", i, got, ok, want)
			}
		}
		if i%40 == 39 {
			other.script("PRAGMA wal_checkpoint(PASSIVE)") // and the log begins anew
		}
	}
	if rewritten == 0 {
		t.Error("no transaction wrote frames again at its end")
	}
}

// afterCrash is what a copy of the files gives.
func afterCrash(t *testing.T, path, query string) (got, integrity string) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy.db")
	for _, end := range []string{"", "-wal"} {
		b, err := os.ReadFile(path + end)
		if err == nil {
			err = os.WriteFile(to+end, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c := openFile(t, "file:"+to)
	return c.first(query), c.first("PRAGMA integrity_check")
}
