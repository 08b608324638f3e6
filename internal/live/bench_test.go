package live_test

import (
	"fmt"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/live"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// BenchmarkCommitToEvent is a write and the event that it makes, one after the
// other, while other watches are followed that it does not concern.
func BenchmarkCommitToEvent(b *testing.B) {
	for _, others := range []int{0, 10, 10_000} {
		for name, sql := range map[string]string{"keyed": "SELECT id, port FROM m WHERE id = 'mine'", "query": "SELECT count(*), max(port) FROM m"} {
			b.Run(fmt.Sprintf("others=%d/%s", others, name), func(b *testing.B) {
				n := newNode(b, live.Config{})
				for i := range others {
					n.watch("SELECT id, port FROM m WHERE id = ?", fmt.Sprint("other", i))
				}
				n.exec("INSERT INTO m (id, port) VALUES ('mine', 0)")
				r := n.watch(sql)
				port := 0
				b.ReportAllocs()
				for b.Loop() {
					port++
					n.exec("UPDATE m SET port = ? WHERE id = 'mine'", port)
					cs, err := r.w.Next(b.Context(), r.last)
					if err != nil {
						b.Fatal(err)
					}
					r.last = cs[len(cs)-1].ID
				}
			})
		}
	}
}

// BenchmarkUnconcerned is a write that concerns none of many watches.
func BenchmarkUnconcerned(b *testing.B) {
	for _, watches := range []int{0, 10, 10_000} {
		b.Run(fmt.Sprintf("watches=%d", watches), func(b *testing.B) {
			n := newNode(b, live.Config{})
			for i := range watches {
				n.watch("SELECT id, port FROM m WHERE id = ?", fmt.Sprint("other", i))
			}
			port := 0
			b.ReportAllocs()
			for b.Loop() {
				port++
				n.exec("INSERT OR REPLACE INTO m (id, port) VALUES ('mine', ?)", port)
			}
		})
	}
}

// What a change costs is what it concerns: 300 watches of other keys are not
// looked at, and cost no memory.
func TestUnconcernedWatchesCostNothing(t *testing.T) {
	n := newNode(t, live.Config{})
	key, err := record.EncodeKey(record.Of("mine"))
	if err != nil {
		t.Fatal(err)
	}
	cost := func() float64 {
		row := store.Row{record.Of("mine"), record.Of("web"), record.Of(int64(1)), {}}
		c := store.Change{Table: "m", Key: key, New: row, OldKnown: true}
		if got := live.Concerned(n.e, c); got != 1 {
			t.Fatalf("a change concerns %d watches, want 1", got)
		}
		return testing.AllocsPerRun(100, func() { live.Concerned(n.e, c) })
	}
	n.watch("SELECT id, port FROM m WHERE id = 'mine'")
	before := cost()
	for i := range 300 {
		w, err := n.e.Open(t.Context(), "SELECT id, port FROM m WHERE id = ?", values([]any{fmt.Sprint("other", i)}))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Release()
	}
	n.quiet()
	looks := live.Looks(n.e)
	if after := cost(); after > before {
		t.Errorf("%v allocations beside 300 watches, %v beside none", after, before)
	}
	for i := range 20 {
		n.exec("INSERT OR REPLACE INTO m (id, port) VALUES ('nobody', ?)", i)
	}
	n.quiet()
	if after := live.Looks(n.e); after != looks {
		t.Errorf("20 changes that concern nobody made %v looks", after-looks)
	}
}
