package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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

func ask(db *sqlite.DB, ctx context.Context, sql string) (sqlite.Result, error) {
	return db.Query(ctx, sqlite.Query{Caller: "client bob", SQL: sql}, func([]string, store.Row) error { return nil })
}

// What sorts, groups or materialises more than its share of the disk is ended
// by name, the next query is not, and nothing stays behind.
func TestTemporarySpaceOfAQueryIsBounded(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("SQLITE_TMPDIR", tmp)
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Limits: sqlite.Limits{Temp: 6 << 20, Time: time.Minute}})
	const rows = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) `
	for name, sql := range map[string]string{
		"sort":        `SELECT max(r) FROM (SELECT row_number() OVER (ORDER BY hex(randomblob(200))) AS r FROM n)`,
		"distinct":    `SELECT count(*) FROM (SELECT DISTINCT hex(randomblob(200)) FROM n)`,
		"group":       `SELECT count(*) FROM (SELECT hex(randomblob(200)) AS k, count(*) FROM n GROUP BY k)`,
		"materialise": `, m AS MATERIALIZED (SELECT hex(randomblob(200)) AS k FROM n) SELECT count(*) FROM m a, m b WHERE a.k = b.k`,
	} {
		_, err := ask(db, t.Context(), fmt.Sprintf(rows, 100_000)+sql)
		l, ok := errors.AsType[*sqlite.LimitError](err)
		if !ok || l.What != "temporary space" || !strings.Contains(err.Error(), "temporary space") {
			t.Errorf("%s of 40 MB: %v", name, err)
		}
		if _, err := ask(db, t.Context(), fmt.Sprintf(rows, 1000)+sql); err != nil {
			t.Errorf("%s of 400 kB after it: %v", name, err)
		}
	}
	put(t, db, machine("w1", "m", "web"))
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("%d temporary files are left, %v", len(left), err)
	}
}

func TestQuerySeesOneMoment(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	for i := range 500 {
		put(t, db, machine("w1", fmt.Sprintf("m%03d", i), "old"))
	}
	var apps []string
	_, err := db.Query(t.Context(), sqlite.Query{SQL: "SELECT app FROM machines ORDER BY id"}, func(_ []string, r store.Row) error {
		if r == nil {
			return nil
		}
		if len(apps) == 0 { // in the middle of the answer
			mustExec(t, db, "UPDATE machines SET app = 'new' WHERE id = 'm499'")
			mustExec(t, db, "DELETE FROM machines WHERE id = 'm498'")
		}
		apps = append(apps, r[0].Data)
		return nil
	})
	if err != nil || len(apps) != 500 || apps[499] != "old" {
		t.Errorf("%d rows, the last %q, %v: want the 500 of the moment it began", len(apps), apps[len(apps)-1], err)
	}
}

func TestEndedQueryIsNamed(t *testing.T) {
	var log logged
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Logger: log.logger(), Limits: sqlite.Limits{Time: 50 * time.Millisecond}})
	_, err := ask(db, t.Context(), `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n`)
	if l, ok := errors.AsType[*sqlite.LimitError](err); !ok || l.What != "time" {
		t.Fatal(err)
	}
	for _, want := range []string{"query ended", `caller="client bob"`, "WITH RECURSIVE n(i)"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, log.String())
		}
	}
}

func TestQueryEndsWithItsCaller(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err := ask(db, ctx, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n`)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after its caller went: %v", err)
	}
	if n := db.Stats().Readers; n > 1 {
		t.Errorf("%d readers are left", n)
	}
}

// holdLog keeps a read transaction of another program open until its input
// ends.
func holdLog(t *testing.T, path string) (end func()) {
	t.Helper()
	bin, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("needs the sqlite3 shell (Debian package sqlite3)")
	}
	cmd := exec.Command(bin, "-batch", path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "BEGIN; SELECT count(*) FROM machines;\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 16)); err != nil { // it has its snapshot
		t.Fatal(err)
	}
	return func() { in.Close(); _, _ = io.Copy(io.Discard, out); _ = cmd.Wait() }
}

// A program that holds the log is named; past the limit peers' records wait
// and local writes go on; when it has gone all goes on by itself.
func TestForeignReaderThatHoldsTheLogIsNamed(t *testing.T) {
	var log logged
	path := filepath.Join(t.TempDir(), "node.db")
	db := openAt(t, path, sqlite.Config{Logger: log.logger(), Limits: sqlite.Limits{WAL: 1 << 20}})
	db.AlarmAt(256 << 10)
	put(t, db, machine("w1", "m", "web"))
	release := holdLog(t, path)
	defer release()
	for i := 0; !db.Stats().Paused; i++ {
		put(t, db, machine("w1", fmt.Sprint("m", i), strings.Repeat("x", 30_000)))
	}
	waits := make(chan error, 1)
	go func() {
		_, err := db.Apply(t.Context(), []record.Delivery{pushed(record.Writer{Node: "w2", Boot: 5, Bits: 1}, 1, machineRecord("w2", "m", "web"))})
		waits <- err
	}()
	until(t, "the reader is named", func() bool { return len(db.Stats().Pinned) > 0 })
	if who := db.Stats().Pinned; !strings.Contains(who[0], "sqlite3") {
		t.Errorf("named: %v", who)
	}
	until(t, "the log says so", func() bool { return strings.Contains(log.String(), "(sqlite3)") })
	put(t, db, machine("w1", "local", "web"))
	select {
	case err := <-waits:
		t.Errorf("a peer's record did not wait: %v", err)
	default:
	}
	release()
	if err := <-waits; err != nil {
		t.Errorf("the peer's record: %v", err)
	}
	until(t, "nobody is named any more", func() bool { return len(db.Stats().Pinned) == 0 && !db.Stats().Paused })
}

// Another program reads the tables under their names while the node writes,
// each time a whole transaction, and cannot write to what is replicated.
func TestOtherProgramsMayReadAndNotWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	db := openAt(t, path, sqlite.Config{})
	put(t, db, machine("w1", "a", "0"), machine("w1", "b", "0"))
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan error, 1)
	go func() {
		for i := 1; ctx.Err() == nil; i++ {
			app := fmt.Sprint(i)
			_, err := db.Update(t.Context(), func(x store.Tx) error {
				return errors.Join(x.Put("machines", machine("w1", "a", app)), x.Put("machines", machine("w1", "b", app)))
			})
			if err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	for range 20 {
		out, err := shell(t, path, "SELECT a.app = b.app FROM machines a, machines b WHERE a.id = 'a' AND b.id = 'b'")
		if err != nil || strings.TrimSpace(out) != "1" {
			t.Errorf("read by the shell: %q, %v", out, err)
		}
	}
	for _, sql := range []string{
		"UPDATE machines SET app = 'forged'", "DELETE FROM machines", "INSERT INTO machines (worker, id, app) VALUES ('w2', 'x', 'web')",
		"INSERT OR REPLACE INTO machines (worker, id, app) VALUES ('w1', 'a', 'forged')",
	} {
		if out, err := shell(t, path, sql); err == nil || !strings.Contains(out, "_fb_") {
			t.Errorf("%s: %q, %v", sql, out, err)
		}
	}
	stop()
	if err := <-written; err != nil {
		t.Errorf("a write meanwhile: %v", err)
	}
	same(t, "rows that were forged", []store.Row(nil), query(t, db, "SELECT id FROM machines WHERE app = 'forged' OR worker = 'w2'"))
	recount(t, db)
	if out, err := shell(t, path, "SELECT * FROM machines WHERE id = 'a'"); err != nil || cmp.Equal(strings.Count(out, "|"), 0) {
		t.Errorf("%q, %v", out, err)
	}
}
