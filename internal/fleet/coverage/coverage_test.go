package coverage_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
)

var moment = time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)

func TestNamesAreFixed(t *testing.T) {
	want := []string{"live", "pruned", "stale", "pruned_stale", "timeout", "unreachable", "refused", "fenced"}
	var got []string
	for _, s := range coverage.States() {
		got = append(got, s.String())
		if back, err := coverage.ParseState(s.String()); err != nil || back != s {
			t.Errorf("%v: %v, %v", s, back, err)
		}
		if clusterv1.CoverageState(s).String() == "" || clusterv1.CoverageState_name[int32(s)] == "" {
			t.Errorf("%v has no number on the wire", s)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "LIVE", "state(0)", "unknown"} {
		if _, err := coverage.ParseState(bad); err == nil {
			t.Errorf("%q is a state", bad)
		}
	}
}

func TestCompleteMeansEveryRegionOfACurrentList(t *testing.T) {
	part := func(s coverage.State) coverage.Part { return coverage.Part{Region: "iad", State: s} }
	for _, s := range append(coverage.States(), 0) {
		want := s == coverage.Live || s == coverage.Pruned
		if got := coverage.Complete([]coverage.Part{part(coverage.Live), part(s)}, 0); got != want {
			t.Errorf("%v: complete %v", s, got)
		}
	}
	for age, want := range map[time.Duration]bool{0: true, coverage.Fresh: true, coverage.Fresh + 1: false, -1: false} {
		if got := coverage.Complete(nil, age); got != want {
			t.Errorf("list of age %v: complete %v", age, got)
		}
	}
}

func TestAsOfIsTheOldestAndUnknownIfOneIs(t *testing.T) {
	parts := []coverage.Part{{AsOf: moment}, {AsOf: moment.Add(-time.Second)}}
	if got := coverage.AsOf(parts); !got.Equal(moment.Add(-time.Second)) {
		t.Errorf("%v", got)
	}
	if got := coverage.AsOf(append(parts, coverage.Part{})); !got.IsZero() {
		t.Errorf("%v", got)
	}
}

func parts(t *rapid.T, label string) coverage.Part {
	p := coverage.Part{
		Region: "iad", State: coverage.State(rapid.IntRange(1, 8).Draw(t, label+" state")),
		Withheld: rapid.Uint64Range(0, 3).Draw(t, label+" withheld"), Detail: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, label+" detail"),
	}
	if p.State == coverage.Stale || p.State == coverage.PrunedStale {
		p.Age = time.Duration(rapid.IntRange(-1, 3).Draw(t, label+" age")) * time.Second
		if p.Age < 0 {
			p.Age = -1
		}
	} else if rapid.Bool().Draw(t, label+" has as of") {
		p.AsOf = moment.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, label+" as of")) * time.Second)
	}
	return p
}

func TestMergeIsASemilattice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := parts(t, "a"), parts(t, "b"), parts(t, "c")
		m := coverage.Merge
		if diff := cmp.Diff(m(a, b), m(b, a)); diff != "" {
			t.Errorf("not commutative: %s", diff)
		}
		if diff := cmp.Diff(m(m(a, b), c), m(a, m(b, c))); diff != "" {
			t.Errorf("not associative: %s", diff)
		}
		if diff := cmp.Diff(a, m(a, a)); diff != "" {
			t.Errorf("not idempotent: %s", diff)
		}
		if got := m(a, b).State; got != coverage.Worst(a.State, b.State) {
			t.Errorf("state %v of %v and %v", got, a.State, b.State)
		}
	})
}

func TestFormsComeBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := parts(t, "p")
		if diff := cmp.Diff(p, coverage.FromProto(p.Proto())); diff != "" {
			t.Errorf("proto: %s", diff)
		}
		data, err := json.Marshal(coverage.ByRegion{p})
		if err != nil {
			t.Fatal(err)
		}
		var back coverage.ByRegion
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(coverage.ByRegion{p}, back); diff != "" {
			t.Errorf("JSON: %s", diff)
		}
	})
}

func TestJSONIsAnObjectByRegion(t *testing.T) {
	got, err := json.Marshal(coverage.ByRegion{
		{Region: "nrt", State: coverage.Stale, Age: 1500 * time.Millisecond},
		{Region: "iad", State: coverage.Live, AsOf: moment},
		{Region: "iad", State: coverage.Timeout, Detail: "no answer in time"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"iad":{"state":"timeout","age_ms":0,"as_of_unix_ms":1767323045006,"withheld":0,"detail":"no answer in time"},` +
		`"nrt":{"state":"stale","age_ms":1500,"as_of_unix_ms":0,"withheld":0}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestText(t *testing.T) {
	for want, p := range map[string]coverage.Part{
		"iad: live":                             {Region: "iad", State: coverage.Live},
		"iad: pruned(2026-01-02T03:04:05.006Z)": {Region: "iad", State: coverage.Pruned, AsOf: moment},
		"iad: stale(1.5s), 3 withheld":          {Region: "iad", State: coverage.Stale, Age: 1500 * time.Millisecond, Withheld: 3},
		"iad: pruned_stale(never)":              {Region: "iad", State: coverage.PrunedStale, Age: -1},
		"iad: unreachable, connection refused":  {Region: "iad", State: coverage.Unreachable, Detail: "connection refused"},
	} {
		if got := p.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestUnknownStateFromOutsideCoversNothing(t *testing.T) {
	for _, s := range []clusterv1.CoverageState{0, 9, -1, 1 << 20, 256 + 1} {
		p := coverage.FromProto(&clusterv1.Coverage{Region: "iad", State: s})
		if p.State.Covered() || p.Region != fleet.Region("iad") {
			t.Errorf("state %d became %v", s, p)
		}
	}
	if p := coverage.FromProto(&clusterv1.Coverage{State: 3, AgeMs: 1<<63 - 1}); p.Age <= 0 {
		t.Errorf("an age that overflows became %v", p.Age)
	}
	if p := coverage.FromProto(nil); p.State.Covered() {
		t.Errorf("nothing became %v", p)
	}
}
