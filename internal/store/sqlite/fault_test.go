package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-sqlite3"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

func openInside(t *testing.T, cfg Config) *DB {
	t.Helper()
	tables, err := ParseSQL(testSchema)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Path = filepath.Join(t.TempDir(), "node.db")
	cfg.Fleet, cfg.Cluster, cfg.Node, cfg.Tables = "test", "region/iad", "w1", tables
	db, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// scriptInLoop runs SQL on the writing connection, between transactions.
func scriptInLoop(t *testing.T, db *DB, sql string) {
	t.Helper()
	if err := db.do(t.Context(), func(w *work) error { return w.c.script(sql) }); err != nil {
		t.Fatal(err)
	}
}

func bigRow(worker string, i int) store.Row {
	return store.Row{record.Of(worker), record.Of(fmt.Sprint("m", i)), record.Of(strings.Repeat("x", 40_000)), {}, {}}
}

func (db *DB) putRow(t *testing.T, row store.Row) error {
	_, err := db.Update(t.Context(), func(x store.Tx) error { return x.Put("machines", row) })
	return err
}

func statesOf(t *testing.T, db *DB) []store.WriterState {
	t.Helper()
	s, err := db.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ws, err := s.Writers()
	if err != nil {
		t.Fatal(err)
	}
	return ws
}

// A full disk refuses, withholds nothing, marks nothing received, and ends by
// itself.
func TestFullDiskIsAnErrorAndNothingElse(t *testing.T) {
	db := openInside(t, Config{})
	if err := db.putRow(t, bigRow("w1", 0)); err != nil {
		t.Fatal(err)
	}
	feed, err := db.Feed(positionOf(t, db))
	if err != nil {
		t.Fatal(err)
	}
	before := statesOf(t, db)
	scriptInLoop(t, db, "PRAGMA max_page_count = 1") // as small as it is now
	var full sqlite3.Error
	if err := db.putRow(t, bigRow("w1", 1)); !errors.As(err, &full) || full.Code != sqlite3.ErrFull {
		t.Errorf("local write: %v", err)
	}
	rec, err := db.tables().byName["machines"].Record(bigRow("w2", 1), "")
	if err != nil {
		t.Fatal(err)
	}
	d := record.Pushed(record.Changeset{Writer: record.Writer{Node: "w2", Boot: 5, Bits: 1}, Version: 1, Records: []record.Record{rec}})
	if out, err := db.Apply(t.Context(), []record.Delivery{d}); !errors.As(err, &full) || full.Code != sqlite3.ErrFull {
		t.Errorf("apply: %v, %v", out, err)
	}
	if diff := cmp.Diff(before, statesOf(t, db)); diff != "" {
		t.Errorf("states changed (-before +after):\n%s", diff)
	}
	if db.withheld().all() != 0 || db.Failed() != nil {
		t.Errorf("%d withheld, failed: %v", db.withheld().all(), db.Failed())
	}
	scriptInLoop(t, db, "PRAGMA max_page_count = 1000000")
	if err := db.putRow(t, bigRow("w1", 1)); err != nil {
		t.Errorf("local write with room again: %v", err)
	}
	out, err := db.Apply(t.Context(), []record.Delivery{d})
	if err != nil || out[0].Status != store.Applied {
		t.Errorf("apply with room again: %v, %v", out, err)
	}
	entries, err := feed.Next(t.Context())
	if err != nil || entries[0].Local == nil || entries[0].Point.Version != 2 {
		t.Errorf("the first entry after the fault is %+v, %v", entries, err)
	}
}

func positionOf(t *testing.T, db *DB) store.Position {
	t.Helper()
	s, err := db.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return s.Position()
}

// After an fsync error nobody knows what is durable.
func TestFailedFsyncEndsWrites(t *testing.T) {
	db := openInside(t, Config{})
	err := db.broken(fmt.Errorf("commit: %w", sqlite3.Error{Code: sqlite3.ErrIoErr, ExtendedCode: sqlite3.ErrIoErrFsync}))
	if err == nil || db.Failed() == nil {
		t.Fatal("an fsync error did not fail the store")
	}
	if err := db.putRow(t, bigRow("w1", 1)); err == nil || !strings.Contains(err.Error(), "takes no more writes") {
		t.Errorf("local write: %v", err)
	}
	if _, err := db.Snapshot(t.Context()); err != nil {
		t.Errorf("reads go on: %v", err)
	}
}

func TestPanicInAnUpdateIsItsCallersOwn(t *testing.T) {
	db := openInside(t, Config{})
	func() {
		defer func() {
			if r := recover(); r != "mine" {
				t.Errorf("recovered %v", r)
			}
		}()
		_, _ = db.Update(t.Context(), func(x store.Tx) error {
			if err := x.Put("machines", bigRow("w1", 1)); err != nil {
				return err
			}
			panic("mine")
		})
	}()
	if err := db.putRow(t, bigRow("w1", 2)); err != nil {
		t.Fatal(err)
	}
	if s := db.Stats(); s.Rows["machines"] != 1 || s.Err != nil {
		t.Errorf("stats %+v: the row of the update that panicked is there", s)
	}
}

func TestTransactionIsOverWhenItsFunctionIs(t *testing.T) {
	db := openInside(t, Config{})
	var kept store.Tx
	if _, err := db.Update(t.Context(), func(x store.Tx) error { kept = x; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := kept.Put("machines", bigRow("w1", 1)); err == nil {
		t.Error("a transaction took a row after its end")
	}
}

func TestSnapshotThatPinsTheLogIsEnded(t *testing.T) {
	db := openInside(t, Config{Limits: Limits{Pin: 20 * time.Millisecond}})
	if err := db.putRow(t, bigRow("w1", 1)); err != nil {
		t.Fatal(err)
	}
	s, err := db.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for {
		_, err := s.Writers()
		if errors.Is(err, errExpired) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for db.inside.busy() > 0 {
		if _, err := s.Withheld(); !errors.Is(err, errExpired) {
			t.Fatal(err)
		}
	}
}

func TestWritersTakeTurns(t *testing.T) {
	q := newRemoteQueue(Budget{})
	noisy, quiet := record.Writer{Node: "noisy"}, record.Writer{Node: "quiet"}
	for i := range 100 {
		if err := q.push(t.Context(), &delivery{Delivery: record.Delivery{Writer: noisy, Range: record.Range{From: record.Version(i + 1)}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.push(t.Context(), &delivery{Delivery: record.Delivery{Writer: quiet}}); err != nil {
		t.Fatal(err)
	}
	first, second, third := q.pop(), q.pop(), q.pop()
	if first.Range.From != 1 || second.Writer != quiet || third.Range.From != 2 {
		t.Errorf("order %v, %v, %v", first.Delivery, second.Delivery, third.Delivery)
	}
	q.unpop(third)
	if again := q.pop(); again != third {
		t.Errorf("a half-done delivery is not first: %v", again.Delivery)
	}
}

// Peers' records that come without a pause are made to leave some.
func TestLogDoesNotGrowWithoutEnd(t *testing.T) {
	db := openInside(t, Config{Durability: OS})
	w := record.Writer{Node: "w2", Boot: 5, Bits: 1}
	var batch []record.Delivery
	const versions, rows = 100, 20
	for v := range versions {
		cs := record.Changeset{Writer: w, Version: record.Version(v + 1)}
		for i := range rows {
			row := bigRow("w2", (v*rows+i)%30)
			row[2] = record.Of(strings.Repeat(string(rune('a'+v%26)), 40_000))
			r, err := db.tables().byName["machines"].Record(row, "")
			if err != nil {
				t.Fatal(err)
			}
			cs.Records = append(cs.Records, r)
		}
		batch = append(batch, record.Pushed(cs))
	}
	if _, err := db.Apply(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	// 80 MB were written over a table of 1.2 MB.
	if size := db.wal.size(); size > 2*walRemote {
		t.Errorf("the log has %d MiB", size>>20)
	}
}

func TestStoresPlanToUseTheirIndexes(t *testing.T) {
	db := openInside(t, Config{})
	for name, want := range map[string]string{
		"machines": "SEARCH _fb_rows_machines USING PRIMARY KEY (worker=?)",
		"notes":    "SEARCH _fb_rows_notes USING COVERING INDEX _fb_by_writer_notes (_fb_w=? AND _fb_v>? AND _fb_v<?)",
	} {
		sql, args := db.tables().byName[name].byWriter("w2", 1, 1, 10)
		var plan []string
		err := db.inside.with(t.Context(), func(c *conn) error {
			return c.rows(t.Context(), "EXPLAIN QUERY PLAN "+sql, args, func(r []record.Value) error {
				plan = append(plan, r[3].Data)
				return nil
			})
		})
		if err != nil || len(plan) != 1 || plan[0] != want {
			t.Errorf("%s: plan %q, want %q (%v)", name, plan, want, err)
		}
	}
}

func TestWithheldBytesOfAWriterAreCapped(t *testing.T) {
	db := openInside(t, Config{})
	db.maxHeld = 100_000
	flood, other := record.Writer{Node: "w2", Boot: 5, Bits: 1}, record.Writer{Node: "w3", Boot: 5, Bits: 1}
	send := func(w record.Writer, v int, owner string) store.Outcome {
		r, err := db.tables().byName["machines"].Record(bigRow(owner, v), "")
		if err != nil {
			t.Fatal(err)
		}
		if w == flood {
			r.Table = 999 // nobody knows it
		}
		out, err := db.Apply(t.Context(), []record.Delivery{record.Pushed(record.Changeset{Writer: w, Version: record.Version(v), Records: []record.Record{r}})})
		if err != nil {
			t.Fatal(err)
		}
		return out[0]
	}
	for v := 1; v <= 3; v++ {
		if out := send(flood, v, "w2"); out.Withheld != 1 {
			t.Errorf("version %d: %+v", v, out)
		}
	}
	if out := send(flood, 4, "w2"); out.Status != store.Rejected {
		t.Errorf("over the cap: %+v", out)
	}
	if out := send(other, 1, "w3"); out.Status != store.Applied || out.Withheld != 0 {
		t.Errorf("another writer: %+v", out)
	}
	for _, ws := range statesOf(t, db) {
		if ws.Writer == flood && ws.Received.Head != 3 {
			t.Errorf("a refused version counts as received: %v", ws.Received)
		}
	}
	if got := db.Stats().OverHeld; !slices.Equal(got, []record.Node{"w2"}) {
		t.Errorf("over the cap are %q", got)
	}
	list := heldOf(t, db)
	if err := db.Discard(t.Context(), list[0].Hash); err != nil {
		t.Fatal(err)
	}
	if out := send(flood, 4, "w2"); out.Status != store.Applied {
		t.Errorf("with room again: %+v", out)
	}
}

func heldOf(t *testing.T, db *DB) []store.Withheld {
	t.Helper()
	s, err := db.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.Withheld()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSnapshotCallsMayBeNested(t *testing.T) {
	db := openInside(t, Config{})
	for i := range 3 {
		if err := db.putRow(t, bigRow("w1", i)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := db.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = s.Scan("machines", nil, func(store.Row, record.Point, int64) error {
		return s.Scan("machines", nil, func(store.Row, record.Point, int64) error {
			n++
			return s.Close() // its end waits for the calls in progress
		})
	})
	if err != nil && !errors.Is(err, store.ErrClosed) || n == 0 {
		t.Errorf("%d inner rows, %v", n, err)
	}
	if _, err := s.Writers(); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after its end: %v", err)
	}
	if db.inside.busy() != 0 {
		t.Errorf("%d connections are still out", db.inside.busy())
	}
}

func TestRolledBackTransactionLeavesNothingInMemory(t *testing.T) {
	db := openInside(t, Config{})
	w3 := record.Writer{Node: "w3", Boot: 5, Bits: 1}
	failed := errors.New("disk")
	before := statesOf(t, db)
	err := db.do(t.Context(), func(w *work) error {
		id := w.st.intern(w3)
		w.st.change(id).recv = record.Received{Head: 7}
		w.st.change(w.st.self).recv = record.Received{Head: 7}
		w.enter(record.Point{Writer: w3, Version: 7}, nil)
		return failed
	})
	if !errors.Is(err, failed) {
		t.Fatal(err)
	}
	feed, err := db.Feed(positionOf(t, db))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.putRow(t, bigRow("w1", 1)); err != nil {
		t.Fatal(err)
	}
	entries, err := feed.Next(t.Context())
	if err != nil || entries[0].Point.Version != 1 {
		t.Errorf("the first entry is %+v, %v: want version 1 of this node", entries, err)
	}
	if got := statesOf(t, db); len(got) != len(before)+1 {
		t.Errorf("writers %+v", got)
	}
}
