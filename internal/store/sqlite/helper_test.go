package sqlite_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

func tables(tb testing.TB) []schema.Table {
	tb.Helper()
	out, err := sqlite.ParseSQL(sqlite.TestSchema)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// config completes cfg for a database of node w1 at path.
func config(tb testing.TB, path string, cfg sqlite.Config) sqlite.Config {
	tb.Helper()
	cfg.Path, cfg.Fleet, cfg.Cluster = path, "test", "region/iad"
	if cfg.Node == "" {
		cfg.Node = "w1"
	}
	if cfg.Tables == nil {
		cfg.Tables = tables(tb)
	}
	return cfg
}

func openAt(tb testing.TB, path string, cfg sqlite.Config) *sqlite.DB {
	tb.Helper()
	db, err := sqlite.Open(tb.Context(), config(tb, path, cfg))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db
}

func machine(worker, id, app string) store.Row {
	return store.Row{record.Of(worker), record.Of(id), record.Of(app), {}, {}}
}

func machineRecord(worker, id, app string) record.Record {
	ts, err := sqlite.ParseSQL(sqlite.TestSchema)
	if err != nil {
		panic(err) // the tests' own schema
	}
	return recordOf(ts[0], machine(worker, id, app), "")
}

func recordOf(t schema.Table, row store.Row, stamp string) record.Record {
	r, err := t.Record(row, stamp)
	if err != nil {
		panic(err) // the tests' own rows
	}
	return r
}

func pushed(w record.Writer, v record.Version, recs ...record.Record) record.Delivery {
	return record.Pushed(record.Changeset{Writer: w, Version: v, Wall: 1000, Records: recs})
}

func put(tb testing.TB, db *sqlite.DB, rows ...store.Row) store.Commit {
	tb.Helper()
	c, err := db.Update(tb.Context(), func(x store.Tx) error {
		for _, r := range rows {
			if err := x.Put("machines", r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func apply(tb testing.TB, db *sqlite.DB, batch ...record.Delivery) []store.Outcome {
	tb.Helper()
	out, err := db.Apply(tb.Context(), batch)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// query returns the rows of a statement.
func query(tb testing.TB, db *sqlite.DB, sql string, args ...any) []store.Row {
	tb.Helper()
	var vals []record.Value
	for _, a := range args {
		vals = append(vals, record.Of(a))
	}
	var out []store.Row
	_, err := db.Query(tb.Context(), sqlite.Query{SQL: sql, Args: vals}, func(_ []string, r store.Row) error {
		if r != nil {
			out = append(out, r)
		}
		return nil
	})
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return out
}

func execute(db *sqlite.DB, tb testing.TB, sql string, args ...any) ([]sqlite.Affected, store.Commit, error) {
	var vals []record.Value
	for _, a := range args {
		vals = append(vals, record.Of(a))
	}
	return db.Exec(tb.Context(), sqlite.Request{Statements: []sqlite.Statement{{SQL: sql, Args: vals}}})
}

func mustExec(tb testing.TB, db *sqlite.DB, sql string, args ...any) store.Commit {
	tb.Helper()
	_, c, err := execute(db, tb, sql, args...)
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return c
}

func feedFrom(tb testing.TB, db *sqlite.DB) store.Feed {
	tb.Helper()
	s, err := db.Snapshot(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	defer s.Close()
	f, err := db.Feed(s.Position())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = f.Close() })
	return f
}

func withheld(tb testing.TB, db *sqlite.DB) []store.Withheld {
	tb.Helper()
	s, err := db.Snapshot(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	defer s.Close()
	out, err := s.Withheld()
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func deliverAll(tb testing.TB, db *sqlite.DB, w record.Writer) []record.Delivery {
	tb.Helper()
	s, err := db.Snapshot(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	defer s.Close()
	out, err := s.Deliver(w, record.Range{From: 1, To: 1 << 50}, 1<<30)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func states(tb testing.TB, db *sqlite.DB) []store.WriterState {
	tb.Helper()
	s, err := db.Snapshot(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	defer s.Close()
	out, err := s.Writers()
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func same(tb testing.TB, what string, want, got any) {
	tb.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		tb.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// recount sums the fingerprints of what a store delivers: all it has must
// hash to what it says.
func recount(tb testing.TB, db *sqlite.DB) {
	tb.Helper()
	h := record.NewHasher("test", "region/iad")
	for _, ws := range states(tb, db) {
		var prints [3]record.Fingerprint
		for _, d := range deliverAll(tb, db, ws.Writer) {
			for _, c := range d.Changesets {
				for _, r := range c.Records {
					if !r.Deleted {
						prints[r.Kind-1] = prints[r.Kind-1].Add(h.Hash(r, c.Point()))
					}
				}
			}
		}
		same(tb, "fingerprints of "+ws.Writer.String(), prints, ws.Fingerprints)
	}
}

// logged is a log that is read while it is written.
type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// until looks until what is seen is wanted.
func until(t *testing.T, what string, look func() bool) {
	t.Helper()
	deadline, tick := time.After(20*time.Second), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !look() {
		select {
		case <-deadline:
			t.Fatalf("not within 20s: %s", what)
		case <-tick.C:
		}
	}
}
