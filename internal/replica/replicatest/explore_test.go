package replicatest_test

import (
	"flag"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica/replicatest"
	"github.com/firebreak-dev/firebreak/internal/store/memory"
)

var deletes = flag.Int("deletes", 300, "random lives of deletes per kind of table")

func TestDeleteLaws(t *testing.T) {
	for _, k := range record.Kinds {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			var hits replicatest.DeleteHits
			for seed := range uint64(*deletes) {
				h, err := replicatest.RunDeletes(replicatest.DeletesConfig{Seed: seed, Kind: k})
				if err != nil {
					t.Fatal(err)
				}
				hits.Add(h)
			}
			t.Logf("%d lives: %+v", *deletes, hits)
		})
	}
}

// Each rule of deletes, left out, fails in these lives. The kind is the one
// whose lives show it soonest.
func TestDeleteMutantsAreCaught(t *testing.T) {
	for _, c := range []struct {
		mutant memory.Mutant
		rule   replicatest.Break
		kind   record.Kind
	}{
		{mutant: memory.RangesOnly, kind: record.Shared},
		{mutant: memory.HeadOnly, kind: record.Shared},
		{mutant: memory.LiveOnly, kind: record.Shared},
		{mutant: memory.PerWriter, kind: record.Shared},
		{mutant: memory.CloseShared, kind: record.Shared},
		{rule: replicatest.IgnoreDead, kind: record.Owned},
		{rule: replicatest.AskNobody, kind: record.Owned},
	} {
		name := string(c.mutant) + string(c.rule)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const within = 500
			for seed := range uint64(within) {
				_, err := replicatest.RunDeletes(replicatest.DeletesConfig{Seed: seed, Kind: c.kind, Mutant: c.mutant, Break: c.rule})
				if err != nil {
					t.Logf("caught in life %d: %.300v", seed, err)
					return
				}
			}
			t.Errorf("%d lives did not catch it", within)
		})
	}
}
