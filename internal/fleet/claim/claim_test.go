package claim_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
)

func at(worker string, epoch uint64, s claim.State) claim.Row {
	return claim.Row{Place: claim.Place{Region: "iad", Worker: fleet.Worker(worker)}, ID: "m", App: "web", State: s, Epoch: epoch}
}

func in(region string, r claim.Row) claim.Row {
	r.Place.Region = fleet.Region(region)
	return r
}

func to(place string, grant uint64, r claim.Row) claim.Row {
	r.MovedTo, r.Grant = place, grant
	return r
}

func because(w claim.Why, r claim.Row) claim.Row {
	r.Why = w
	return r
}

func reclaim(owner string, epoch uint64) claim.Reclaim {
	return claim.Reclaim{Region: "iad", ID: "m", Epoch: epoch, Owner: fleet.Worker(owner)}
}

// places lists what is shown, in order; contested ones end in "!".
func places(vs []claim.Verdict) []string {
	var out []string
	for _, v := range vs {
		switch {
		case v.Contested:
			out = append(out, v.Row.Place.String()+"!")
		case v.Current:
			out = append(out, v.Row.Place.String())
		}
	}
	return out
}

func TestJudge(t *testing.T) {
	source := to("iad/b", 2, at("a", 1, claim.Moved))
	abroad := to("ams/b", 2, at("a", 1, claim.Moved))
	for _, tt := range []struct {
		name     string
		rows     []claim.Row
		reclaims []claim.Reclaim
		want     []string
	}{
		{"a lone claim of any state is shown", []claim.Row{at("a", 1, claim.Starting)}, nil, []string{"iad/a"}},
		{"a state that is not known is a claim", []claim.Row{at("a", 1, 0)}, nil, []string{"iad/a"}},
		{"an end is not shown", []claim.Row{at("a", 1, claim.Ended)}, nil, nil},
		{"two first claims are contested, the higher worker first", []claim.Row{at("a", 1, claim.Started), at("b", 1, claim.Started)}, nil, []string{"iad/b!", "iad/a!"}},
		{"a higher epoch alone hides nothing", []claim.Row{at("a", 1, claim.Started), at("b", 9, claim.Started)}, nil, []string{"iad/b!", "iad/a!"}},

		{"a source is shown beside a target that starts, not contested", []claim.Row{source, at("b", 2, claim.Starting)}, nil, []string{"iad/b", "iad/a"}},
		{"a started target hides its source", []claim.Row{source, at("b", 2, claim.Started)}, nil, []string{"iad/b"}},
		{"a stopping target hides its source", []claim.Row{source, at("b", 2, claim.Stopping)}, nil, []string{"iad/b"}},
		{"a target that moved on hides its source", []claim.Row{source, to("iad/c", 3, at("b", 2, claim.Moved))}, nil, []string{"iad/b"}},
		{"a target below the grant hides nothing", []claim.Row{source, at("b", 1, claim.Started)}, nil, []string{"iad/b!", "iad/a!"}},
		{"a failed target leaves its source", []claim.Row{source, because(claim.Failed, at("b", 2, claim.Ended))}, nil, []string{"iad/a"}},
		{"a withdrawn target leaves its source", []claim.Row{source, because(claim.Withdrawn, at("b", 2, claim.Ended))}, nil, []string{"iad/a"}},
		{"a destroyed target hides its source", []claim.Row{source, because(claim.Destroyed, at("b", 2, claim.Ended))}, nil, nil},
		{"a target that went to a third hides its source", []claim.Row{source, to("iad/c", 3, because(claim.WhyMoved, at("b", 2, claim.Ended)))}, nil, nil},
		{"a target that came back does not hide its source", []claim.Row{source, to("iad/a", 3, because(claim.WhyMoved, at("b", 2, claim.Ended)))}, nil, []string{"iad/a"}},
		{"any worker of the region at the grant hides, not only the named one", []claim.Row{source, at("c", 2, claim.Started)}, nil, []string{"iad/c"}},
		{"made-up numbers cannot hide each other", []claim.Row{to("iad/b", 1, at("a", 5, claim.Moved)), to("iad/a", 1, at("b", 5, claim.Moved))}, nil, []string{"iad/b!", "iad/a!"}},

		{"a reclaim alone hides nobody", []claim.Row{at("a", 1, claim.Started)}, []claim.Reclaim{reclaim("b", 2)}, []string{"iad/a"}},
		{"a reclaim's owner that runs hides the others", []claim.Row{at("a", 1, claim.Started), at("b", 2, claim.Started)}, []claim.Reclaim{reclaim("b", 2)}, []string{"iad/b"}},
		{"an owner below its reclaim does not hide yet, and is not contested by it", []claim.Row{at("a", 1, claim.Started), at("b", 1, claim.Started)}, []claim.Reclaim{reclaim("b", 2)}, []string{"iad/b!", "iad/a!"}},
		{"an owner that starts is not contested", []claim.Row{at("a", 1, claim.Started), at("b", 2, claim.Starting)}, []claim.Reclaim{reclaim("b", 2)}, []string{"iad/b", "iad/a"}},
		{"a reclaimed claim hides nothing", []claim.Row{to("iad/b", 2, at("a", 1, claim.Moved)), at("b", 2, claim.Started)}, []claim.Reclaim{reclaim("a", 3)}, []string{"iad/b", "iad/a"}},
		{"an owner is hidden by nothing at or below its reclaim", []claim.Row{to("iad/b", 2, at("a", 1, claim.Moved)), at("b", 4, claim.Started)}, []claim.Reclaim{reclaim("a", 3)}, []string{"iad/b", "iad/a"}},
		{"a claim above a reclaim is not under it", []claim.Row{at("a", 5, claim.Started), at("b", 2, claim.Started)}, []claim.Reclaim{reclaim("b", 2)}, []string{"iad/a!", "iad/b!"}},
		{"the lower of grant and reclaim counts", []claim.Row{to("iad/c", 9, at("a", 1, claim.Moved)), at("b", 3, claim.Started)}, []claim.Reclaim{reclaim("b", 3)}, []string{"iad/b"}},
		{"a reclaim of another region is none", []claim.Row{at("a", 1, claim.Started), at("b", 2, claim.Started)}, []claim.Reclaim{{Region: "ams", ID: "m", Epoch: 2, Owner: "b"}}, []string{"iad/b!", "iad/a!"}},

		{"abroad, the named worker hides its source", []claim.Row{abroad, in("ams", at("b", 2, claim.Started))}, nil, []string{"ams/b"}},
		{"abroad, another worker hides nothing", []claim.Row{abroad, in("ams", at("c", 2, claim.Started))}, nil, []string{"ams/c!", "iad/a!"}},
		{"abroad, another region hides nothing", []claim.Row{abroad, in("nrt", at("b", 2, claim.Started))}, nil, []string{"nrt/b!", "iad/a!"}},
		{"abroad, a target that starts is not contested", []claim.Row{abroad, in("ams", at("b", 2, claim.Starting))}, nil, []string{"ams/b", "iad/a"}},
		{"abroad, the highest epoch hides nothing", []claim.Row{at("a", 1, claim.Started), in("ams", at("b", 1<<63, claim.Started))}, nil, []string{"ams/b!", "iad/a!"}},
		{"abroad, a reclaim means nothing", []claim.Row{at("a", 1, claim.Started), in("ams", at("b", 2, claim.Started))}, []claim.Reclaim{{Region: "ams", ID: "m", Epoch: 2, Owner: "b"}}, []string{"ams/b!", "iad/a!"}},
		{"a destroy abroad by the named worker hides", []claim.Row{abroad, in("ams", because(claim.Destroyed, at("b", 2, claim.Ended)))}, nil, nil},
		{"a destroy abroad by another hides nothing", []claim.Row{abroad, in("nrt", because(claim.Destroyed, at("b", 2, claim.Ended)))}, nil, []string{"iad/a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, places(claim.Judge(tt.rows, tt.reclaims))); diff != "" {
				t.Errorf("shown (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHiddenClaimNamesWhatHidesIt(t *testing.T) {
	source, target := to("iad/b", 2, at("a", 1, claim.Moved)), at("b", 2, claim.Started)
	vs := claim.Judge([]claim.Row{source, target}, nil)
	if vs[1].HiddenBy != target || vs[1].Under != 2 {
		t.Errorf("verdict = %+v, want hidden by %+v under 2", vs[1], target)
	}
}

func TestAcrossLeavesPairsOfOneRegionToThatRegion(t *testing.T) {
	rows := []claim.Row{at("a", 1, claim.Started), at("b", 1, claim.Started)}
	if got := places(claim.Across(rows)); !cmp.Equal(got, []string{"iad/b", "iad/a"}) {
		t.Errorf("shown = %v", got)
	}
	rows = append(rows, in("ams", at("c", 1, claim.Started)))
	if got := places(claim.Across(rows)); !cmp.Equal(got, []string{"ams/c!", "iad/b!", "iad/a!"}) {
		t.Errorf("shown = %v", got)
	}
}

func TestWhyNot(t *testing.T) {
	ok := claim.Facts{Addresses: []string{"10.0.0.1"}}
	hidden := claim.Judge([]claim.Row{to("iad/b", 2, at("a", 1, claim.Moved)), at("b", 2, claim.Started)}, nil)[1]
	one := func(r claim.Row) claim.Verdict { return claim.Judge([]claim.Row{r}, nil)[0] }
	for _, tt := range []struct {
		name  string
		v     claim.Verdict
		f     claim.Facts
		wants int
	}{
		{"a started machine is routable", one(at("a", 1, claim.Started)), ok, 0},
		{"a moved machine still serves", one(to("iad/b", 2, at("a", 1, claim.Moved))), ok, 0},
		{"a hidden one does not", hidden, ok, 1},
		{"starting is not routable", one(at("a", 1, claim.Starting)), ok, 1},
		{"ended is not routable", one(because(claim.Destroyed, at("a", 1, claim.Ended))), ok, 1},
		{"warning is routable", one(at("a", 1, claim.Started)), claim.Facts{Health: claim.Warning, Addresses: ok.Addresses}, 0},
		{"failing is not", one(at("a", 1, claim.Started)), claim.Facts{Health: claim.Failing, Addresses: ok.Addresses}, 1},
		{"draining is not", one(at("a", 1, claim.Started)), claim.Facts{Draining: true, Addresses: ok.Addresses}, 1},
		{"no address is not", one(at("a", 1, claim.Started)), claim.Facts{}, 1},
		{"an address that cannot be served is not", one(at("a", 1, claim.Started)), claim.Facts{Addresses: []string{"10.0.0.1", "host"}}, 1},
		{"every reason is named", one(at("a", 1, claim.Stopping)), claim.Facts{Health: claim.Failing, Draining: true}, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := claim.WhyNot(tt.v, tt.f); len(got) != tt.wants {
				t.Errorf("why not = %q, want %d reasons", got, tt.wants)
			}
		})
	}
}

func TestEpoch(t *testing.T) {
	self := claim.Place{Region: "iad", Worker: "a"}
	gone := to("iad/b", 2, because(claim.WhyMoved, at("a", 1, claim.Ended)))
	for _, tt := range []struct {
		name     string
		rows     []claim.Row
		reclaims []claim.Reclaim
		want     uint64
	}{
		{"a new machine has epoch 1", nil, nil, 1},
		{"the last epoch stays", []claim.Row{at("a", 7, claim.Ended)}, nil, 7},
		{"another's epoch is none of ours", []claim.Row{at("b", 7, claim.Started)}, nil, 1},
		{"a grant to this worker lifts it", []claim.Row{to("iad/a", 5, at("b", 4, claim.Moved))}, nil, 5},
		{"a grant to another does not", []claim.Row{to("iad/c", 5, at("b", 4, claim.Moved))}, nil, 1},
		{"a reclaim for this worker lifts it", nil, []claim.Reclaim{reclaim("a", 6)}, 6},
		{"a reclaim for another does not", nil, []claim.Reclaim{reclaim("b", 6)}, 1},
		{"a target that yielded gives it back", []claim.Row{gone, because(claim.Yielded, at("b", 2, claim.Ended))}, nil, 3},
		{"not past another's claim", []claim.Row{gone, because(claim.Yielded, at("b", 2, claim.Ended)), at("c", 3, claim.Started)}, nil, 1},
		{"not past a destroy", []claim.Row{gone, because(claim.Yielded, at("b", 2, claim.Ended)), because(claim.Destroyed, at("c", 3, claim.Ended))}, nil, 1},
		{"not from a target that was withdrawn", []claim.Row{gone, because(claim.Withdrawn, at("b", 2, claim.Ended))}, nil, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := claim.Epoch(self, tt.rows, tt.reclaims); got != tt.want {
				t.Errorf("epoch = %d, want %d", got, tt.want)
			}
		})
	}
}

func TestWordsReadBack(t *testing.T) {
	for s := range claim.Ended + 1 {
		if got := claim.ParseState(s.String()); got != s {
			t.Errorf("state %v reads back as %v", s, got)
		}
	}
	for w := range claim.Yielded + 1 {
		if got := claim.ParseWhy(w.String()); got != w {
			t.Errorf("why %v reads back as %v", w, got)
		}
	}
	for h := range claim.Failing + 1 {
		if got := claim.ParseHealth(h.String()); got != h {
			t.Errorf("health %v reads back as %v", h, got)
		}
	}
}
