package replicatest_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/replica/replicatest"
)

// lifeOfClocks has nodes write shared rows under clocks that are minutes behind
// or up to a year ahead, jump, and come right again, while links are cut and
// nodes end. Each node that was ahead resets its clock once it is right; at the
// end all are.
func lifeOfClocks(seed uint64) (w *replicatest.World, resets, again int) {
	w = cluster(replicatest.Config{Seed: seed, Loss: 0.05, Duplicate: 0.05, Delay: 20 * time.Millisecond, Close: true}, 4)
	wrong := map[*replicatest.Node]bool{}
	right := func(n *replicatest.Node) {
		n.Skew = 0
		if wrong[n] {
			r := n.ResetClock()
			resets, again = resets+1, again+r.Again
		}
		delete(wrong, n)
	}
	for range 60 {
		r := w.Random()
		n, o := w.Nodes()[r.IntN(4)], w.Nodes()[r.IntN(4)]
		if !n.Up() {
			n.Start()
			continue
		}
		switch r.IntN(12) {
		case 0:
			n.Skew, wrong[n] = time.Duration(r.Int64N(int64(365*24*time.Hour))), true
		case 1:
			n.Skew = -time.Duration(r.Int64N(int64(10 * time.Minute)))
		case 2:
			right(n)
		case 3:
			w.Cut(n, o)
		case 4:
			w.Join(n, o)
		case 5:
			n.Stop()
		case 6:
			n.DeleteShared(string(rune('x' + r.IntN(3))))
		default:
			n.PutShared(string(rune('x'+r.IntN(3))), r.IntN(1000))
		}
		w.Run(time.Duration(r.Int64N(int64(time.Second))))
	}
	for _, n := range w.Nodes() {
		if !n.Up() {
			n.Start()
		}
		right(n)
	}
	w.Heal()
	return w, resets, again
}

// Whatever clocks did: once they are right and reset, all nodes become equal,
// nothing waits for a time to come, and what is written then stands everywhere.
func TestClockResetsEndWhatBadClocksDid(t *testing.T) {
	seeds := uint64(150)
	if testing.Short() {
		seeds = 30
	}
	resets, again := 0, 0
	for seed := range seeds {
		w, r, a := lifeOfClocks(seed)
		resets, again = resets+r, again+a
		if !w.RunUntil(10*time.Minute, w.Equal) {
			t.Fatalf("seed %d: nodes are not equal ten minutes after the clocks were right", seed)
		}
		for i, n := range w.Nodes() {
			for _, id := range []string{"x", "y", "z"} {
				if c := n.PutShared(id, 2000+i); c.Point.Version == 0 {
					t.Fatalf("seed %d: %s may still not write", seed, n.Name)
				}
			}
			w.Run(2 * time.Second)
		}
		if !w.RunUntil(10*time.Minute, w.Equal) {
			t.Fatalf("seed %d: nodes are not equal after the last writes", seed)
		}
		for _, n := range w.Nodes() {
			snap, err := n.Store.Snapshot(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if held, err := snap.Withheld(); err != nil || len(held) > 0 {
				t.Errorf("seed %d: %s withholds %+v, %v", seed, n.Name, held, err)
			}
		}
		if t.Failed() {
			return
		}
		rows := w.Nodes()[0].Rows()
		for _, id := range []string{"x", "y", "z"} {
			if want := fmt.Sprintf(`notes ["%s" 2003]`, id); !slices.Contains(rows, want) {
				t.Fatalf("seed %d: rows %v, want %s", seed, rows, want)
			}
		}
	}
	t.Logf("%d clock resets stamped %d records again", resets, again)
	if resets == 0 || again == 0 {
		t.Error("no clock was reset, or nothing was stamped ahead: the lives show nothing")
	}
}
