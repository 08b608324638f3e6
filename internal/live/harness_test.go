package live_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/live"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

const schemaSQL = `
CREATE TABLE m (id TEXT NOT NULL PRIMARY KEY, app TEXT NOT NULL DEFAULT '', port INTEGER, note BLOB);
CREATE TABLE a (name TEXT NOT NULL, zone INTEGER NOT NULL, owner TEXT, PRIMARY KEY (name, zone));
CREATE TABLE words (w TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID;
-- firebreak: local
CREATE TABLE scratch (k TEXT PRIMARY KEY NOT NULL, v INTEGER);
`

// node is a store with an engine that follows it.
type node struct {
	t    testing.TB
	dir  string
	db   *sqlite.DB
	e    *live.Engine
	stop func()
	cfg  live.Config
	sql  string
	more func(*sqlite.Config)
}

// definitions has a node take users' tables from definitions.
func definitions(n *node) {
	n.sql = "CREATE TABLE m (id TEXT NOT NULL PRIMARY KEY, app TEXT NOT NULL DEFAULT '', port INTEGER, note BLOB)"
	n.more = func(c *sqlite.Config) { c.Definitions, c.Views = true, nil }
}

func plainStore(*sqlite.Config) {}

func newNode(t testing.TB, cfg live.Config, options ...func(*node)) *node {
	n := &node{t: t, dir: t.TempDir(), cfg: cfg, sql: schemaSQL, more: plainStore}
	for _, o := range options {
		o(n)
	}
	n.start()
	t.Cleanup(func() { n.stop() })
	return n
}

func (n *node) start() {
	n.t.Helper()
	tables, err := sqlite.ParseSQL(n.sql)
	if err != nil {
		n.t.Fatal(err)
	}
	stored := sqlite.Config{
		Path: filepath.Join(n.dir, "node.db"), Fleet: "f", Cluster: "region/r", Node: "w1", Tables: tables, Durability: sqlite.OS,
		Views: []string{"CREATE VIEW ports AS SELECT app, port FROM m WHERE port > 10", "CREATE VIEW clocked AS SELECT id FROM m WHERE note > datetime('now')"},
	}
	n.more(&stored)
	n.db, err = sqlite.Open(n.t.Context(), stored)
	if err != nil {
		n.t.Fatal(err)
	}
	cfg := n.cfg
	cfg.DB, cfg.Path = n.db, filepath.Join(n.dir, "watches.journal")
	if n.e, err = live.New(cfg); err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.e.Run(ctx) }()
	n.stop = func() {
		cancel()
		if err := errors.Join(<-done, n.db.Close()); err != nil {
			n.t.Error(err)
		}
		n.stop = func() {}
	}
}

func (n *node) exec(sql string, args ...any) {
	n.t.Helper()
	if err := n.try(sql, args...); err != nil {
		n.t.Fatalf("%s: %v", sql, err)
	}
}

func (n *node) try(sql string, args ...any) error {
	_, _, err := n.db.Exec(context.Background(), sqlite.Request{Statements: []sqlite.Statement{{SQL: sql, Args: values(args)}}})
	return err
}

func values(args []any) []record.Value {
	var out []record.Value
	for _, a := range args {
		out = append(out, record.Of(a))
	}
	return out
}

// query runs a query afresh.
func (n *node) query(sql string, args ...any) []store.Row {
	n.t.Helper()
	var out []store.Row
	_, err := n.db.Query(context.Background(), sqlite.Query{SQL: sql, Args: values(args)}, func(_ []string, r store.Row) error {
		if r != nil {
			out = append(out, r)
		}
		return nil
	})
	if err != nil {
		n.t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// reader replays a watch as a client does.
type reader struct {
	t    testing.TB
	n    *node
	w    *live.Watch
	rows map[uint64]store.Row
	last uint64
}

func (n *node) watch(sql string, args ...any) *reader {
	n.t.Helper()
	w, err := n.e.Open(n.ctx(), sql, values(args))
	if err != nil {
		n.t.Fatalf("watch %s: %v", sql, err)
	}
	rows, last, err := live.Whole(n.ctx(), w)
	if err != nil {
		n.t.Fatalf("watch %s: %v", sql, err)
	}
	r := &reader{t: n.t, n: n, w: w, rows: map[uint64]store.Row{}, last: last}
	for _, row := range rows {
		r.rows[row.ID] = row.Cells
	}
	return r
}

func (n *node) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	n.t.Cleanup(cancel)
	return ctx
}

// take applies changes, and fails on what a client would choke on.
func (r *reader) take(cs []live.Change) {
	r.t.Helper()
	for _, c := range cs {
		if c.ID != r.last+1 {
			r.t.Fatalf("change %d follows %d", c.ID, r.last)
		}
		r.last = c.ID
		had, known := r.rows[c.Row.ID]
		switch {
		case c.Kind == live.Insert && known, c.Kind != live.Insert && !known:
			r.t.Fatalf("%v of row %d, known: %v", c.Kind, c.Row.ID, known)
		case c.Kind == live.Delete:
			if !slices.EqualFunc(had, c.Row.Cells, record.Value.Equal) {
				r.t.Fatalf("row %d is deleted as %v, it was %v", c.Row.ID, c.Row.Cells, had)
			}
			delete(r.rows, c.Row.ID)
		default:
			r.rows[c.Row.ID] = c.Row.Cells
		}
	}
}

// next waits for the next changes.
func (r *reader) next() []live.Change {
	r.t.Helper()
	cs, err := r.w.Next(r.n.ctx(), r.last)
	if err != nil {
		r.t.Fatal(err)
	}
	r.take(cs)
	return cs
}

// settle waits until the replayed rows are those of a fresh query.
func (r *reader) settle(sql string, args ...any) {
	r.t.Helper()
	want := texts(r.n.query(sql, args...))
	deadline := r.n.ctx()
	for {
		var got []store.Row
		for _, row := range r.rows {
			got = append(got, row)
		}
		if slices.Equal(texts(got), want) {
			return
		}
		cs, err := r.w.Next(deadline, r.last)
		if err != nil {
			r.t.Fatalf("%s: %v\nreplayed: %v\nfresh:    %v", sql, err, texts(got), want)
		}
		r.take(cs)
	}
}

func texts(rows []store.Row) []string {
	out := make([]string, 0, len(rows))
	for _, r := range rows {
		s := ""
		for _, v := range r {
			s += v.String() + "|"
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}
