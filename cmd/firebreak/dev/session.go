package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/check"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/daemon"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/edge"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/host"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/load"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/observe"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/propagation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/pulse"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/traffic"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/trace"
	"github.com/firebreak-dev/firebreak/router/catalog"
)

// syncWithin bounds the wait for the first load and for the watches.
const syncWithin = 2 * time.Minute

// session is one run.
type session struct {
	options
	version string
	out     io.Writer // data
	say     *progress

	// Of tests.
	beforeCheck func(*truth.Model)              // nil for nothing
	checkWithin time.Duration                   // zero for the check's own
	edgeCatalog func(edge.Catalog) edge.Catalog // what an edge sees of its catalog; nil for all
	binary      string                          // of the processes; empty for this one's

	// Made by run.
	schedule   trace.Schedule
	federation *federation.Federation

	// Made by prepare.
	truth   *truth.Model
	tracker *propagation.Tracker
	daemons daemons
	catalog *catalog.Client
	watches *observe.Watches
	hosts   host.Hosts
	edges   edges
	tally   *edge.Tally
	pulse   pulse.Pulse

	breaking

	reached trace.Time // where the replay is at its end
}

// daemons are the workers' daemons in the order of placement.
type daemons []*daemon.Daemon

// Offer makes ds a traffic.Sink.
func (ds daemons) Offer(ctx context.Context, worker int, changes ...daemon.Change) error {
	return ds[worker].Offer(ctx, changes...)
}

// work feeds the federation, which is ready, and checks it.
func (s *session) work(ctx context.Context) error {
	defer s.close()
	if err := s.prepare(ctx); err != nil {
		return err
	}
	if err := s.load(ctx); err != nil {
		return err
	}
	s.edges.watch(s.apps(), s.truth.Snapshot())
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var g errgroup.Group
	for _, d := range s.daemons {
		g.Go(func() error { return d.Run(background) })
	}
	g.Go(func() error { return s.catalog.Run(background) })
	g.Go(func() error { return s.pulse.Run(background) })
	g.Go(func() error { return s.hosts.Run(background) })
	g.Go(func() error { return s.edges.run(background) })
	g.Go(func() error { return s.watches.Run(background) })
	g.Go(func() error { return s.engine.Run(background) })
	g.Go(func() error { return s.ctl.Run(background) })
	err := s.live(ctx)
	stop()
	return errors.Join(err, g.Wait())
}

// live is the run from the first load to the report.
func (s *session) live(ctx context.Context) error {
	if err := s.settle(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	s.sayReady()
	if err := s.feed(ctx); err != nil {
		return err
	}
	if ctx.Err() != nil && s.report == "" {
		return nil // Ctrl-C, and nobody asked for anything
	}
	// From here on the next Ctrl-C ends it.
	ctx, cancel := signal.NotifyContext(context.WithoutCancel(ctx), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	return s.judge(ctx)
}

// settle waits until the first load is over, listed, and watched by everybody.
func (s *session) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, syncWithin)
	defer cancel()
	if n := len(s.truth.Snapshot()); n > 0 {
		s.say.sayf("loading %d machines", n)
	}
	for _, d := range s.daemons {
		if err := d.Idle(ctx); err != nil {
			return err
		}
	}
	if err := s.watches.Synced(ctx); err != nil {
		return err
	}
	if err := check.Listed(ctx, s.federation, s.truth.Snapshot()); err != nil {
		return err
	}
	s.tracker.Resume()
	return nil
}

// feed makes traffic until it is time to end.
func (s *session) feed(ctx context.Context) error {
	if s.exitAfter > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.exitAfter)
		defer cancel()
	}
	g, ctx := errgroup.WithContext(ctx)
	ctx, end := context.WithCancel(ctx)
	defer end()
	if s.rate > 0 {
		model := traffic.NewModel(s.seed, len(s.daemons), fmt.Sprintf("dev-%d", time.Now().UnixMilli()))
		g.Go(func() error { return traffic.Invent(ctx, model, s.rate, s.daemons) })
	}
	if s.requests > 0 {
		within := settled
		if s.processes {
			within = settledByOthers
		}
		users := load.New(load.Config{Rate: s.requests, Edges: s.edges.addresses(), Fleet: findable{s.hosts, s.engine, &s.pulse, within}, Tally: s.tally, Pulse: &s.pulse, Seed: s.seed})
		g.Go(func() error { return users.Run(ctx) })
	}
	if s.replay != nil {
		g.Go(func() (err error) {
			if s.reached, err = s.player().Run(ctx, s.daemons); err == nil && s.replay.until != trace.Never {
				end()
			}
			return err
		})
	}
	if s.upgrades > 0 {
		g.Go(func() error { return s.upgradeNodes(ctx) })
	}
	g.Go(func() error { return s.view(ctx) })
	g.Go(func() error { return s.runScript(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		return nil
	})
	return g.Wait()
}

func (s *session) player() traffic.Replay {
	until := s.replay.until
	if until == trace.Never {
		until = s.schedule.End()
	}
	return traffic.Replay{
		Schedule: s.schedule, Until: until, Speed: s.replay.speed, Workers: len(s.daemons),
		Progress: func(now trace.Time, done int) {
			waiting := 0
			for _, d := range s.daemons {
				waiting += d.Waiting()
			}
			s.say.sayf("trace at %.0f s, %d of %d events, %d waiting for their node", now.Seconds(), done, len(s.schedule.Events), waiting)
		},
	}
}

// judge checks the federation, says what came out, and writes the report.
func (s *session) judge(ctx context.Context) error {
	if s.beforeCheck != nil {
		s.beforeCheck(s.truth)
	}
	if err := s.mend(ctx); err != nil {
		return err
	}
	s.federation.StopProbes()
	s.say.say("traffic has stopped; checking")
	result := check.Run(ctx, check.Config{
		Nodes: s.federation, Daemons: s.daemons, Truth: s.truth, Catalog: s.catalog, Apps: s.apps(),
		Edges: s.edges.catalogs(), Requests: s.tally, Faults: s.engine.Count(), Within: s.checkWithin,
	})
	verdicts := s.judgeFaults(ctx, &result)
	s.result = s.makeReport(ctx, result, verdicts)
	for _, c := range result.Checks {
		word := "ok"
		if !c.OK {
			word = "FAILED"
		}
		fmt.Fprintf(s.out, "%-7s %-24s %s\n", word, c.Name, c.Detail)
	}
	if s.report != "" {
		if err := s.result.write(s.report); err != nil {
			return err
		}
	}
	if err := result.Err(); err != nil {
		return fmt.Errorf("self-check: %w", err)
	}
	return nil
}
