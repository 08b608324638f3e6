package directory_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/router/directory"
)

var gen = presence.Generation{Number: 1, Bits: 7}

func at(d time.Duration) directory.Instant {
	return directory.Instant{Wall: int64(1_700_000_000*time.Second) + int64(d), Mono: time.Hour + d}
}

func entry(app string, class presence.Class, rank int) directory.Entry {
	return directory.Entry{
		Region: "iad", Rank: fmt.Sprintf("%08d", rank),
		Presence: &presence.Record{Region: "iad", App: fleet.App(app), Class: class},
	}
}

// digest is what the region's reporter computes of its apps.
func digest(apps ...string) presence.Digest {
	h := presence.NewHasher("test", "iad")
	var d presence.Digest
	for _, a := range apps {
		d = d.Add(h.App(fleet.App(a)))
	}
	return d
}

func confirm(d presence.Digest, when directory.Instant) directory.Confirmation {
	return directory.Confirmation{Region: "iad", Generation: gen, Reporter: "w1", Digest: d, Algorithm: presence.DigestAlgorithm, At: when}
}

func newRegion() *directory.Region { return directory.NewRegion("test", "iad", at(0)) }

func TestOnlyAFreshConfirmationOfExactlyTheseRowsPrunes(t *testing.T) {
	type step = func(*directory.Region)
	merge := func(app string, class presence.Class, rank int, when time.Duration) step {
		return func(r *directory.Region) { r.Merge(entry(app, class, rank), at(when)) }
	}
	said := func(when time.Duration, apps ...string) step {
		return func(r *directory.Region) { r.Confirm(confirm(digest(apps...), at(when)), at(when)) }
	}
	for _, tc := range []struct {
		name  string
		steps []step
		app   string
		now   time.Duration
		want  coverage.State
	}{
		{"never confirmed", nil, "web", 1 * time.Second, coverage.PrunedStale},
		{"confirmed empty", []step{said(time.Second)}, "web", 2 * time.Second, coverage.Pruned},
		{"just fresh", []step{said(time.Second)}, "web", 16*time.Second - 1, coverage.Pruned},
		{"too old", []step{said(time.Second)}, "web", 16 * time.Second, coverage.PrunedStale},
		{"region has more than the copy", []step{said(time.Second, "web")}, "web", 2 * time.Second, coverage.PrunedStale},
		{"copy has more than the region", []step{merge("db", 1, 1, 0), said(time.Second)}, "web", 2 * time.Second, coverage.PrunedStale},
		{"present and confirmed", []step{merge("web", 1, 1, 0), said(time.Second, "web")}, "web", 2 * time.Second, coverage.Live},
		{"present and not confirmed", []step{merge("web", 1, 1, 0)}, "web", 2 * time.Second, coverage.Stale},
		{"another app beside it", []step{merge("db", 1, 1, 0), said(time.Second, "db")}, "web", 2 * time.Second, coverage.Pruned},
		{"the copy moved on a moment ago", []step{merge("db", 1, 1, 0), said(time.Second, "db"), merge("new", 1, 2, 2*time.Second)}, "web", 3 * time.Second, coverage.Pruned},
		{"the copy moved on too long ago", []step{merge("db", 1, 1, 0), merge("new", 1, 2, time.Second), said(10*time.Second, "db")}, "web", 16*time.Second + 1, coverage.PrunedStale},
		{"absent now, but there when the rows were so", []step{merge("web", 1, 1, 0), said(time.Second, "web"), merge("web", 0, 2, 2*time.Second)}, "web", 3 * time.Second, coverage.PrunedStale},
		{"absent now, and confirmed since", []step{merge("web", 1, 1, 0), merge("web", 0, 2, 2*time.Second), said(3 * time.Second)}, "web", 4 * time.Second, coverage.Pruned},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRegion()
			for _, s := range tc.steps {
				s(r)
			}
			if got := r.Standing(fleet.App(tc.app), at(tc.now)).Part.State; got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestEitherClockAgesAConfirmation(t *testing.T) {
	r := newRegion()
	r.Confirm(confirm(digest(), at(time.Second)), at(time.Second))
	slept, stepped := at(2*time.Second), at(2*time.Second)
	slept.Wall += int64(time.Minute) // the monotonic clock stood still
	stepped.Wall -= int64(time.Hour) // the wall clock was set back
	stepped.Mono += time.Minute
	for name, now := range map[string]directory.Instant{"slept": slept, "wall set back": stepped} {
		if r.Standing("web", now).MayPrune() {
			t.Errorf("%s: an old confirmation counts as fresh", name)
		}
	}
}

func TestAnotherGenerationIsFenced(t *testing.T) {
	r := newRegion()
	g := presence.Generation{Number: 2, Bits: 1}
	r.Merge(directory.Entry{Region: "iad", Rank: "1", Generation: &g}, at(0))
	r.Confirm(confirm(digest(), at(time.Second)), at(time.Second))
	if got := r.Standing("web", at(2*time.Second)).Part.State; got != coverage.Fenced {
		t.Errorf("got %v", got)
	}
}

func TestMergeIsByRankInAnyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var entries []directory.Entry
		for rank := range 12 {
			entries = append(entries, entry(fmt.Sprintf("a%d", rng.IntN(4)), presence.Class(rng.IntN(3)), rank+1))
		}
		var want []byte
		for i := range 5 {
			r := newRegion()
			for _, j := range rng.Perm(len(entries)) {
				r.Merge(entries[j], at(0))
				r.Merge(entries[rng.IntN(len(entries))], at(0))
			}
			for _, e := range entries { // all came at least once
				r.Merge(e, at(0))
			}
			got := r.Section()
			if i == 0 {
				want = got
			} else if diff := cmp.Diff(want, got); diff != "" {
				t.Fatal(diff)
			}
		}
	}
}

func snapshot(r *directory.Region, source string, globals int, now time.Duration, entries ...directory.Entry) {
	r.Begin(source, false)
	for _, e := range entries {
		r.Merge(e, at(now))
	}
	r.Synced(globals, at(now))
}

func TestAbsenceInASnapshotEmptiesNothing(t *testing.T) {
	for _, tc := range []struct {
		name    string
		after   func(*directory.Region)
		globals int
		want    []fleet.App
	}{
		{"one of three global nodes lacks it", func(r *directory.Region) { snapshot(r, "g2", 3, time.Second) }, 3, []fleet.App{"web"}},
		{"the same one again", func(r *directory.Region) { snapshot(r, "g2", 3, time.Second); snapshot(r, "g2", 3, 2*time.Second) }, 3, []fleet.App{"web"}},
		{"two of three lack it", func(r *directory.Region) { snapshot(r, "g2", 3, time.Second); snapshot(r, "g3", 3, 2*time.Second) }, 3, []fleet.App{}},
		{"the only one lacks it", func(r *directory.Region) { snapshot(r, "g1", 1, time.Second) }, 1, []fleet.App{}},
		{"named again in between", func(r *directory.Region) {
			snapshot(r, "g2", 3, time.Second)
			snapshot(r, "g1", 3, 2*time.Second, entry("web", 1, 1))
			snapshot(r, "g3", 3, 3*time.Second)
		}, 3, []fleet.App{"web"}},
		{"the region lacks it too", func(r *directory.Region) {
			snapshot(r, "g2", 3, time.Second)
			r.Confirm(confirm(digest(), at(2*time.Second)), at(2*time.Second))
		}, 3, []fleet.App{}},
		{"the region has it", func(r *directory.Region) {
			snapshot(r, "g2", 3, time.Second)
			r.Confirm(confirm(digest("web"), at(2*time.Second)), at(2*time.Second))
		}, 3, []fleet.App{"web"}},
		{"an explicit withdrawal", func(r *directory.Region) { r.Merge(entry("web", 0, 2), at(time.Second)) }, 3, []fleet.App{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRegion()
			snapshot(r, "g1", tc.globals, 0, entry("web", 1, 1))
			tc.after(r)
			if diff := cmp.Diff(tc.want, r.Apps()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCopyThatIsTooOldIsReplacedWhole(t *testing.T) {
	r := newRegion()
	r.Merge(entry("old", 1, 9), at(0))
	r.Merge(entry("both", 1, 9), at(0))
	r.Begin("g1", true)
	r.Merge(entry("both", 2, 3), at(time.Second))
	r.Merge(entry("new", 1, 1), at(time.Second))
	r.Synced(3, at(time.Second))
	if diff := cmp.Diff([]fleet.App{"both", "new"}, r.Apps()); diff != "" {
		t.Error(diff)
	}
	if c := r.Standing("both", at(2*time.Second)).Class; c != 2 {
		t.Errorf("class %d: the old row was merged", c)
	}
}

// history is a region whose truth changes while its reports reach two global
// nodes, and the router, with any lag.
type history struct {
	rng    *rand.Rand
	now    time.Duration
	truth  map[string]bool
	rank   int
	lag    [2][]directory.Entry // on the way to each global node
	rows   [2]map[string]directory.Entry
	old    [2]map[string]directory.Entry // what each global node's disk was once
	wire   []directory.Entry             // on the way to the router
	follow int
	copy   *directory.Region
	was    map[directory.Instant]map[string]bool // confirmation: truth when it was made
	latest directory.Confirmation
}

var apps = []string{"a", "b", "c"}

func (h *history) step() {
	h.now += time.Duration(h.rng.IntN(1500)) * time.Millisecond
	switch h.rng.IntN(10) {
	case 0: // the region's truth changes and is reported
		app := apps[h.rng.IntN(len(apps))]
		h.truth[app] = !h.truth[app]
		h.rank++
		class := presence.Class(0)
		if h.truth[app] {
			class = 1
		}
		for g := range h.lag {
			h.lag[g] = append(h.lag[g], entry(app, class, h.rank))
		}
	case 1, 2, 3: // a report reaches a global node
		if g := h.rng.IntN(2); len(h.lag[g]) > 0 {
			e := h.lag[g][0]
			h.lag[g] = h.lag[g][1:]
			h.rows[g][string(e.Presence.App)] = e
			if g == h.follow {
				h.wire = append(h.wire, e)
			}
		}
	case 4, 5: // an entry reaches the router
		if len(h.wire) > 0 {
			h.copy.Merge(h.wire[0], at(h.now))
			h.wire = h.wire[1:]
		}
	case 6, 7: // a confirmation, which took its time
		sent := at(h.now - time.Duration(h.rng.IntN(20_000))*time.Millisecond)
		if _, taken := h.was[sent]; taken {
			return
		}
		var have []string
		for _, a := range apps {
			if h.truth[a] {
				have = append(have, a)
			}
		}
		h.was[sent] = maps.Clone(h.truth)
		h.latest = confirm(digest(have...), sent)
		h.copy.Confirm(h.latest, at(h.now))
	case 9: // a global node starts on its old disk, or one is made
		g := h.rng.IntN(2)
		if h.rng.IntN(2) == 0 {
			h.old[g] = maps.Clone(h.rows[g])
			return
		}
		h.rows[g] = maps.Clone(h.old[g])
		if g != h.follow {
			return
		}
		h.follow = 1 - g // and the router comes back to it at once
		fallthrough
	case 8: // failover to the other global node
		h.follow = 1 - h.follow
		h.wire = nil
		h.copy.Begin(fmt.Sprint("g", h.follow), false)
		for _, a := range apps {
			if e, ok := h.rows[h.follow][a]; ok && h.rng.IntN(10) > 0 { // one in ten is missing
				h.copy.Merge(e, at(h.now))
			}
		}
		h.copy.Synced(2, at(h.now))
	}
}

// wrong counts the prunes of prune, in one history, that leave out an app which
// the region had when it confirmed, and all prunes.
func wrong(seed uint64, steps int, prune func(h *history, app string) (bool, directory.Instant)) (bad, all int) {
	h := &history{
		rng: rand.New(rand.NewPCG(seed, 1)), truth: map[string]bool{}, copy: newRegion(),
		was: map[directory.Instant]map[string]bool{}, rows: [2]map[string]directory.Entry{{}, {}}, old: [2]map[string]directory.Entry{{}, {}},
	}
	for range steps {
		h.step()
		for _, app := range apps {
			if ok, asOf := prune(h, app); ok {
				all++
				if h.was[asOf][app] {
					bad++
				}
			}
		}
	}
	return bad, all
}

func byRule(h *history, app string) (bool, directory.Instant) {
	part := h.copy.Standing(fleet.App(app), at(h.now)).Part
	for when := range h.was {
		if part.State == coverage.Pruned && when.Time().Equal(part.AsOf) {
			return true, when
		}
	}
	return false, directory.Instant{}
}

// withoutDigest is the rule that looks only at the age of the confirmation.
func withoutDigest(h *history, app string) (bool, directory.Instant) {
	_, there := slices.BinarySearch(h.copy.Apps(), fleet.App(app))
	return !there && h.latest.Algorithm != 0 && at(h.now).Since(h.latest.At) < coverage.Fresh, h.latest.At
}

func TestPruningIsSoundInRandomHistories(t *testing.T) {
	total := 0
	for seed := range uint64(400) {
		bad, all := wrong(seed, 300, byRule)
		if bad > 0 {
			t.Fatalf("seed %d: %d of %d prunes left out an app that the region had", seed, bad, all)
		}
		total += all
	}
	if total < 1000 {
		t.Errorf("only %d prunes: the histories prove nothing", total)
	}
}

func TestHistoriesCatchPruningWithoutADigest(t *testing.T) {
	for seed := range uint64(400) {
		if bad, _ := wrong(seed, 300, withoutDigest); bad > 0 {
			return
		}
	}
	t.Error("the histories do not catch it")
}

func TestTrimForgetsNothingThatStillCounts(t *testing.T) {
	r := newRegion()
	r.Merge(entry("web", 1, 1), at(0))
	r.Confirm(confirm(digest("web"), at(time.Second)), at(time.Second))
	r.Merge(entry("web", 0, 2), at(2*time.Second)) // since is long ago
	r.Trim(at(3 * time.Second))
	if r.Standing("web", at(3*time.Second)).MayPrune() {
		t.Error("forgotten too soon: it was there when the region confirmed")
	}
	r.Trim(at(time.Minute))
	r.Merge(entry("db", 1, 3), at(time.Minute))
	if diff := cmp.Diff([]fleet.App{"db"}, r.Apps()); diff != "" {
		t.Error(diff)
	}
}
