package dev

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/edge"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/fault"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/propagation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/screen"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// viewEvery is how often a terminal is drawn anew.
const viewEvery = time.Second

// view shows, at the bottom of a terminal, how the federation is, until ctx
// ends. Without a terminal it shows nothing.
func (s *session) view(ctx context.Context) error {
	width, ok := screen.Terminal(s.out)
	if !ok {
		return nil
	}
	v := screen.New(s.out, width, os.Getenv("NO_COLOR") == "")
	s.say.above(v)
	defer s.say.above(nil)
	defer v.End()
	t := time.NewTicker(viewEvery)
	defer t.Stop()
	for {
		v.Show(s.picture().lines())
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// picture is what a view shows.
type picture struct {
	regions     []fleet.Region
	nodes       map[fleet.Region]int
	down        []federation.Node
	faults      []fault.Command
	machines    truth.Snapshot
	requests    edge.Report
	propagation map[propagation.Tier]propagation.Summary
}

func (s *session) picture() picture {
	plan := s.federation.Plan()
	p := picture{
		regions: plan.Spec.Regions, nodes: map[fleet.Region]int{}, down: s.federation.Down(),
		machines: s.truth.Snapshot(), requests: s.tally.Report(), propagation: s.tracker.Look(),
		faults: s.engine.Active(),
	}
	for _, r := range p.regions {
		p.nodes[r] = len(plan.In(r))
	}
	return p
}

// maxRows is how many regions are shown, so that a view fits on a screen.
const maxRows = 12

func (p picture) lines() []string {
	out := []string{"", fmt.Sprintf("  %-12s %8s %10s %10s %8s %8s", "region", "nodes", "machines", "requests", "failed", "retries")}
	count, down := map[fleet.Region]int{}, map[fleet.Region]int{}
	for _, m := range p.machines {
		count[m.Region]++
	}
	for _, n := range p.down {
		down[n.Region]++
	}
	for _, r := range p.regions[:min(len(p.regions), maxRows)] {
		c := p.requests.Regions[r]
		nodes := fmt.Sprintf("%d/%d", p.nodes[r]-down[r], p.nodes[r])
		out = append(out, mark(down[r] > 0 || wrong(c))+fmt.Sprintf("%-12s %8s %10d %10d %8d %8d", r, nodes, count[r], c.Requests, c.Errors, c.Retries))
	}
	if more := len(p.regions) - maxRows; more > 0 {
		out = append(out, fmt.Sprintf("  and %d more", more))
	}
	c := p.requests.Counts
	out = append(out,
		mark(wrong(c))+fmt.Sprintf("edges: %d requests, %d failed, %d to the wrong machine, %d to stopped ones", c.Requests, c.Errors, c.WrongMachine, c.StoppedMachine),
		"  seen in ms, p50/p99: "+strings.Join(p.times(), ", "),
	)
	if len(p.down) > 0 {
		out = append(out, fmt.Sprintf("%sdown: %v", screen.Alert, p.down))
	}
	if len(p.faults) > 0 {
		out = append(out, fmt.Sprintf("%sbroken: %v", screen.Alert, p.faults))
	}
	return out
}

func wrong(c edge.Counts) bool { return c.WrongMachine+c.StoppedMachine > 0 }

func mark(alert bool) string {
	if alert {
		return screen.Alert
	}
	return "  "
}

func (p picture) times() []string {
	var out []string
	for _, tier := range propagation.Tiers {
		s := p.propagation[tier]
		if s.P50 == nil {
			out = append(out, fmt.Sprintf("%s -", tier))
			continue
		}
		out = append(out, fmt.Sprintf("%s %.1f/%.1f", tier, *s.P50, *s.P99))
	}
	return out
}
