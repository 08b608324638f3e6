package directory_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/router/directory"
)

// said is a confirmation of apps, taken when it was made.
func said(r *directory.Region, when time.Duration, apps ...string) {
	r.Confirm(confirm(digest(apps...), at(when)), at(when))
}

// Global has lost rows with its disks, and the region has changed back to what
// is left: nobody writes them again, and no rank of what the copy holds will
// ever be exceeded.
func TestRowsThatGlobalHasLostAreGivenUpByTheRegionsWord(t *testing.T) {
	for _, tc := range []struct {
		name  string
		holds []directory.Entry // of g1
		left  []directory.Entry // as g1 says later
		says  []string          // the region
		want  []fleet.App
		live  coverage.State // of web
	}{
		{"a withdrawal was lost", []directory.Entry{entry("web", 0, 5)}, []directory.Entry{entry("web", 1, 3)}, []string{"web"}, []fleet.App{"web"}, coverage.Live},
		{"a presence was lost", []directory.Entry{entry("web", 1, 5)}, []directory.Entry{entry("web", 0, 3)}, nil, []fleet.App{}, coverage.Pruned},
		{"beside one that is gone whole", []directory.Entry{entry("web", 0, 5), entry("db", 1, 6)}, []directory.Entry{entry("web", 1, 3)}, []string{"web"}, []fleet.App{"web"}, coverage.Live},
		{"beside one that is gone here and there in the region", []directory.Entry{entry("web", 0, 5), entry("db", 1, 6)}, []directory.Entry{entry("web", 1, 3)}, []string{"db", "web"}, []fleet.App{"db", "web"}, coverage.Live},
		{"the region has what the copy has", []directory.Entry{entry("web", 1, 5)}, []directory.Entry{entry("web", 0, 3)}, []string{"web"}, []fleet.App{"web"}, coverage.Live},
		{"the region has another app too", []directory.Entry{entry("web", 1, 5)}, []directory.Entry{entry("web", 0, 3)}, []string{"db"}, []fleet.App{"web"}, coverage.Stale},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRegion()
			snapshot(r, "g1", 3, 0, tc.holds...)
			snapshot(r, "g1", 3, time.Second, tc.left...)
			said(r, 2*time.Second, tc.says...)
			if diff := cmp.Diff(tc.want, r.Apps()); diff != "" {
				t.Error(diff)
			}
			if got := r.Standing("web", at(3*time.Second)).Part.State; got != tc.live {
				t.Errorf("web is %v, want %v", got, tc.live)
			}
		})
	}
}

func TestALostRowIsGivenUpWithItsClass(t *testing.T) {
	r := newRegion()
	snapshot(r, "g1", 3, 0, entry("web", 4, 5))
	snapshot(r, "g1", 3, time.Second, entry("web", 1, 3))
	if c := r.Standing("web", at(time.Second)).Class; c != 4 {
		t.Errorf("class %d before the region spoke, want 4", c)
	}
	said(r, 2*time.Second, "web")
	if c := r.Standing("web", at(3*time.Second)).Class; c != 1 {
		t.Errorf("class %d, want 1", c)
	}
	r.Merge(entry("web", 4, 5), at(4*time.Second)) // it was only late
	if c := r.Standing("web", at(4*time.Second)).Class; c != 4 {
		t.Errorf("class %d once the row came, want 4", c)
	}
}

func TestWhatAnotherGlobalNodeSaidIsNoReasonToGiveUpARow(t *testing.T) {
	for name, then := range map[string]func(*directory.Region){
		"the row came":        func(r *directory.Region) { r.Merge(entry("web", 1, 5), at(2*time.Second)) },
		"another is followed": func(r *directory.Region) { snapshot(r, "g2", 3, 2*time.Second, entry("web", 1, 5)) },
	} {
		r := newRegion()
		snapshot(r, "g1", 3, 0, entry("web", 1, 5))
		snapshot(r, "g1", 3, time.Second, entry("web", 0, 3))
		then(r)
		said(r, 3*time.Second)
		if diff := cmp.Diff([]fleet.App{"web"}, r.Apps()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestAnOldOrForeignWordGivesNothingUp(t *testing.T) {
	for name, c := range map[string]directory.Confirmation{
		"old":                confirm(digest(), at(-coverage.Fresh)),
		"another algorithm":  {Region: "iad", Generation: gen, Reporter: "w1", Algorithm: presence.DigestAlgorithm + 1, At: at(2 * time.Second)},
		"another generation": {Region: "iad", Generation: presence.Generation{Number: 9}, Reporter: "w1", Algorithm: presence.DigestAlgorithm, At: at(2 * time.Second)},
	} {
		r := newRegion()
		snapshot(r, "g1", 3, 0, directory.Entry{Region: "iad", Rank: "1", Generation: &gen}, entry("web", 1, 5))
		snapshot(r, "g1", 3, time.Second, entry("web", 0, 3))
		r.Confirm(c, at(2*time.Second))
		if diff := cmp.Diff([]fleet.App{"web"}, r.Apps()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestALostRecordOfTheRegionIsGivenUp(t *testing.T) {
	record := func(locality string, rank string) directory.Entry {
		return directory.Entry{Region: "iad", Rank: rank, Record: &presence.Region{Name: "iad", Locality: locality}}
	}
	r := newRegion()
	snapshot(r, "g1", 3, 0, record("new", "5"))
	snapshot(r, "g1", 3, time.Second, record("old", "3"))
	h := presence.NewHasher("test", "iad")
	r.Confirm(confirm(h.Region(presence.Region{Name: "iad", Locality: "old"}), at(2*time.Second)), at(2*time.Second))
	if got := r.Record().Locality; got != "old" {
		t.Errorf("locality %q, want old", got)
	}
	if !r.Standing("web", at(3*time.Second)).MayPrune() {
		t.Error("no proof of what the region and global agree on")
	}
}
