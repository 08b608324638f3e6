package claim_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
)

var regions = []string{"iad", "ams"}

func drawRows(t *rapid.T) []claim.Row {
	var out []claim.Row
	epochs := rapid.SampledFrom([]uint64{0, 1, 2, 3, 4, math.MaxInt64, math.MaxUint64})
	for _, region := range regions {
		for _, worker := range []string{"a", "b", "c"} {
			if rapid.Bool().Draw(t, "absent") {
				continue
			}
			r := in(region, at(worker, epochs.Draw(t, "epoch"), claim.State(rapid.IntRange(0, int(claim.Ended)).Draw(t, "state"))))
			r.Why = claim.Why(rapid.IntRange(0, int(claim.Yielded)).Draw(t, "why"))
			if rapid.Bool().Draw(t, "granted") {
				r.Grant = epochs.Draw(t, "grant")
				r.MovedTo = rapid.SampledFrom(regions).Draw(t, "to region") + "/" + rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "to worker")
			}
			out = append(out, r)
		}
	}
	return out
}

func drawReclaims(t *rapid.T) []claim.Reclaim {
	var out []claim.Reclaim
	for _, region := range regions {
		if rapid.Bool().Draw(t, "reclaim") {
			out = append(out, claim.Reclaim{
				Region: fleet.Region(region), ID: "m",
				Epoch: rapid.Uint64Range(0, 5).Draw(t, "reclaim epoch"),
				Owner: fleet.Worker(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "owner")),
			})
		}
	}
	return out
}

func TestOrderOfRowsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows, reclaims := drawRows(t), drawReclaims(t)
		want := claim.Judge(rows, reclaims)
		got := claim.Judge(rapid.Permutation(rows).Draw(t, "order"), rapid.Permutation(reclaims).Draw(t, "reclaims"))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

func TestNothingIsHiddenWithoutAGrant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, v := range claim.Judge(drawRows(t), drawReclaims(t)) {
			if v.Row.Claim() && !v.Current && v.Under == 0 && v.Row.State != claim.Moved {
				t.Fatalf("%+v is hidden and stands under no grant", v)
			}
			if !v.Row.Claim() && (v.Current || v.Contested) {
				t.Fatalf("the end %+v is shown", v)
			}
		}
	})
}

// A region's row can hide another region's row only if that one names it.
func TestUnnamedForeignRowsHideNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows, reclaims := drawRows(t), drawReclaims(t)
		home := slices.DeleteFunc(slices.Clone(rows), func(r claim.Row) bool { return r.Place.Region != "iad" })
		alone := map[string]bool{}
		for _, v := range claim.Judge(home, reclaims) {
			alone[v.Row.Place.String()] = v.Current
		}
		for _, v := range claim.Judge(rows, reclaims) {
			place := v.Row.Place
			if place.Region != "iad" || v.Current == alone[place.String()] {
				continue
			}
			if v.Current {
				t.Fatalf("a foreign row shows %+v", v)
			}
			if v.Row.MovedTo != v.HiddenBy.Place.String() || v.HiddenBy.Place.Region == "iad" {
				t.Fatalf("%+v is hidden by a row that it does not name", v)
			}
		}
	})
}

// Without ends that hide, some claim is always left.
func TestClaimsNeverHideEachOtherAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows, reclaims := drawRows(t), drawReclaims(t)
		rows = slices.DeleteFunc(rows, func(r claim.Row) bool { return !r.Claim() })
		vs := claim.Judge(rows, reclaims)
		if len(rows) > 0 && !slices.ContainsFunc(vs, func(v claim.Verdict) bool { return v.Current }) {
			t.Fatalf("all of %+v are hidden", rows)
		}
	})
}

func TestTwoShownClaimsAreContestedOrHandedOver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vs := claim.Judge(drawRows(t), drawReclaims(t))
		shown := slices.DeleteFunc(slices.Clone(vs), func(v claim.Verdict) bool { return !v.Current })
		if len(shown) < 2 {
			for _, v := range vs {
				if v.Contested {
					t.Fatalf("%+v is contested by nobody", v)
				}
			}
			return
		}
		if !slices.ContainsFunc(shown, func(v claim.Verdict) bool { return v.Under > 0 }) {
			for _, v := range shown {
				if !v.Contested {
					t.Fatalf("%s of %d is shown beside others and not contested", v.Row.Place, len(shown))
				}
			}
		}
	})
}

func ExampleJudge() {
	source := claim.Row{Place: claim.Place{Region: "iad", Worker: "w1"}, ID: "m", State: claim.Moved, Epoch: 1, Grant: 2, MovedTo: "iad/w2"}
	target := claim.Row{Place: claim.Place{Region: "iad", Worker: "w2"}, ID: "m", State: claim.Starting, Epoch: 2}
	for _, s := range []claim.State{claim.Starting, claim.Started} {
		target.State = s
		for _, v := range claim.Judge([]claim.Row{source, target}, nil) {
			fmt.Println(v.Row.Place, v.Row.State, v.Current)
		}
	}
	// Output:
	// iad/w2 starting true
	// iad/w1 moved true
	// iad/w2 started true
	// iad/w1 moved false
}
