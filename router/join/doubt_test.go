package join_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	"github.com/firebreak-dev/firebreak/router/directory"
	"github.com/firebreak-dev/firebreak/router/join"
)

func TestUnprovenRegionIsWatchedUntilItIsProven(t *testing.T) {
	s := join.NewSession()
	s.AddApp("web", at(0))
	unproven, proven := standing("iad", 0, coverage.PrunedStale), standing("iad", 0, coverage.Pruned)
	if got := s.Stand("web", standing("iad", 0, coverage.Fenced), yes); got != join.Nothing {
		t.Errorf("fenced: %v", got)
	}
	for range 3 {
		if got := s.Stand("web", unproven, no); got != join.Nothing {
			t.Errorf("over the budget: %v", got)
		}
	}
	if app, ok := s.Left().Next("iad"); !ok || app != "web" {
		t.Errorf("%q does not wait for its turn", app)
	}
	if app, ok := s.Left().Next("iad"); ok {
		t.Errorf("%q waits twice", app)
	}
	if got := s.Stand("web", unproven, yes); got != join.Subscribe {
		t.Errorf("unproven: %v", got)
	}
	if got := s.Stand("web", unproven, yes); got != join.Nothing {
		t.Errorf("subscribed already: %v", got)
	}
	s.Handle("iad", []join.Event{{App: "web", Kind: join.Reset}, {App: "web", Kind: join.Status, Part: coverage.Part{Region: "iad", State: coverage.Live}}, {App: "web", Kind: join.Synced}})
	told(s)
	s.Announce([]fleet.Region{"iad"}, 0, func(fleet.Region, fleet.App) directory.Standing { return unproven }, at(0))
	if diff := cmp.Diff([]string{" app synced true"}, told(s)); diff != "" {
		t.Errorf("its own word is as good as a proof: %s", diff)
	}
	if diff := cmp.Diff([]fleet.App{"web"}, s.Left().Apps("iad")); diff != "" {
		t.Error(diff)
	}
	if got := s.Stand("web", proven, yes); got != join.Unsubscribe {
		t.Errorf("proven: %v", got)
	}
	if diff := cmp.Diff([]string{"iad status pruned"}, told(s)); diff != "" || len(s.Left().Regions()) > 0 {
		t.Errorf("%s, left %v", diff, s.Left().Regions())
	}
}

func TestListOfRegionsIsToldWhenItsAgeMakesADifference(t *testing.T) {
	s := join.NewSession()
	for _, age := range []time.Duration{0, 15 * time.Second, 16 * time.Second, 17 * time.Second, 0, time.Second, -1} {
		s.List(age)
	}
	want := []string{" list false 16000", " list true 0", " list false -1"}
	if diff := cmp.Diff(want, told(s)); diff != "" {
		t.Error(diff)
	}
	pruned := func(r fleet.Region, _ fleet.App) directory.Standing { return standing(r, 0, coverage.Pruned) }
	s.AddApp("web", at(0))
	for _, age := range []time.Duration{-1, time.Second, time.Second} {
		s.List(age)
		s.Announce([]fleet.Region{"iad"}, age, pruned, at(0))
	}
	want = []string{" app synced false", " list true 1000", " app synced true"}
	if diff := cmp.Diff(want, told(s)); diff != "" {
		t.Errorf("announced while it was old, and again: %s", diff)
	}
}
