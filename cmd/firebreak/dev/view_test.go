package dev

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/edge"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/fault"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/propagation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

func TestAViewShowsEachRegionAndMarksWhatIsWrong(t *testing.T) {
	half, two := 0.5, 2.0
	p := picture{
		regions: []fleet.Region{"iad", "ams"}, nodes: map[fleet.Region]int{"iad": 3, "ams": 3},
		down:     []federation.Node{{Role: federation.Region, Region: "ams", Name: "ams-2"}},
		faults:   []fault.Command{{Kind: fault.Stop, Target: fault.Target{Nodes: []string{"ams/ams-2"}}}},
		machines: truth.Snapshot{{Place: truth.Place{Region: "iad", Worker: "iad-1"}, ID: "a", App: "web"}},
		requests: edge.Report{
			Counts:  edge.Counts{Requests: 7, StoppedMachine: 1},
			Regions: map[fleet.Region]edge.Counts{"iad": {Requests: 7}},
		},
		propagation: map[propagation.Tier]propagation.Summary{propagation.Region: {P50: &half, P99: &two}},
	}
	want := []string{
		"",
		"  region nodes machines requests failed retries",
		"  iad 3/3 1 7 0 0",
		"! ams 2/3 0 0 0 0",
		"! edges: 7 requests, 0 failed, 0 to the wrong machine, 1 to stopped ones",
		"  seen in ms, p50/p99: region 0.5/2.0, global -, router -, catalog -",
		"! down: [ams/ams-2]",
		"! broken: [stop node ams/ams-2]",
	}
	var got []string
	for _, line := range p.lines() {
		if len(line) > 79 {
			t.Errorf("%q does not fit", line)
		}
		words := strings.Join(strings.Fields(line), " ")
		switch {
		case strings.HasPrefix(line, "  "):
			words = "  " + words
		}
		got = append(got, words)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAViewOfManyRegionsFitsOnAScreen(t *testing.T) {
	var p picture
	for range 64 {
		p.regions = append(p.regions, "iad")
	}
	if lines := p.lines(); len(lines) > 24 || !strings.Contains(strings.Join(lines, "\n"), "and 52 more") {
		t.Errorf("%d lines", len(lines))
	}
}
