package replicatest_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica/replicatest"
)

// closingCluster starts n nodes that close their earlier writers.
func closingCluster(seed uint64, n int) *replicatest.World {
	return cluster(replicatest.Config{Seed: seed, Close: true}, n)
}

func closedAll(w *replicatest.World) func() bool {
	return func() bool {
		return !slices.ContainsFunc(w.Nodes(), func(n *replicatest.Node) bool { return n.Up() && !n.Core.Stats().Closing.Done })
	}
}

func TestRestartedNodesCloseAndForget(t *testing.T) {
	w := closingCluster(1, 3)
	for _, n := range w.Nodes() {
		n.PutOwned("kept", 7)
		n.DeleteOwned("kept")
		n.PutOwned("kept", 7)
		n.Stop()
		n.Start()
	}
	if !w.RunUntil(time.Minute, closedAll(w)) {
		t.Fatalf("not closed after a minute: %+v", w.Nodes()[0].Core.Stats().Closing)
	}
	checkEqual(t, w, 10*time.Second)
	if w.Closings < 6 {
		t.Errorf("%d closings of 3 nodes in two starts each", w.Closings)
	}
	forgot := 0
	for _, n := range w.Nodes() {
		w.Run(10 * 24 * time.Hour / 1000)
		forgot += n.Collect().Writers
	}
	checkEqual(t, w, 10*time.Second)
	if forgot == 0 {
		t.Error("no writer was forgotten")
	}
	for _, n := range w.Nodes() {
		if !slices.ContainsFunc(n.Rows(), func(r string) bool { return r == fmt.Sprintf("things [%q \"kept\" 7]", n.Name) }) {
			t.Errorf("%s lost its row over the closing: %v", n.Name, n.Rows())
		}
	}
}

// A node that is down is waited for, and named; an eviction ends the wait.
func TestClosingWaitsForTheDead(t *testing.T) {
	w := closingCluster(2, 3)
	churn(w, 20, 5*time.Millisecond)
	a, c := w.Nodes()[0], w.Nodes()[2]
	c.Stop()
	a.Stop()
	a.Start()
	w.Run(time.Minute)
	if s := a.Core.Stats().Closing; s.Done || !slices.Equal(s.Waiting, []record.Node{c.Name}) {
		t.Errorf("with %s down: %+v", c.Name, s)
	}
	c.Start()
	if !w.RunUntil(time.Minute, closedAll(w)) {
		t.Errorf("with %s back: %+v", c.Name, a.Core.Stats().Closing)
	}
}

// Who was away while deletes were collected gets a listing, below its head's
// floor and below a gap's, and shows no deleted row.
func TestLongAbsentNodeGetsAListing(t *testing.T) {
	w := closingCluster(3, 3)
	late := w.Nodes()[2]
	for i := range 20 {
		w.Nodes()[i%3].PutOwned(fmt.Sprint("x", i), i)
		w.Nodes()[i%3].PutShared(fmt.Sprint("s", i), i)
	}
	checkEqual(t, w, 10*time.Second)
	late.Stop()
	for i := range 20 {
		if n := w.Nodes()[i%3]; n != late {
			n.DeleteOwned(fmt.Sprint("x", i))
		}
		w.Nodes()[i%2].DeleteShared(fmt.Sprint("s", i))
	}
	w.Run(time.Minute)
	collected := 0
	for _, n := range w.Nodes()[:2] {
		n.Skew += 30 * 24 * time.Hour
		collected += n.Collect().Tombstones
	}
	if collected == 0 {
		t.Fatal("nothing was collected: the test shows nothing")
	}
	late.Skew += 30 * 24 * time.Hour
	late.Start()
	checkEqual(t, w, time.Minute)
	if n := late.Core.Stats().Listings; n == 0 {
		t.Error("it caught up without a listing")
	}
}
