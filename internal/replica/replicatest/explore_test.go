package replicatest_test

import (
	"flag"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica/replicatest"
	"github.com/firebreak-dev/firebreak/internal/store/memory"
)

var mutantLives = flag.Int("mutant-lives", 200, "random lives in which a mutant must be caught")

var life = flag.Int64("life", -1, "run this life alone, and print its steps")

var first = flag.Uint64("first", 0, "the first of the lives of deletes")

var stream = flag.Bool("stream", false, "with -life: one in which pushes bring all in order")

var deletes = flag.Int("deletes", 100, "random lives of deletes per kind of table")

func TestDeleteLaws(t *testing.T) {
	for _, k := range record.Kinds {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			if *life >= 0 {
				if _, err := replicatest.RunDeletes(replicatest.DeletesConfig{Seed: uint64(*life), Stream: *stream, Kind: k, Trace: t.Logf}); err != nil {
					t.Fatal(err)
				}
				return
			}
			var hits replicatest.DeleteHits
			ran, failed := 0, 0
			for seed := range uint64(*deletes) {
				h, err := replicatest.RunDeletes(replicatest.DeletesConfig{Seed: *first + seed/2, Stream: seed%2 == 1, Kind: k})
				if ran++; err != nil {
					t.Error(err)
					if failed++; failed == 5 {
						break
					}
				}
				hits.Add(h)
			}
			t.Logf("%d lives of %v rows, %d failed: %+v", ran, k, failed, hits)
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
		life   uint64 // that is known to catch it
	}{
		{mutant: memory.RangesOnly, kind: record.Shared, life: 56},
		{mutant: memory.HeadOnly, kind: record.Shared, life: 0},
		{mutant: memory.LiveOnly, kind: record.Shared, life: 36},
		{mutant: memory.ByHeads, kind: record.Shared, life: 970},
		{mutant: memory.CollectAboveGap, kind: record.Shared, life: 10105},
		{mutant: memory.CollectEarly, kind: record.Owned, life: 524},
		{mutant: memory.ByRankAlone, kind: record.Shared, life: 690},
		{mutant: memory.PerWriter, kind: record.Shared, life: 15},
		{mutant: memory.CloseUnstamped, kind: record.Owned, life: 2},
		{mutant: memory.CloseBaseless, kind: record.Shared, life: 12411},
		{mutant: memory.CloseOverGap, kind: record.Owned, life: 4},
		{mutant: memory.CloseShared, kind: record.Shared, life: 4},
		{mutant: memory.CountClosedGaps, kind: record.Shared, life: 108},
		{mutant: memory.CloseKnown, kind: record.Owned, life: 12488},
		{mutant: memory.RenewShared, kind: record.Owned, life: 3506},
		{rule: replicatest.IgnoreDead, kind: record.Owned, life: 125},
		{rule: replicatest.AskNobody, kind: record.Owned, life: 46},
	} {
		name := string(c.mutant) + string(c.rule)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			within := *mutantLives
			for i := range uint64(within) {
				seed := c.life // first, then from the first on
				if i > 0 {
					seed = i - 1
				}
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

// What chance seldom comes to, thought out: each life holds, and fails without
// its rule.
func TestDeleteScripts(t *testing.T) {
	for _, c := range []struct {
		mutant memory.Mutant
		nodes  int
		script string
	}{
		// a has received y of b's first start, and not z, so it is closed and not
		// complete. It must not forget that it had y: b has it still.
		{memory.ForgetEarly, 2, `
			b writes y
			a hears b
			b writes z
			b restarts
			b closes
			a hears b
			a deletes y
			days 8
			a collects
			a pulls b
			b pulls a`},
		// b hears nothing of a's delete until it learns of its own eviction.
		{memory.RenewShared, 3, `
			b writes y
			a hears b
			c hears b
			a hears c
			a deletes y
			days 8
			a collects
			c evicts b
			b hears c
			a pulls b
			b pulls a`},
	} {
		t.Run(string(c.mutant), func(t *testing.T) {
			cfg := replicatest.DeletesConfig{Kind: record.Shared, Nodes: c.nodes, Trace: t.Logf}
			if err := replicatest.RunDeletesScript(cfg, c.script); err != nil {
				t.Errorf("with the rule: %v", err)
			}
			cfg.Mutant = c.mutant
			if err := replicatest.RunDeletesScript(cfg, c.script); err == nil {
				t.Error("it holds without the rule too")
			} else {
				t.Logf("without the rule: %.300v", err)
			}
		})
	}
}
