package dev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/check"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/ctl"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/fault"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/link"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// breaking is what a session breaks its federation with.
type breaking struct {
	// Made by run.
	links *link.Links
	steps fault.Script

	// Made by prepare.
	meter  *fault.Meter
	engine *fault.Engine
	ctl    *ctl.Server

	result report // made by judge
}

// readFaults reads the files that say what to break and how slow the network
// is, and holds them against the federation that is about to be opened.
func (s *session) readFaults(former *federation.Plan) (*link.Links, error) {
	p, err := s.names(former)
	if err != nil {
		return nil, err
	}
	if s.script != "" {
		text, err := os.ReadFile(s.script)
		if err != nil {
			return nil, fmt.Errorf("--script: %w", err)
		}
		if s.steps, err = fault.ParseScript(bytes.NewReader(text)); err == nil {
			err = s.steps.Check(p)
		}
		if err != nil {
			return nil, fmt.Errorf("--script %s: %w", s.script, err)
		}
	}
	quality, err := s.readLatency(p)
	if err != nil {
		return nil, fmt.Errorf("--latency %s: %w", s.latency, err)
	}
	s.links = link.New(link.Config{Seed: s.seed, Quality: quality})
	return s.links, nil
}

// names is a plan with the names of the nodes that will be.
func (s *session) names(former *federation.Plan) (federation.Plan, error) {
	if former != nil {
		return *former, nil
	}
	return federation.NewPlan(s.spec)
}

// readLatency returns how good the links are; nil if they are perfect.
func (s *session) readLatency(p federation.Plan) (func(from, to link.Node) link.Quality, error) {
	sites, at := sitesOf(p)
	var m link.Map
	switch s.latency {
	case "", "none":
		return nil, nil
	case "wan":
		m = link.WAN(sites)
	default:
		text, err := os.ReadFile(s.latency)
		if err != nil {
			return nil, err
		}
		if m, err = link.ParseMap(bytes.NewReader(text), sites); err != nil {
			return nil, err
		}
	}
	return func(from, to link.Node) link.Quality { return m(at[from], at[to]) }, nil
}

// sitesOf says where each node stands. Global nodes and routers are spread over
// the sites of the regions.
func sitesOf(p federation.Plan) ([]link.Site, map[link.Node]link.Site) {
	var sites []link.Site
	for _, r := range p.Spec.Where() {
		sites = append(sites, link.Site(r))
	}
	at := map[link.Node]link.Site{}
	for _, role := range []federation.Role{federation.Global, federation.Router} {
		for i, n := range p.Of(role) {
			at[link.Node(n.String())] = sites[i%len(sites)]
		}
	}
	for _, n := range p.Of(federation.Region) {
		at[link.Node(n.String())] = link.Site(n.Where())
	}
	return sites, at
}

// prepareMeter makes the meter, which watches tell what they see.
func (s *session) prepareMeter(p federation.Plan) {
	s.meter = &fault.Meter{Plan: p, Ends: s.federation.Ends, Told: func(site fleet.Region) int64 {
		in := map[fleet.Worker]bool{}
		for _, n := range p.At(site) {
			in[n.Name] = true
		}
		told := int64(0)
		for i, at := range p.Places() {
			if in[at.Worker] {
				told += s.daemons[i].Told()
			}
		}
		return told
	}}
}

// prepareFaults makes what breaks things, once the daemons and edges are there.
func (s *session) prepareFaults() {
	s.meter.Edges = s.tally
	s.engine = fault.New(fault.Config{
		Fleet: s.federation, Links: s.links, Sink: s.daemons, Truth: s.truth, Bug: s.federation, Rate: s.rate, Sample: s.meter.Sample,
	})
}

// listenToOthers opens the socket of dev ctl, before anybody can read that all
// is ready. Its commands wait for the engine.
func (s *session) listenToOthers() (err error) {
	s.ctl, err = ctl.Listen(s.data, func(ctx context.Context, words []string, say func(string)) error {
		if isStatus(words) {
			for _, line := range s.picture().lines()[1:] { // without the gap above
				say(line)
			}
			return nil
		}
		c, err := fault.Parse(words)
		if err != nil {
			return err
		}
		return s.inject(ctx, c, say)
	})
	return err
}

// inject carries out a command; what it says goes to dev's terminal too.
func (s *session) inject(ctx context.Context, c fault.Command, say func(string)) error {
	s.say.say("fault: " + c.String())
	err := s.engine.Do(ctx, c, func(line string) {
		s.say.say("  " + line)
		say(line)
	})
	if err != nil && ctx.Err() == nil {
		s.say.sayf("  %v", err)
	}
	return err
}

// runScript carries out the script, until ctx ends.
func (s *session) runScript(ctx context.Context) error {
	start := time.Now()
	for _, step := range s.steps {
		t := time.NewTimer(time.Until(start.Add(step.At)))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
		if err := s.inject(ctx, step.Command, func(string) {}); err != nil && ctx.Err() == nil {
			return fmt.Errorf("script line %d: %s: %w", step.Line, step.Command, err)
		}
	}
	return nil
}

// mendWithin bounds the heal before the check.
const mendWithin = 2 * time.Minute

// mend heals what is still broken.
func (s *session) mend(ctx context.Context) error {
	if len(s.engine.Active()) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, mendWithin)
	defer cancel()
	if err := s.inject(ctx, fault.Command{Kind: fault.Heal}, func(string) {}); err != nil {
		return fmt.Errorf("heal: %w", errors.Join(err, ctx.Err()))
	}
	return nil
}

// judgeFaults adds a check for each fault.
func (s *session) judgeFaults(ctx context.Context, result *check.Result) []fault.Verdict {
	verdicts := s.engine.Judge(ctx, s.say.start)
	for _, v := range verdicts {
		result.Checks = append(result.Checks, check.Check{Name: "fault " + v.Fault, OK: v.OK, Detail: v.Detail})
	}
	return verdicts
}
