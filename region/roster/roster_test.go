package roster_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
	"github.com/firebreak-dev/firebreak/region/roster"
)

func row(worker, id, app string, s claim.State) claim.Row {
	return claim.Row{Place: claim.Place{Region: "iad", Worker: fleet.Worker(worker)}, ID: fleet.MachineID(id), App: fleet.App(app), State: s, Epoch: 1}
}

func TestCountsFollowClaims(t *testing.T) {
	r := roster.New()
	if touch := r.Set(row("a", "1", "web", claim.Started)); !touch.Counts {
		t.Error("a new machine changes no count")
	}
	if touch := r.Set(row("a", "1", "web", claim.Stopping)); touch.Counts || len(touch.Ended) > 0 {
		t.Errorf("a new state of a claim: %+v, want no count changed and no end", touch)
	}
	r.Set(row("b", "2", "web", claim.Starting))
	if diff := cmp.Diff(map[fleet.App]int{"web": 2}, r.Counts()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	touch := r.Set(row("a", "1", "web", claim.Ended))
	if diff := cmp.Diff([]fleet.App{"web"}, touch.Ended); diff != "" || !touch.Counts {
		t.Errorf("an end: %+v", touch)
	}
	if r.Claims() != 1 || len(r.App("web")) != 2 {
		t.Errorf("%d claims, rows %v: want one claim, and the ended row still known", r.Claims(), r.App("web"))
	}
	if touch := r.Drop(roster.Key{Worker: "a", ID: "1"}); len(touch.Ended) > 0 || touch.Counts {
		t.Errorf("dropping an ended row: %+v, want nothing ended", touch)
	}
}

func TestMachineThatChangesItsAppTouchesBoth(t *testing.T) {
	r := roster.New()
	r.Set(row("a", "1", "web", claim.Started))
	touch := r.Set(row("a", "1", "api", claim.Started))
	if diff := cmp.Diff([]fleet.App{"web", "api"}, touch.Apps); diff != "" {
		t.Errorf("apps (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]fleet.App{"web"}, touch.Ended); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[fleet.App]int{"api": 1}, r.Counts()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestAnotherWorkersRowTouchesEveryRowOfTheMachine(t *testing.T) {
	r := roster.New()
	r.Set(row("a", "1", "web", claim.Started))
	touch := r.Set(row("b", "1", "web", claim.Started))
	if len(touch.Keys) != 2 {
		t.Errorf("keys = %v: the first claim is contested now and was not touched", touch.Keys)
	}
}

func TestReclaimHidesAndUncounts(t *testing.T) {
	r := roster.New()
	r.Set(row("a", "1", "web", claim.Started))
	b := row("b", "1", "web", claim.Started)
	b.Epoch = 2
	r.Set(b)
	if touch := r.Reclaim(claim.Reclaim{Region: "iad", ID: "1", Epoch: 2, Owner: "b"}); !touch.Counts || len(touch.Keys) != 2 {
		t.Errorf("reclaim: %+v, want both rows touched and a count changed", touch)
	}
	if got := r.Counts()["web"]; got != 1 {
		t.Errorf("count = %d, want 1", got)
	}
	r.DropReclaim("1")
	if got := r.Counts()["web"]; got != 2 {
		t.Errorf("count = %d, want 2", got)
	}
}

func TestDroppingAnUnknownRowIsTold(t *testing.T) {
	k := roster.Key{Worker: "a", ID: "1"}
	if touch := roster.New().Drop(k); len(touch.Keys) != 1 || touch.Keys[0] != k {
		t.Errorf("keys = %v, want %v", touch.Keys, k)
	}
}

// Whatever came before, a roster is what its rows are.
func TestRosterDependsOnItsRowsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := roster.New()
		last := map[roster.Key]claim.Row{}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			k := roster.Key{
				Worker: fleet.Worker(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "worker")),
				ID:     fleet.MachineID(rapid.SampledFrom([]string{"1", "2"}).Draw(t, "id")),
			}
			if rapid.IntRange(0, 3).Draw(t, "drop") == 0 {
				delete(last, k)
				r.Drop(k)
				continue
			}
			c := row(string(k.Worker), string(k.ID), rapid.SampledFrom([]string{"web", "api"}).Draw(t, "app"), claim.State(rapid.IntRange(1, 5).Draw(t, "state")))
			c.Epoch, c.Grant = rapid.Uint64Range(1, 3).Draw(t, "epoch"), rapid.Uint64Range(0, 3).Draw(t, "grant")
			last[k] = c
			r.Set(c)
		}
		fresh := roster.New()
		for _, c := range last {
			fresh.Set(c)
		}
		if diff := cmp.Diff(fresh.Counts(), r.Counts()); diff != "" {
			t.Fatalf("counts (-fresh +got):\n%s", diff)
		}
		if diff := cmp.Diff(fresh.All(), r.All()); diff != "" || fresh.Claims() != r.Claims() {
			t.Fatalf("keys (-fresh +got), claims %d and %d:\n%s", fresh.Claims(), r.Claims(), diff)
		}
		for _, app := range []fleet.App{"web", "api"} {
			if diff := cmp.Diff(fresh.App(app), r.App(app)); diff != "" {
				t.Fatalf("app %s (-fresh +got):\n%s", app, diff)
			}
		}
		if diff := cmp.Diff(fresh.Workers(), r.Workers()); diff != "" {
			t.Fatalf("workers (-fresh +got):\n%s", diff)
		}
	})
}
