package live_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/live"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// Queries that look like rows of one table and are none.
func TestRowsThatDependOnOthers(t *testing.T) {
	for name, sql := range map[string]string{
		"IN a table":               "SELECT w FROM words WHERE w || 'x' IN words",
		"IN a table of the schema": "SELECT w FROM words WHERE w || 'x' IN main.words",
		"the least integer":        "SELECT id FROM m WHERE port = -9223372036854775808",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, live.Config{})
			n.exec("INSERT INTO m (id, app, port) VALUES ('m1', 'web', 1), ('m2', 'web', 2)")
			n.exec("INSERT INTO words VALUES ('a'), ('bx')")
			r := n.watch(sql)
			n.exec("INSERT INTO words VALUES ('ax'), ('b')")
			n.exec("INSERT INTO m (id, app, port) VALUES ('m0', 'web', ?)", -math.MaxInt64-1.0)
			n.exec("UPDATE m SET app = 'db' WHERE id = 'm2'")
			n.quiet()
			if !r.isFresh(sql) {
				t.Errorf("told %v, and a fresh query gives %v", r.rows, n.query(sql))
			}
		})
	}
	n := newNode(t, live.Config{})
	const least = "SELECT id FROM m WHERE port = ?"
	r := n.watch(least, int64(math.MinInt64))
	n.exec("INSERT INTO m (id, port) VALUES ('r', ?)", -math.MaxInt64-1.0) // SQLite keeps it as a real
	r.settle(least, int64(math.MinInt64))
}

func (n *node) quiet() {
	n.t.Helper()
	if err := live.Quiet(n.ctx(), n.e); err != nil {
		n.t.Fatal(err)
	}
}

func TestAllAggregatesAreKnown(t *testing.T) {
	n := newNode(t, live.Config{})
	windows := []string{
		"row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead", "first_value", "last_value", "nth_value",
	}
	for _, r := range n.query("SELECT DISTINCT name FROM pragma_function_list WHERE type IN ('a', 'w')") {
		if name := r[0].Data; !slices.Contains(live.AggregateNames(), name) && !slices.Contains(windows, name) {
			t.Errorf("aggregate %s is taken for a function of one row", name)
		}
	}
}

func TestTheTimeOfDayIsRefusedInAnyGuise(t *testing.T) {
	n := newNode(t, live.Config{})
	for _, sql := range []string{
		"SELECT id, strftime('%s') FROM m", "SELECT id, unixepoch('subsec') FROM m", "SELECT id, date('n' || 'ow') FROM m",
		"SELECT id FROM clocked", "SELECT id, \"date\"() FROM m", "SELECT id, datetime(x'6e6f77') FROM m",
		"SELECT id, timediff(note, 'now') FROM m",
	} {
		_, err := n.e.Open(n.ctx(), sql, nil)
		var refusal *live.RefusedError
		if !errors.As(err, &refusal) || !strings.Contains(refusal.Reason, "time of day") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	n.exec("INSERT INTO m (id, port) VALUES ('m1', 1)")
	for _, sql := range []string{
		"SELECT id, strftime('%s', port, 'unixepoch', 'subsec') FROM m", "SELECT id, date('2026-01-01') FROM m", "SELECT id, timediff('2026-01-01', note) FROM m",
	} {
		n.watch(sql)
	}
}

// What cannot be said of a row ends the watches that would have to say it,
// with the reason, and no others; they can be opened again when the row is gone.
func TestRowThatAQueryFailsOn(t *testing.T) {
	n := newNode(t, live.Config{})
	const parsed, other, keyed = "SELECT id, json_extract(note, '$.a') FROM m", "SELECT id, note FROM m", "SELECT json_extract(note, '$.a') FROM m WHERE app = 'web'"
	bad, good, spared := n.watch(parsed), n.watch(other), n.watch(keyed)
	n.exec(`INSERT INTO m (id, note) VALUES ('m1', '{"a": 1}')`)
	bad.next()
	n.exec(`INSERT INTO m (id, note) VALUES ('m2', 'no JSON')`)
	if cs, err := bad.w.Next(n.ctx(), bad.last); !errors.Is(err, live.ErrFault) || !strings.Contains(err.Error(), "malformed JSON") {
		t.Errorf("a row that cannot be told: %v, %v", cs, err)
	}
	good.settle(other)
	w, err := n.e.Open(n.ctx(), parsed, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := live.Whole(n.ctx(), w); !errors.Is(err, live.ErrFault) {
		t.Errorf("opened while it cannot be told: %v", err)
	}
	w.Release()
	bad.w.Release()
	n.exec(`UPDATE m SET note = '{"a": 2}' WHERE id = 'm2'`)
	n.exec(`INSERT INTO m (id, app, note) VALUES ('m3', 'web', '{"a": 3}')`)
	n.watch(parsed).settle(parsed)
	spared.settle(keyed)
	if n := live.Readers(n.e); n != 3 {
		t.Errorf("%d readers are counted, there are 3", n)
	}
}

// Users' queries that keep all their connections busy delay no watch.
func TestBusyUsersDelayNoWatch(t *testing.T) {
	n := newNode(t, live.Config{})
	r := n.watch("SELECT id, port FROM m WHERE id = 'm1'")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	const endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
	for range 8 {
		go func() {
			_, err := n.db.Query(ctx, sqlite.Query{SQL: endless}, func([]string, store.Row) error { return nil })
			done <- err
		}()
	}
	for deadline := time.Now().Add(20 * time.Second); n.db.Stats().Readers < 4; {
		if time.Now().After(deadline) {
			t.Fatalf("%d readers, want at least 4", n.db.Stats().Readers)
		}
		<-time.After(time.Millisecond)
	}
	n.exec("INSERT INTO m (id, port) VALUES ('m1', 1)")
	r.next()
	n.watch("SELECT count(*) FROM m") // a new one
	stop()
	for range 8 {
		if err := <-done; err == nil || errors.As(err, new(*sqlite.LimitError)) {
			t.Errorf("the busy query ended before the watch was served: %v", err)
		}
	}
}

// However often watches rest, wake, end and are forgotten, in the end nothing
// is counted.
func TestMemoryIsCountedDownToNothing(t *testing.T) {
	clock := time.Now()
	n := newNode(t, live.Config{MaxRows: 30, Now: func() time.Time { return clock }})
	for i := range 20 {
		n.exec("INSERT INTO m (id, app, note) VALUES (?, 'web', ?)", fmt.Sprint(i), strings.Repeat("x", 100))
	}
	const sql = "SELECT id, note FROM m"
	r := n.watch(sql)
	full := live.Held(n.e)
	for range 3 {
		r.w.Release()
		clock = clock.Add(time.Minute)
		live.Sweep(n.e)
		if held := live.Held(n.e); held != 0 {
			t.Fatalf("%d bytes are counted of a watch that rests", held)
		}
		r = n.watch(sql)
		if held := live.Held(n.e); held != full {
			t.Fatalf("%d bytes are counted after it woke, %d before", held, full)
		}
	}
	for i := range 20 {
		n.exec("INSERT INTO m (id) VALUES (?)", fmt.Sprint("more", i))
	}
	var err error
	for last, cs := uint64(0), []live.Change(nil); err == nil; last += uint64(len(cs)) {
		cs, err = r.w.Next(n.ctx(), last)
	}
	if !errors.Is(err, live.ErrTooLarge) {
		t.Errorf("40 rows of 30: %v", err)
	}
	r.w.Release()
	n.quiet()
	live.Sweep(n.e)
	if held := live.Held(n.e); held != 0 {
		t.Errorf("%d bytes are counted of nothing", held)
	}
}

// A journal that is damaged in any way is begun anew, or serves what is good of
// it; the node starts and stops.
func TestDamagedJournalStopsNoNode(t *testing.T) {
	n := newNode(t, live.Config{})
	const sql = "SELECT id, note FROM m"
	r := n.watch(sql)
	for i := range 60 {
		n.exec("INSERT INTO m (id, note) VALUES (?, ?)", fmt.Sprint(i), strings.Repeat("y", 300))
		r.next()
	}
	id := r.w.ID()
	n.stop()
	path := filepath.Join(n.dir, "watches.journal")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	for i := 0; i < len(whole); i += page {
		for _, spoil := range []func([]byte) []byte{
			func(b []byte) []byte { return b[:i] },
			func(b []byte) []byte {
				return append(b[:i:i], append(make([]byte, page), b[min(i+page, len(b)):]...)...)
			},
			func(b []byte) []byte { b[i+8] ^= 0xff; return b },  // the page's kind
			func(b []byte) []byte { b[i+10] ^= 0x3f; return b }, // how many entries it has
		} {
			if err := os.WriteFile(path, spoil(slices.Clone(whole)), 0o600); err != nil {
				t.Fatal(err)
			}
			n.start()
			if w, err := n.e.Find(n.ctx(), id); err == nil {
				_, _, _ = live.Whole(n.ctx(), w)
				_, _ = w.Next(n.ctx(), 0)
				w.Release()
			}
			if w, err := n.e.Open(n.ctx(), "SELECT id FROM m WHERE id = '1'", []record.Value(nil)); err == nil {
				_, _, _ = live.Whole(n.ctx(), w)
			}
			n.stop()
		}
	}
}
