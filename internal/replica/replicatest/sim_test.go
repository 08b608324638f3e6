package replicatest_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/replica/replicatest"
)

// cluster starts n nodes and lets them meet.
func cluster(cfg replicatest.Config, n int) *replicatest.World {
	cfg.Tables = replicatest.Tables()
	if cfg.Delay == 0 {
		cfg.Delay = 4 * time.Millisecond
	}
	w := replicatest.New(cfg)
	for i := range n {
		w.Add(record.Node(fmt.Sprintf("n%02d", i))).Start()
	}
	w.Run(2 * time.Second)
	return w
}

// churn has random nodes write random rows of every kind for a while.
func churn(w *replicatest.World, writes int, every time.Duration) {
	for i := range writes {
		n := w.Nodes()[w.Random().IntN(len(w.Nodes()))]
		id := fmt.Sprint("row", w.Random().IntN(20))
		if n.Up() {
			switch w.Random().IntN(8) {
			case 0:
				n.DeleteOwned(id)
			case 1:
				n.PutShared(id, i)
			case 2:
				n.PutRanked(id, w.Random().IntN(50), i)
			default:
				n.PutOwned(id, i)
			}
		}
		w.Run(time.Duration(w.Random().Int64N(int64(2*every) + 1)))
	}
}

// checkEqual wants all nodes equal within d, without a gap or damage.
func checkEqual(t *testing.T, w *replicatest.World, d time.Duration) {
	t.Helper()
	if !w.RunUntil(d, w.Equal) {
		t.Fatalf("nodes are not equal after %v", d)
	}
	want := w.Nodes()[0].Rows()
	for _, n := range w.Nodes() {
		if got := n.Rows(); !slices.Equal(want, got) {
			t.Errorf("%s shows %v, %s shows %v", n.Name, got, w.Nodes()[0].Name, want)
		}
		if s := n.Core.Stats(); s.Gaps > 0 || s.Damaged > 0 || s.Malformed > 0 || s.Foreign > 0 {
			t.Errorf("%s: %+v", n.Name, s)
		}
	}
}

func totals(w *replicatest.World) (s replica.Stats) {
	for _, n := range w.Nodes() {
		o := n.Core.Stats()
		s.Written, s.Arrived, s.Taken = s.Written+o.Written, s.Arrived+o.Arrived, s.Taken+o.Taken
		s.Timeouts, s.Duplicates = s.Timeouts+o.Timeouts, s.Duplicates+o.Duplicates
	}
	return s
}

// Steady state costs one payload per delivery: push alone suffices, and sync
// never repeats what is on its way.
func TestWithoutLossEachDeliveryIsSentOnce(t *testing.T) {
	w := cluster(replicatest.Config{Seed: 1, Delay: 20 * time.Millisecond}, 8)
	churn(w, 2000, 3*time.Millisecond)
	checkEqual(t, w, 5*time.Second)
	s := totals(w)
	ratio := float64(s.Arrived) / float64(s.Taken)
	t.Logf("%d written, %d deliveries, %d payloads: %.3f each", s.Written, s.Taken, s.Arrived, ratio)
	if s.Taken != s.Written*7 || ratio > 1.05 {
		t.Errorf("%d deliveries for %d changesets at 7 peers, %.3f payloads each, want at most 1.05", s.Taken, s.Written, ratio)
	}
}

func TestUnderLossDeliveriesCostLittleMore(t *testing.T) {
	w := cluster(replicatest.Config{Seed: 2, Loss: 0.05, Delay: 20 * time.Millisecond}, 8)
	churn(w, 2000, 3*time.Millisecond)
	w.Heal()
	checkEqual(t, w, 30*time.Second)
	s := totals(w)
	ratio := float64(s.Arrived) / float64(s.Taken)
	t.Logf("%d written, %d deliveries, %d payloads: %.3f each", s.Written, s.Taken, s.Arrived, ratio)
	if ratio > 1.5 {
		t.Errorf("%.3f payloads per delivery, want at most 1.5", ratio)
	}
}

// A cluster at rest sends a root now and then and nothing else.
func TestRestCostsSixteenBytes(t *testing.T) {
	w := cluster(replicatest.Config{Seed: 3}, 4)
	churn(w, 50, time.Millisecond)
	checkEqual(t, w, 5*time.Second)
	w.Run(3 * time.Second)
	frames, bytes := w.Frames, w.Bytes
	w.Run(time.Minute)
	frames, bytes = w.Frames-frames, w.Bytes-bytes
	if want := 4 * 60 * 2; frames > want*5/4 || bytes != frames*17 {
		t.Errorf("%d frames of %d bytes in a minute; want about %d of a kind byte and a root each", frames, bytes, want)
	}
}

// faults is a run with everything that a network and a host do.
func faults(seed uint64) *replicatest.World {
	w := cluster(replicatest.Config{Seed: seed, Loss: 0.1, Duplicate: 0.1, Delay: 30 * time.Millisecond}, 5)
	for range 12 {
		n, o := w.Nodes()[w.Random().IntN(5)], w.Nodes()[w.Random().IntN(5)]
		switch w.Random().IntN(5) {
		case 0, 1:
			w.Cut(n, o)
		case 2:
			w.Join(n, o)
		case 3:
			if n.Up() {
				n.Crash()
			} else {
				n.Start()
			}
		case 4:
			if n.Up() {
				n.Stop()
			} else {
				n.Start()
			}
		}
		churn(w, 20, 20*time.Millisecond)
	}
	for _, n := range w.Nodes() {
		if !n.Up() {
			n.Start()
		}
	}
	w.Heal()
	return w
}

func TestEveryFaultHeals(t *testing.T) {
	seeds := uint64(30)
	if testing.Short() {
		seeds = 8
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			checkEqual(t, faults(seed), 30*time.Second)
		})
	}
}

func TestEqualSeedsGiveEqualTraces(t *testing.T) {
	for seed := range uint64(5) {
		if a, b := faults(seed).Trace(), faults(seed).Trace(); a != b {
			t.Errorf("seed %d: traces %x and %x", seed, a, b)
		}
	}
	if faults(1).Trace() == faults(2).Trace() {
		t.Error("two seeds give one trace: it holds nothing")
	}
}

// A node that comes late or was away gets everything, newest writer first,
// within the bytes that it asks for at once.
func TestLateNodeCatchesUp(t *testing.T) {
	w := cluster(replicatest.Config{Seed: 4}, 3)
	late := w.Add("late")
	churn(w, 3000, 0)
	late.Start()
	began := w.Now()
	checkEqual(t, w, 30*time.Second)
	if d := w.Now() - began; d > 5*time.Second {
		t.Errorf("caught up after %v", d)
	}
}

// A link that passes frames one way only still lets its ends become equal
// through others.
func TestSyncIsTransitive(t *testing.T) {
	w := cluster(replicatest.Config{Seed: 5}, 3)
	a, b := w.Nodes()[0], w.Nodes()[1]
	w.Cut(a, b)
	for i := range 10 {
		a.PutOwned("x", i)
		b.PutOwned("x", i)
	}
	checkEqual(t, w, 20*time.Second)
}

// A peer that takes questions and answers none costs a time-out, no more.
func TestSilentPeerIsPassedOver(t *testing.T) {
	w := cluster(replicatest.Config{Seed: 6}, 3)
	a, b, c := w.Nodes()[0], w.Nodes()[1], w.Nodes()[2]
	w.Cut(a, c)
	a.PutOwned("x", 1)
	w.Run(time.Second)
	w.Join(a, c)
	w.Cut(c, b) // whatever c asks of b is lost
	began := w.Now()
	if !w.RunUntil(10*time.Second, func() bool { return c.Core.Root() == a.Core.Root() }) {
		t.Fatal("c did not catch up")
	}
	if d := w.Now() - began; d > 5*time.Second {
		t.Errorf("c caught up after %v", d)
	}
}
