package checkpoint_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-dev/firebreak/internal/checkpoint"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// world is a store and its supervisor.
type world struct {
	t    *testing.T
	dir  string
	path string
	db   *sqlite.DB
	sup  *checkpoint.Supervisor
	reg  *prometheus.Registry
	stop func()
}

func newWorld(t *testing.T, cfg checkpoint.Config) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), reg: prometheus.NewRegistry()}
	w.path = filepath.Join(w.dir, "node.db")
	var err error
	if w.db, err = openStore(t.Context(), w.path); err != nil {
		t.Fatal(err)
	}
	cfg.Dir, cfg.Database, cfg.State, cfg.Store = filepath.Join(w.dir, "copies"), w.path, checkpoint.StateDir(w.path), w.db
	cfg.Every, cfg.Metrics, cfg.Logger = 100*time.Millisecond, w.reg, quiet()
	if cfg.Command == nil {
		cfg.Command, cfg.Env = []string{os.Args[0]}, []string{childEnv + "=copy"}
	}
	if w.sup, err = checkpoint.New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.sup.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := w.db.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

func (w *world) put(id, app string) {
	w.t.Helper()
	if _, err := w.db.Update(w.t.Context(), func(x store.Tx) error {
		return x.Put("machines", store.Row{record.Of("w1"), record.Of(id), record.Of(app)})
	}); err != nil {
		w.t.Fatal(err)
	}
}

// metric sums a metric's values over its labels.
func (w *world) metric(name string) (sum float64) {
	w.t.Helper()
	all, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func eventually(t *testing.T, what string, look func() bool) {
	t.Helper()
	deadline, tick := time.After(30*time.Second), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !look() {
		select {
		case <-deadline:
			t.Fatalf("not within 30s: %s", what)
		case <-tick.C:
		}
	}
}

// copied waits until the child has told of progress since now.
func (w *world) copied() {
	w.t.Helper()
	before := w.metric("firebreak_checkpoint_alive_timestamp_seconds")
	eventually(w.t, "the child says that it copies", func() bool {
		return w.metric("firebreak_checkpoint_alive_timestamp_seconds") > before
	})
}

// restore restores to a moment and opens the result as node.
func (w *world) restore(at time.Time, node string) (*sqlite.DB, sqlite.Stripped) {
	w.t.Helper()
	chains, err := checkpoint.Chains(filepath.Join(w.dir, "copies"), "w1")
	if err != nil || len(chains) != 1 || chains[0].Writer != w.db.Writer() {
		w.t.Fatalf("chains %v, %v", chains, err)
	}
	to := filepath.Join(w.t.TempDir(), "node.db")
	nanos := int64(0)
	if !at.IsZero() {
		nanos = at.UnixNano()
	}
	if out, err := runChild(w.t, "restore", fmt.Sprintf("%s %s %d", chains[0].Path, to, nanos)); err != nil {
		w.t.Fatalf("restore: %v: %s", err, out)
	}
	tables, err := sqlite.ParseSQL(testTables)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := sqlite.Strip(w.t.Context(), to, record.Node(node), tables)
	if err != nil {
		w.t.Fatal(err)
	}
	db, err := openStoreOf(w.t.Context(), to, string(s.Owner.Node))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = db.Close() })
	return db, s
}

// ids returns the ids of machines as a number each, highest last.
func count(t *testing.T, db *sqlite.DB) (n, highest int) {
	t.Helper()
	_, err := db.Query(t.Context(), sqlite.Query{SQL: "SELECT count(*), coalesce(max(CAST(id AS INTEGER)), 0) FROM machines"}, func(_ []string, r store.Row) error {
		if r != nil {
			n, highest = int(r[0].Int), int(r[1].Int)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n, highest
}

// Writes go on while the child copies, is killed, and copies again. What is
// restored for a moment is a state that there was, no older than the interval
// between copies before that moment, and no newer.
func TestRestoreGivesWhatWasThereAtThatMoment(t *testing.T) {
	w := newWorld(t, checkpoint.Config{})
	w.put("1", "web")
	w.copied()
	type mark struct {
		at time.Time
		n  int
	}
	var marks []mark
	n := 1
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	write := func(until func() bool) {
		for ; !until(); <-pace.C {
			n++
			w.put(fmt.Sprint(n), strings.Repeat("x", 500))
			marks = append(marks, mark{time.Now(), n})
		}
	}
	told := func() func() bool {
		before := w.metric("firebreak_checkpoint_alive_timestamp_seconds")
		return func() bool { return w.metric("firebreak_checkpoint_alive_timestamp_seconds") > before }
	}
	write(told())
	write(told())
	killed := w.sup.Pid()
	if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	write(func() bool { return w.sup.Pid() != 0 && w.sup.Pid() != killed && w.sup.Trouble() == "" })
	write(told())
	moment := time.Now()
	write(told())
	w.stop()

	db, s := w.restore(moment, "")
	if s.Donor != s.Owner || s.Rows == 0 {
		t.Errorf("stripped: %+v", s)
	}
	rows, highest := count(t, db)
	if rows != highest {
		t.Errorf("%d rows up to number %d: no moment had that", rows, highest)
	}
	var oldest, newest int
	for _, m := range marks {
		if m.at.Before(moment) {
			newest = m.n
		}
		if m.at.Before(moment.Add(-3 * time.Second)) {
			oldest = m.n
		}
	}
	// One may have been committed and not yet marked.
	if highest < oldest || highest > newest+1 {
		t.Errorf("restored up to number %d, of that moment are %d to %d", highest, oldest, newest)
	}
	db, _ = w.restore(time.Time{}, "")
	if rows, highest := count(t, db); rows != n || highest != n {
		t.Errorf("the last copy has %d rows up to %d, want %d: a child that is told to stop copies what is left", rows, highest, n)
	}
	if w.metric("firebreak_checkpoint_children_ended_total") == 0 {
		t.Error("the kill is not counted")
	}
}

// A copy of w1 becomes a database of w2: the rows are there, what was w1's own
// is not, and w2 writes as a writer of its own. Unstripped it is refused.
func TestCopyOfAnotherNodeIsStripped(t *testing.T) {
	w := newWorld(t, checkpoint.Config{})
	w.put("1", "web")
	if _, _, err := w.db.Exec(t.Context(), sqlite.Request{Statements: []sqlite.Statement{{SQL: "INSERT INTO scratch VALUES (1, 'mine')"}}}); err != nil {
		t.Fatal(err)
	}
	w.copied()
	w.stop()
	db, s := w.restore(time.Time{}, "w2")
	if s.Donor.Node != "w1" || s.Owner.Node != "w2" {
		t.Errorf("stripped: %+v", s)
	}
	if n, _ := count(t, db); n != 1 {
		t.Errorf("%d rows", n)
	}
	for _, table := range []string{"scratch"} {
		if n := number(t, db, "SELECT count(*) FROM "+table); n != 0 {
			t.Errorf("%d rows of local table %s went along", n, table)
		}
	}
	if n := number(t, db, "SELECT count(*) FROM sqlite_schema WHERE name LIKE '\\_litestream%' ESCAPE '\\'"); n != 0 {
		t.Errorf("%d tables of Litestream went along", n)
	}
	if db.Writer().Node != "w2" {
		t.Errorf("writes as %v", db.Writer())
	}
	if _, err := openStoreOf(t.Context(), w.path, "w2"); err == nil || !strings.Contains(err.Error(), `node "w1", wanted "w2"`) {
		t.Errorf("the file as it was, opened by w2: %v", err)
	}
}

func number(t *testing.T, db *sqlite.DB, sql string) (n int64) {
	t.Helper()
	_, err := db.Query(t.Context(), sqlite.Query{SQL: sql}, func(_ []string, r store.Row) error {
		if r != nil {
			n = r[0].Int
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Rows that do not add up to the fingerprints that came with them are refused.
func TestCopyThatDoesNotAddUpIsRefused(t *testing.T) {
	bin, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("needs the sqlite3 shell (Debian package sqlite3)")
	}
	path := filepath.Join(t.TempDir(), "node.db")
	db, err := openStore(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: db}
	w.put("1", "web")
	w.put("2", "web")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(bin, path, "DELETE FROM _fb_rows_machines WHERE id = '2'").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	tables, err := sqlite.ParseSQL(testTables)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Strip(t.Context(), path, "", tables); !errors.Is(err, sqlite.ErrDamaged) {
		t.Errorf("stripped: %v", err)
	}
}

func TestSilentChildIsKilled(t *testing.T) {
	w := newWorld(t, checkpoint.Config{Command: []string{"sleep", "1000"}, Silence: 200 * time.Millisecond})
	eventually(t, "the first child", func() bool { return w.sup.Pid() != 0 })
	first := w.sup.Pid()
	eventually(t, "another child", func() bool { return w.sup.Pid() != 0 && w.sup.Pid() != first })
	if err := syscall.Kill(first, 0); err == nil {
		t.Error("the silent child is alive")
	}
	if !strings.Contains(w.sup.Trouble(), "silent") {
		t.Errorf("trouble: %q", w.sup.Trouble())
	}
	w.put("1", "web")
}

// A child that holds the log beyond its bound is killed, the log starts over,
// and copies are made again.
func TestChildThatLetsTheLogGrowIsKilled(t *testing.T) {
	w := newWorld(t, checkpoint.Config{MaxLog: 1 << 20})
	w.put("1", "web")
	w.copied()
	first := w.sup.Pid()
	for i := 0; w.sup.Pid() == first; i++ {
		w.put(fmt.Sprint(i), strings.Repeat("x", 20_000))
	}
	eventually(t, "another child copies", func() bool { return w.sup.Pid() != 0 && w.sup.Trouble() == "" })
	eventually(t, "the log has started over", func() bool { return w.db.LogBytes() < 1<<20 })
	w.put("after", "web")
	w.copied()
	w.stop()
	db, _ := w.restore(time.Time{}, "")
	if n := number(t, db, "SELECT count(*) FROM machines WHERE id = 'after'"); n != 1 {
		t.Error("the last row is in no copy")
	}
}

func TestStartsThatFollowFastKeepAFewChains(t *testing.T) {
	dir := t.TempDir()
	for i := range 20 {
		if err := os.MkdirAll(filepath.Join(dir, "w1", fmt.Sprintf("%d-%016x", 100+i, i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "w2", "7-0000000000000001"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := checkpoint.Prune(dir, "w1"); err != nil {
		t.Fatal(err)
	}
	left, err := checkpoint.Chains(dir, "w1")
	if err != nil || len(left) != 8 || left[0].Writer.Boot != 119 || left[7].Writer.Boot != 112 {
		t.Errorf("left %v, %v", left, err)
	}
	if other, err := checkpoint.Chains(dir, "w2"); err != nil || len(other) != 1 {
		t.Errorf("of w2 are left %v, %v", other, err)
	}
}
