package plan_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/router/directory"
	"github.com/firebreak-dev/firebreak/router/plan"
)

func at(d time.Duration) directory.Instant {
	return directory.Instant{Wall: int64(1_700_000_000*time.Second) + int64(d), Mono: time.Hour + d}
}

func stand(region fleet.Region, class presence.Class, state coverage.State) directory.Standing {
	return directory.Standing{Region: region, Class: class, Part: coverage.Part{Region: region, State: state, AsOf: at(0).Time()}}
}

var everywhere = []directory.Standing{
	stand("fenced", 0, coverage.Fenced), stand("live", 2, coverage.Live), stand("pruned", 0, coverage.Pruned),
	stand("stale", 1, coverage.Stale), stand("unsure", 0, coverage.PrunedStale),
}

func TestPrunedRegionIsNeverAsked(t *testing.T) {
	if diff := cmp.Diff([]fleet.Region{"live", "stale", "unsure"}, plan.ForApp(everywhere).Ask); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]fleet.Region{"unsure"}, plan.ForLookup(everywhere).Ask); diff != "" {
		t.Error(diff)
	}
}

func TestEveryRegionIsAskedOrNamed(t *testing.T) {
	for _, p := range []plan.Plan{plan.ForApp(everywhere), plan.ForLookup(everywhere)} {
		if len(p.Ask)+len(p.Known) != len(everywhere) {
			t.Errorf("%d asked and %d named of %d", len(p.Ask), len(p.Known), len(everywhere))
		}
	}
}

func TestNamedRegionsAreAskedOnceAndUnknownOnesShown(t *testing.T) {
	p := plan.ForRegions([]fleet.Region{"iad", "mars", "iad"}, func(r fleet.Region) bool { return r == "iad" })
	if diff := cmp.Diff([]fleet.Region{"iad"}, p.Ask); diff != "" {
		t.Error(diff)
	}
	if len(p.Known) != 1 || p.Known[0].Region != "mars" || p.Known[0].State != coverage.Unreachable {
		t.Errorf("known: %v", p.Known)
	}
}

func TestPrunedBeforeTheNewestEndIsNotProven(t *testing.T) {
	parts := []coverage.Part{
		{Region: "iad", State: coverage.Live, AsOf: at(9 * time.Second).Time()},
		{Region: "ams", State: coverage.Pruned, AsOf: at(3 * time.Second).Time()},
		{Region: "nrt", State: coverage.Pruned, AsOf: at(6 * time.Second).Time()},
	}
	got := plan.Settle(parts, at(5*time.Second).Time(), at(10*time.Second).Time())
	want := []coverage.State{coverage.PrunedStale, coverage.Live, coverage.Pruned} // ams, iad, nrt
	for i, p := range got {
		if p.State != want[i] {
			t.Errorf("%v, want %v", p, want[i])
		}
	}
	if got[0].Age != 7*time.Second {
		t.Errorf("age %v", got[0].Age)
	}
}

func TestPolicies(t *testing.T) {
	parts := func(states ...coverage.State) []coverage.Part {
		var out []coverage.Part
		for i, s := range states {
			out = append(out, coverage.Part{Region: fleet.Region(fmt.Sprint("r", i)), State: s})
		}
		return out
	}
	live, pruned, timeout := coverage.Live, coverage.Pruned, coverage.Timeout
	for _, tc := range []struct {
		policy            plan.Policy
		parts             []coverage.Part
		satisfied, enough bool
	}{
		{plan.Policy{Kind: plan.All}, parts(live, pruned), true, false},
		{plan.Policy{Kind: plan.All}, parts(live, timeout), false, false},
		{plan.Policy{Kind: plan.Any}, parts(timeout, live), true, true},
		{plan.Policy{Kind: plan.Any}, parts(pruned), true, false},
		{plan.Policy{Kind: plan.Any}, parts(timeout), false, false},
		{plan.Policy{Kind: plan.Quorum, Quorum: 2}, parts(live, pruned, timeout), true, true},
		{plan.Policy{Kind: plan.Quorum, Quorum: 3}, parts(live, pruned, timeout), false, false},
	} {
		if got := tc.policy.Satisfied(tc.parts); got != tc.satisfied {
			t.Errorf("%v over %v: satisfied %v", tc.policy, tc.parts, got)
		}
		if got := tc.policy.Enough(tc.parts); got != tc.enough {
			t.Errorf("%v over %v: enough %v", tc.policy, tc.parts, got)
		}
	}
}

func TestSoftDeadlineLeavesTimeToAnswer(t *testing.T) {
	for _, left := range []time.Duration{time.Millisecond, 30 * time.Millisecond, time.Second, time.Minute} {
		if got := plan.SoftDeadline(left); got <= 0 || got >= left {
			t.Errorf("of %v: %v", left, got)
		}
	}
}

func TestBreakerOpensAfterFailuresAndLetsOneProbeThrough(t *testing.T) {
	var b plan.Breaker
	now := at(0)
	for range 5 {
		if !b.Allow(now) {
			t.Fatal("closed breaker holds back")
		}
		b.Done(false, now, 0.5)
	}
	if b.Allow(now) || !b.Open(now) {
		t.Fatal("does not open")
	}
	now = at(time.Second)
	if !b.Allow(now) {
		t.Fatal("no probe after its time")
	}
	if b.Allow(now) {
		t.Error("two probes at once")
	}
	b.Done(false, now, 0.5)
	if b.Allow(at(1200 * time.Millisecond)) {
		t.Error("a failed probe does not open it for longer")
	}
	if !b.Allow(at(3 * time.Second)) {
		t.Fatal("no second probe")
	}
	b.Done(true, at(3*time.Second), 0.5)
	for range 3 {
		if !b.Allow(at(3 * time.Second)) {
			t.Error("a probe that held does not close it")
		}
	}
}

func TestP95FollowsTheRegion(t *testing.T) {
	var l plan.Latency
	if l.P95() < 100*time.Millisecond {
		t.Error("hedges before it knows anything")
	}
	for range 200 {
		l.Add(80 * time.Millisecond)
	}
	if got := l.P95(); got != 80*time.Millisecond {
		t.Errorf("%v", got)
	}
}

func TestBudgetIsBoundedAndRefills(t *testing.T) {
	b := plan.Budget{Rate: 10, Burst: 5}
	n := 0
	for range 100 {
		if b.Take(at(0)) {
			n++
		}
	}
	if n != 5 {
		t.Errorf("burst of %d", n)
	}
	later := 0
	for range 5 {
		if b.Take(at(200 * time.Millisecond)) {
			later++
		}
	}
	if later != 2 {
		t.Errorf("200 ms at 10 a second are %d", later)
	}
}

func TestAnswersAreForgottenAndBounded(t *testing.T) {
	var a plan.Answers
	a.Put("web", plan.Answer{Machines: 2, At: at(0)})
	if got, ok := a.Get("web", at(time.Second)); !ok || got.Machines != 2 {
		t.Error("forgotten at once")
	}
	if _, ok := a.Get("web", at(2*time.Second)); ok {
		t.Error("remembered too long")
	}
	for i := range 10_000 {
		a.Put(fleet.App(fmt.Sprint("a", i)), plan.Answer{At: at(0)})
	}
	if n := a.Len(); n > 4096 {
		t.Errorf("remembers %d", n)
	}
}
