package propagation_test

import (
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/propagation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

var (
	iad1    = truth.Place{Region: "iad", Worker: "w1"}
	node1   = propagation.Observer{Tier: propagation.Region, Region: "iad", Node: "w1"}
	node2   = propagation.Observer{Tier: propagation.Region, Region: "iad", Node: "w2"}
	foreign = propagation.Observer{Tier: propagation.Region, Region: "ams", Node: "w1"}
	global  = propagation.Observer{Tier: propagation.Global, Node: "g1"}
	router  = propagation.Observer{Tier: propagation.Router, Node: "r1"}
	catalog = propagation.Observer{Tier: propagation.Catalog, Node: "catalog"}
	start   = time.Unix(1_700_000_000, 0)
)

func tracker() *propagation.Tracker {
	t := propagation.New([]propagation.Observer{node1, node2, foreign, global, router, catalog})
	t.Resume()
	return t
}

func write(n uint64, id fleet.MachineID, isNew, first bool) propagation.Write {
	return propagation.Write{Number: n, Machine: truth.Machine{Place: iad1, ID: id, App: "web"}, New: isNew, First: first}
}

func after(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

func check(t *testing.T, got propagation.Summary, count int, p50, max float64) {
	t.Helper()
	if got.Count != count || got.P50 == nil || *got.P50 != p50 || *got.Max != max {
		t.Errorf("got %d samples, p50 %v, max %v; want %d, %v, %v", got.Count, deref(got.P50), deref(got.Max), count, p50, max)
	}
}

func deref(f *float64) float64 {
	if f == nil {
		return -1
	}
	return *f
}

func TestEveryTierIsMeasuredFromTheCommit(t *testing.T) {
	tr := tracker()
	w := write(1, "a", true, true)
	tr.Begin(w, start)
	tr.Seen(node1, iad1, "a", 1, after(10)) // before the acknowledgement: this is the commit
	tr.Acked(w, after(12))
	tr.Seen(node2, iad1, "a", 1, after(14))
	tr.Listed(global, "iad", "web", true, after(20))
	tr.Seen(router, iad1, "a", 1, after(30))
	tr.Seen(catalog, iad1, "a", 1, after(45))
	r := tr.Report(after(50))
	check(t, r[propagation.Region], 2, 0, 4)
	check(t, r[propagation.Global], 1, 10, 10)
	check(t, r[propagation.Router], 1, 20, 20)
	check(t, r[propagation.Catalog], 1, 35, 35)
}

func TestALaterWriteShowsTheEarlierOne(t *testing.T) {
	tr := tracker()
	for n := range uint64(2) {
		tr.Begin(write(n+1, "a", false, false), after(int(n)))
		tr.Acked(write(n+1, "a", false, false), after(int(n)))
	}
	for _, o := range []propagation.Observer{node1, node2, router} {
		tr.Seen(o, iad1, "a", 2, after(9))
	}
	if r := tr.Report(after(10)); r[propagation.Router].Count != 2 || r[propagation.Router].Unseen != 0 {
		t.Errorf("got %+v", r[propagation.Router])
	}
}

func TestWhatNobodyCouldSeeIsNotUnseen(t *testing.T) {
	tr := tracker()
	for n, id := range []fleet.MachineID{"a", "b"} {
		w := write(uint64(n+1), id, true, n == 0)
		tr.Begin(w, start)
		tr.Acked(w, start)
	}
	tr.Ended(iad1, "b", "web", false)
	tr.Ended(iad1, "other", "web", true) // the app has left the region
	for _, o := range []propagation.Observer{node1, node2, router, catalog} {
		tr.Seen(o, iad1, "a", 1, after(3))
	}
	r := tr.Report(start.Add(time.Hour))
	for tier, s := range r {
		if s.Unseen != 0 {
			t.Errorf("%s: %d unseen", tier, s.Unseen)
		}
	}
	if r[propagation.Global].Count != 0 || r[propagation.Global].P50 != nil || r[propagation.Router].Count != 1 {
		t.Errorf("got %+v", r)
	}
}

func TestAnAppThatIsStillListedIsNotWaitedForAtGlobal(t *testing.T) {
	tr := tracker()
	waits := func(n uint64, id fleet.MachineID) bool {
		tr.Begin(write(n, id, true, true), start)
		return len(tr.Awaited(global)) > 0
	}
	tr.Listed(global, "iad", "web", true, start)
	tr.Listed(global, "ams", "other", true, start)
	if waits(1, "a") {
		t.Error("the listing of an app that had just left is waited for")
	}
	tr.Listed(global, "iad", "web", false, start)
	if !waits(2, "b") {
		t.Error("the listing of an app that is not listed is not waited for")
	}
}

func TestWhatIsNotSeenInTimeIsCounted(t *testing.T) {
	tr := tracker()
	w := write(1, "a", true, false)
	tr.Begin(w, start)
	tr.Acked(w, after(1))
	tr.Seen(node1, iad1, "a", 1, after(2))
	r := tr.Report(start.Add(time.Hour))
	if r[propagation.Region].Count != 1 || r[propagation.Region].Unseen != 1 || r[propagation.Catalog].Unseen != 1 || r[propagation.Global].Unseen != 0 {
		t.Errorf("got %+v", r)
	}
}

func TestTheNumberOfWritesWaitedForIsBounded(t *testing.T) {
	tr := tracker()
	for n := range uint64(5000) {
		tr.Begin(write(n+1, fleet.MachineID(rune('a'+n)), true, false), start)
	}
	if n := len(tr.Awaited(router)); n != 256 {
		t.Errorf("%d writes are waited for, want 256", n)
	}
}

func TestNothingIsMeasuredBeforeResume(t *testing.T) {
	tr := propagation.New([]propagation.Observer{router})
	tr.Begin(write(1, "a", true, true), start)
	if n := len(tr.Awaited(router)); n != 0 {
		t.Errorf("%d writes are waited for", n)
	}
}

func TestPercentilesTakeTheNearestRank(t *testing.T) {
	tr := propagation.New([]propagation.Observer{router})
	tr.Resume()
	for n := range uint64(100) {
		w := write(n+1, "a", false, false)
		tr.Begin(w, start)
		tr.Acked(w, start)
		tr.Seen(router, iad1, "a", n+1, after(int(n+1)))
	}
	s := tr.Report(after(1))[propagation.Router]
	check(t, s, 100, 50, 100)
	if *s.P99 != 99 {
		t.Errorf("p99 is %v, want 99", *s.P99)
	}
}
