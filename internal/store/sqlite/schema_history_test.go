package sqlite_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

var schemaSeeds = flag.Int("schema-seeds", 3, "random histories of TestRandomSchemasEndEqual")

// schemaHistory is nodes that load, write and exchange at random.
type schemaHistory struct {
	*region
	rnd   *rand.Rand
	files map[record.Node]map[string][]string // tables by name, with their columns
}

// parts are what the tables of a history may have. Those of one name exclude
// each other.
var parts = []string{
	"c TEXT", "c INTEGER", "d TEXT", "e INTEGER NOT NULL DEFAULT 1", "f TEXT NOT NULL DEFAULT 'x'", "h BLOB",
	"g TEXT AS (coalesce(id, '') || '!')",
}

func (h *schemaHistory) sql(n record.Node) string {
	var b strings.Builder
	for _, name := range []string{"t1", "t2", "t3"} {
		cols, there := h.files[n][name]
		if !there {
			continue
		}
		if name == "t3" {
			b.WriteString("-- firebreak: owned by node\nCREATE TABLE t3 (node TEXT NOT NULL, id TEXT NOT NULL, " + strings.Join(append(slices.Clone(cols), "PRIMARY KEY (node, id)"), ", ") + ");\n")
		} else {
			b.WriteString("CREATE TABLE " + name + " (" + strings.Join(append([]string{"id TEXT NOT NULL PRIMARY KEY"}, cols...), ", ") + ");\n")
		}
		if i := slices.IndexFunc(cols, func(c string) bool { return c == "d TEXT" }); i >= 0 {
			b.WriteString("CREATE INDEX " + name + "_d ON " + name + " (d);\n")
		}
	}
	return b.String()
}

// change makes a random change of a node's files and loads them. What is
// refused is put back.
func (h *schemaHistory) change(n record.Node) {
	h.tb.Helper()
	before := map[string][]string{}
	for name, cols := range h.files[n] {
		before[name] = slices.Clone(cols)
	}
	name := fmt.Sprintf("t%d", 1+h.rnd.IntN(3))
	cols, there := h.files[n][name]
	switch p := parts[h.rnd.IntN(len(parts))]; {
	case !there:
		h.files[n][name] = []string{p}
	case h.rnd.IntN(8) == 0:
		delete(h.files[n], name)
	default:
		same := func(c string) bool { return strings.Fields(c)[0] == strings.Fields(p)[0] }
		if had := slices.ContainsFunc(cols, same); had {
			h.files[n][name] = slices.DeleteFunc(cols, same)
		} else {
			h.files[n][name] = append(cols, p)
		}
	}
	err := h.tryLoad(n, h.sql(n))
	if _, refused := errors.AsType[*schema.Refusal](err); refused {
		h.files[n] = before
	} else if err != nil {
		h.tb.Fatalf("%s: %v\n%s", n, err, h.sql(n))
	}
}

// write changes a random row as far as the node's tables let it.
func (h *schemaHistory) write(n record.Node) {
	h.tb.Helper()
	if err := h.nodes[n].WaitSchema(h.tb.Context()); err != nil {
		h.tb.Fatal(err)
	}
	ts := h.nodes[n].Tables()
	if len(ts) == 0 {
		return
	}
	t := ts[h.rnd.IntN(len(ts))]
	id := fmt.Sprint("k", h.rnd.IntN(4))
	where, args := "id = ?", []any{id}
	if t.Kind == record.Owned {
		where, args = "node = ? AND id = ?", []any{string(n), id}
	}
	if h.rnd.IntN(6) == 0 {
		h.exec(n, "DELETE FROM "+t.Name+" WHERE "+where, args...)
		return
	}
	names := t.Names()[:len(t.Key)]
	vals := slices.Clone(args)
	var set []string
	for _, c := range t.Columns {
		if h.rnd.IntN(2) == 0 {
			continue
		}
		names = append(names, c.Name)
		set = append(set, c.Name+" = excluded."+c.Name)
		if c.Type == "INTEGER" {
			vals = append(vals, h.rnd.IntN(9))
		} else {
			vals = append(vals, fmt.Sprint(c.Name, h.rnd.IntN(9)))
		}
	}
	do := "NOTHING"
	if len(set) > 0 {
		do = "UPDATE SET " + strings.Join(set, ", ")
	}
	key := strings.Join(names[:len(t.Key)], ", ")
	h.exec(n, fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s) ON CONFLICT (%s) DO %s", t.Name, strings.Join(names, ", "),
		strings.TrimSuffix(strings.Repeat("?, ", len(vals)), ", "), key, do), vals...)
}

// visible is all that a node shows, whatever the order of columns.
func (h *schemaHistory) visible(n record.Node) string {
	h.tb.Helper()
	var b strings.Builder
	for _, t := range h.nodes[n].Tables() {
		cols := t.Shown()
		sort.Strings(cols)
		key := strings.Join(t.Names()[:len(t.Key)], ", ")
		rows := query(h.tb, h.nodes[n], fmt.Sprintf("SELECT %s FROM %s ORDER BY %s", strings.Join(cols, ", "), t.Name, key))
		fmt.Fprintln(&b, t.Name, cols, rows)
	}
	return b.String()
}

func TestRandomSchemasEndEqual(t *testing.T) {
	for seed := range *schemaSeeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { randomSchemas(t, uint64(seed)) })
	}
}

func randomSchemas(t *testing.T, seed uint64) {
	h := &schemaHistory{region: newRegion(t, "a", "b", "c"), rnd: rand.New(rand.NewPCG(seed, 1)), files: map[record.Node]map[string][]string{}}
	for _, n := range h.names {
		h.files[n] = map[string][]string{}
	}
	for range 120 {
		n := h.names[h.rnd.IntN(len(h.names))]
		switch h.rnd.IntN(10) {
		case 0, 1, 2:
			h.change(n)
		case 3, 4:
			h.pull(n, h.names[h.rnd.IntN(len(h.names))])
		case 5:
			if h.rnd.IntN(4) == 0 {
				h.stop(n)
				h.start(n)
			}
		default:
			h.write(n)
		}
	}
	h.heal()
	h.heal() // what was withheld over the cap of a moment
	h.equal()
	want := h.visible("a")
	for _, n := range h.names[1:] {
		if got := h.visible(n); got != want {
			t.Errorf("a shows\n%s%s shows\n%s", want, n, got)
		}
	}
	status := func(n record.Node) sqlite.SchemaStatus {
		s, err := h.nodes[n].SchemaStatus(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, n := range h.names {
		if a, b := status("a"), status(n); a.Received != b.Received || a.Effect != b.Effect || len(b.Pending) > 0 {
			t.Errorf("schema of a is %s in effect %s; of %s %s, %s, pending %v", a.Received, a.Effect, n, b.Received, b.Effect, b.Pending)
		}
	}
}
