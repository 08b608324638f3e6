package replicatest_test

import (
	"flag"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/replica/replicatest"
)

var histories = flag.Int("histories", 2000, "random histories of the identity laws")

func TestIdentityLaws(t *testing.T) {
	n := *histories
	if testing.Short() {
		n = min(n, 300)
	}
	var hits replicatest.Hits
	for seed := range uint64(n) {
		h, err := replicatest.RunHistory(seed, false)
		if err != nil {
			t.Fatal(err)
		}
		hits.Add(h)
	}
	t.Logf("%d histories: %+v", n, hits)
	for name, n := range map[string]int{
		"writes": hits.Writes, "refused writes": hits.Refused, "clean stops": hits.Stops, "crashes": hits.Crashes, "images put back": hits.PutBack,
		"stale copies restored": hits.Restored, "backward clocks": hits.ClockBack, "renewed writers": hits.Renewed, "starts that met nobody": hits.Weak,
	} {
		if n == 0 && !testing.Short() { // few histories need not have everything
			t.Errorf("no %s: the run is no evidence", name)
		}
	}
}

// A writer that goes on after a clean stop uses versions twice as soon as an
// image of that disk is put back.
func TestContinuingTheWriterIsCaught(t *testing.T) {
	const within = 200
	for seed := range uint64(within) {
		if _, err := replicatest.RunHistory(seed, true); err != nil {
			t.Logf("caught: %v", err)
			return
		}
	}
	t.Errorf("%d histories did not catch a writer that goes on after a clean stop", within)
}

func TestEqualSeedsGiveEqualHistories(t *testing.T) {
	for seed := range uint64(20) {
		a, errA := replicatest.RunHistory(seed, false)
		b, errB := replicatest.RunHistory(seed, false)
		if a != b || errA != nil || errB != nil {
			t.Errorf("seed %d: %+v, %v against %+v, %v", seed, a, errA, b, errB)
		}
	}
}
