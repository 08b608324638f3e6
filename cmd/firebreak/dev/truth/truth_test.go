package truth_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

var (
	iad1 = truth.Place{Region: "iad", Worker: "w1"}
	iad2 = truth.Place{Region: "iad", Worker: "w2"}
	ams1 = truth.Place{Region: "ams", Worker: "w1"}
)

func put(m *truth.Model, p truth.Place, id fleet.MachineID, app fleet.App) string {
	isNew, first := m.Put(truth.Machine{Place: p, ID: id, App: app})
	return fmt.Sprintf("new %v first %v", isNew, first)
}

func end(m *truth.Model, p truth.Place, id fleet.MachineID) string {
	app, last := m.End(p, id)
	return fmt.Sprintf("%s last %v", app, last)
}

func TestFirstAndLastOfAnAppInARegion(t *testing.T) {
	m := truth.New()
	for _, step := range []struct{ got, want string }{
		{put(m, iad1, "a", "web"), "new true first true"},
		{put(m, iad2, "b", "web"), "new true first false"},
		{put(m, ams1, "c", "web"), "new true first true"},
		{put(m, iad1, "a", "web"), "new false first false"},
		{end(m, iad1, "a"), "web last false"},
		{end(m, iad1, "a"), " last false"},
		{end(m, iad2, "b"), "web last true"},
		{put(m, iad2, "b", "web"), "new true first true"},
		{put(m, iad2, "b", "web"), "new false first false"}, // alone, and updated
		{end(m, iad2, "b"), "web last true"},
	} {
		if step.got != step.want {
			t.Errorf("got %q, want %q", step.got, step.want)
		}
	}
	want := map[fleet.App]map[fleet.Region]int{"web": {"ams": 1}}
	if diff := cmp.Diff(want, m.Snapshot().Edges()); diff != "" {
		t.Errorf("edges (-want +got):\n%s", diff)
	}
}

func TestAMachineThatChangesItsAppLeavesTheOldOne(t *testing.T) {
	m := truth.New()
	put(m, iad1, "a", "web")
	if got := put(m, iad1, "a", "api"); got != "new false first true" {
		t.Error(got)
	}
	if diff := cmp.Diff(map[fleet.App]int{"api": 1}, m.Snapshot().Apps()); diff != "" {
		t.Error(diff)
	}
}

func TestAdoptTakesStrangersAndNeverWhatCameBack(t *testing.T) {
	m := truth.New()
	m.Put(truth.Machine{Place: iad1, ID: "gone", App: "web"})
	m.End(iad1, "gone")
	took := m.Adopt([]truth.Machine{{Place: iad1, ID: "gone", App: "web"}, {Place: iad1, ID: "visitor", App: "mine"}})
	if diff := cmp.Diff([]truth.Machine{{Place: iad1, ID: "visitor", App: "mine"}}, took); diff != "" {
		t.Errorf("took (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[fleet.App]int{"mine": 1}, m.Snapshot().Apps()); diff != "" {
		t.Error(diff)
	}
}

func TestDiffNamesEveryKindOfDifference(t *testing.T) {
	want := truth.Snapshot{{Place: ams1, ID: "c", App: "web"}, {Place: iad1, ID: "a", App: "web"}, {Place: iad1, ID: "b", App: "web"}}
	if d := want.Diff([]truth.Machine{want[2], want[0], want[1]}); d != "" {
		t.Errorf("equal sets differ: %s", d)
	}
	got := []truth.Machine{want[0], want[0], {Place: iad1, ID: "a", App: "api"}, {Place: iad2, ID: "b", App: "web"}}
	d := want.Diff(got)
	for _, s := range []string{"extra ams/w1/c", "extra iad/w2/b", "iad/w1/a (api) should be of app web", "missing iad/w1/b (web)"} {
		if !strings.Contains(d, s) {
			t.Errorf("%q does not say %q", d, s)
		}
	}
	if d := (truth.Snapshot{}).Diff(make([]truth.Machine, 9)); !strings.HasSuffix(d, "and 4 more") {
		t.Errorf("a long list is not cut: %q", d)
	}
	if d := truth.DiffCounts("app", map[fleet.App]int{"a": 1, "b": 2}, map[fleet.App]int{"b": 3, "c": 1}); d != "app a: 0, want 1; app b: 3, want 2; app c: 1, want 0" {
		t.Errorf("counts: %q", d)
	}
}
