package sqlite_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/memory"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// workload is what several starts of several nodes wrote over a few keys of
// every kind of table, with all in it that a node may have to withhold.
func workload(t *testing.T, rng *rand.Rand, now time.Time) []record.Delivery {
	ts := tables(t)
	var out []record.Delivery
	for _, node := range []string{"w2", "w3", "w4"} {
		for boot := range uint64(2) {
			w := record.Writer{Node: record.Node(node), Boot: 10 + boot, Bits: boot + 1}
			for v := 1; v <= 25; v++ {
				records := map[string]record.Record{}
				for range 1 + rng.IntN(4) {
					r := someRecord(t, rng, node, v, now)
					records[fmt.Sprint(r.Table, r.Key)] = r
				}
				d := pushed(w, record.Version(v))
				for _, k := range slices.Sorted(func(yield func(string) bool) {
					for k := range records {
						if !yield(k) {
							return
						}
					}
				}) {
					d.Changesets[0].Records = append(d.Changesets[0].Records, records[k])
				}
				out = append(out, d)
			}
		}
	}
	evict := recordOf(ts[3], store.Row{record.Of("w3"), record.Of(10)}, "")
	return append(out, pushed(record.Writer{Node: "w5", Boot: 5, Bits: 1}, 1, evict))
}

func someRecord(t *testing.T, rng *rand.Rand, node string, v int, now time.Time) record.Record {
	ts := tables(t)
	id := record.Of(string(rune('a' + rng.IntN(5))))
	stamp := hlc.At(now.Add(-time.Duration(rng.IntN(4))*time.Second)) + hlc.Timestamp(v)
	if rng.IntN(8) == 0 {
		stamp = hlc.At(now.Add(time.Hour)) + hlc.Timestamp(v)
	}
	dead := func(r record.Record) record.Record {
		r.Deleted, r.Cells = true, nil
		return r
	}
	row := store.Row{record.Of(node), id, record.Of(fmt.Sprint("app", v)), {}, {}}
	note := store.Row{id, record.Of(fmt.Sprint(node, v)), record.Of(v)}
	switch rng.IntN(10) {
	case 0:
		row[2] = record.Of("bad") // the CHECK refuses it
		return recordOf(ts[0], row, "")
	case 1:
		row[0] = record.Of("w4") // mostly another's
		return recordOf(ts[0], row, "")
	case 2:
		return dead(recordOf(ts[0], row, ""))
	case 3, 4:
		return recordOf(ts[1], note, record.StampOrder(stamp))
	case 5:
		return dead(recordOf(ts[1], note, record.StampOrder(stamp)))
	case 6, 7:
		return recordOf(ts[2], store.Row{id, record.Of(rng.IntN(5)), record.Of(fmt.Sprint(node, v))}, "")
	case 8:
		r := recordOf(ts[1], note, record.StampOrder(stamp))
		r.Table = 4711 // nobody knows it
		return r
	}
	return recordOf(ts[0], row, "")
}

// content is what a store shows and what it has.
type content struct {
	rows   map[string][]store.Row
	states []store.WriterState
}

func contentOf(t *testing.T, st store.Store) content {
	t.Helper()
	s, err := st.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := content{rows: map[string][]store.Row{}}
	for _, table := range st.Tables() {
		err := s.Scan(table.Name, nil, func(r store.Row, _ record.Point, _ int64) error {
			c.rows[table.Name] = append(c.rows[table.Name], r)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if c.states, err = s.Writers(); err != nil {
		t.Fatal(err)
	}
	c.states = slices.DeleteFunc(c.states, func(w store.WriterState) bool { return w.Received.Head == 0 })
	return c
}

// image copies a database as it is on disk at this moment: what a crash of the
// process, or a restored image, would leave.
func image(t *testing.T, from, to string) {
	t.Helper()
	for _, ext := range []string{"", "-wal"} {
		data, err := os.ReadFile(from + ext)
		if err == nil {
			err = os.WriteFile(to+ext, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// However a workload comes (in which order, in how big batches, how often, and
// over how many crashes, some of them of a decoder), the end is the same, and
// is what the plain model in memory has.
func TestWorkloadEndsEqualHoweverItComes(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 5))
		all := workload(t, rng, now)
		model, err := memory.Open(memory.Config{
			Fleet: "test", Cluster: "region/iad", Node: "w1", Tables: tables(t)[:4], Now: clock,
			Check: func(table string, row store.Row) error {
				if table == "machines" && row[2].Data == "bad" {
					return errors.New("bad")
				}
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := model.Apply(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		want := contentOf(t, model)
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		got := throughCrashes(t, rng, all, clock)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(content{})); diff != "" {
			t.Fatalf("seed %d (-model +store):\n%s", seed, diff)
		}
	}
}

func throughCrashes(t *testing.T, rng *rand.Rand, all []record.Delivery, now func() time.Time) content {
	t.Helper()
	dir, n := t.TempDir(), 0
	panics := rng.IntN(200)
	trip := func(string, store.Row) {
		if panics--; panics == 0 {
			panics = 50 + rng.IntN(200)
			panic("once")
		}
	}
	path := func() string { return filepath.Join(dir, fmt.Sprintf("node%d.db", n)) }
	open := func() *sqlite.DB {
		return openAt(t, path(), sqlite.Config{Now: now, Trip: trip, Durability: sqlite.OS})
	}
	db := open()
	for rest := all; len(rest) > 0; {
		k := min(len(rest), 1+rng.IntN(40))
		batch := slices.Concat(rest[:k], all[:rng.IntN(3)])
		for i, o := range apply(t, db, batch...) {
			if o.Status == store.Rejected {
				t.Fatalf("%v: %v", batch[i].Writer, o.Err)
			}
		}
		rest = rest[k:]
		if rng.IntN(3) == 0 {
			old := path()
			n++
			image(t, old, path())
			db = open()
		}
	}
	sound(t, db)
	return contentOf(t, db)
}
