package sqlite_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// region is some nodes that exchange what they have when told to.
type region struct {
	tb    testing.TB
	dir   string
	nodes map[record.Node]*sqlite.DB
	names []record.Node
	log   *slog.Logger // of nodes; nil for none
}

func newRegion(tb testing.TB, names ...record.Node) *region {
	r := &region{tb: tb, dir: tb.TempDir(), nodes: map[record.Node]*sqlite.DB{}, names: names}
	for _, n := range names {
		r.start(n)
	}
	tb.Cleanup(func() {
		for _, n := range names {
			r.stop(n)
		}
	})
	return r
}

func (r *region) start(n record.Node) {
	cfg := config(r.tb, filepath.Join(r.dir, string(n)+".db"), sqlite.Config{Node: n, Tables: []schema.Table{}, Definitions: true, Durability: sqlite.OS, Logger: r.log})
	db, err := sqlite.Open(r.tb.Context(), cfg)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.nodes[n] = db
}

func (r *region) stop(n record.Node) {
	if err := r.nodes[n].Close(); err != nil {
		r.tb.Error(err)
	}
}

func (r *region) load(n record.Node, files string) {
	r.tb.Helper()
	if err := r.tryLoad(n, files); err != nil {
		r.tb.Fatal(err)
	}
}

func (r *region) tryLoad(n record.Node, files string) error {
	r.tb.Helper()
	ts, err := sqlite.ParseSQL(files)
	if err != nil {
		return err
	}
	_, err = r.nodes[n].LoadSchema(r.tb.Context(), sqlite.SchemaLoad{Tables: ts, Who: "test"})
	return err
}

// pull gives a node what another has and it has not.
func (r *region) pull(to, from record.Node) {
	r.tb.Helper()
	s, err := r.nodes[from].Snapshot(r.tb.Context())
	if err != nil {
		r.tb.Fatal(err)
	}
	defer s.Close()
	ws, err := s.Writers()
	if err != nil {
		r.tb.Fatal(err)
	}
	for _, w := range ws {
		if w.Writer.Node == to {
			continue
		}
		ds, err := s.Deliver(w.Writer, record.Range{From: 1, To: 1 << 50}, 1<<30)
		if err != nil {
			r.tb.Fatal(err)
		}
		apply(r.tb, r.nodes[to], ds...)
	}
}

// heal lets everybody have everything, and waits until it is in effect.
func (r *region) heal() {
	r.tb.Helper()
	for _, a := range r.names {
		for _, b := range r.names {
			if a != b {
				r.pull(a, b)
			}
		}
	}
	r.settle()
}

func (r *region) settle() {
	r.tb.Helper()
	for _, n := range r.names {
		if err := r.nodes[n].WaitSchema(r.tb.Context()); err != nil {
			r.tb.Fatal(err)
		}
	}
}

func (r *region) exec(n record.Node, sql string, args ...any) store.Commit {
	r.tb.Helper()
	return mustExec(r.tb, r.nodes[n], sql, args...)
}

// all asks every node, and fails unless all answer want.
func (r *region) all(sql, want string) {
	r.tb.Helper()
	for _, n := range r.names {
		if got := fmt.Sprint(query(r.tb, r.nodes[n], sql)); got != want {
			r.tb.Errorf("%s: %s: %s, want %s", n, sql, got, want)
		}
	}
}

// prints are what a node says of the rows of every writer, after it was made
// sure that they are what it serves.
func (r *region) prints(n record.Node) string {
	r.tb.Helper()
	recount(r.tb, r.nodes[n])
	var b strings.Builder
	for _, ws := range states(r.tb, r.nodes[n]) {
		fmt.Fprintf(&b, "%v %v %v\n", ws.Writer, ws.Received, ws.Fingerprints)
	}
	return b.String()
}

func (r *region) equal() {
	r.tb.Helper()
	want := r.prints(r.names[0])
	for _, n := range r.names[1:] {
		if got := r.prints(n); got != want {
			r.tb.Errorf("%s has\n%s%s has\n%s", r.names[0], want, n, got)
		}
	}
}

// A statement that is kept from before a change of the schema means what it
// says after it.
func TestStatementsSeeTheSchemaOfNow(t *testing.T) {
	r := newRegion(t, "w1")
	r.load("w1", "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, a TEXT)")
	const sql = "INSERT INTO t (id) SELECT coalesce(max(id), 0) + 1 FROM t RETURNING *"
	insert := func(id int) []sqlite.Affected {
		t.Helper()
		out, _, err := execute(r.nodes["w1"], t, sql)
		if err != nil {
			t.Fatal(err)
		}
		if out[0].Result[0][0].Int != int64(id) {
			t.Errorf("row %v, want %d", out[0].Result, id)
		}
		return out
	}
	insert(1)
	insert(2)
	r.load("w1", "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, a TEXT, c TEXT NOT NULL DEFAULT 'new')")
	r.settle()
	if out := insert(3); len(out[0].Columns) != 3 || out[0].Result[0][2].Data != "new" {
		t.Errorf("%v, %v", out[0].Columns, out[0].Result)
	}
	r.load("w1", "CREATE TABLE other (id INTEGER NOT NULL PRIMARY KEY)")
	r.settle()
	if _, _, err := execute(r.nodes["w1"], t, sql); err == nil {
		t.Error("wrote a table that is dropped")
	}
}
