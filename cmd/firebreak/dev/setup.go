package dev

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/daemon"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/fault"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/host"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/observe"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/poison"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/propagation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/traffic"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/trace"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
	"github.com/firebreak-dev/firebreak/router/catalog"
)

// prepare makes everything that speaks to the federation; it starts nothing.
func (s *session) prepare(ctx context.Context) error {
	s.truth = truth.New()
	plan := s.federation.Plan()
	var err error
	if s.hosts, err = host.Open(ctx, plan.Places()); err != nil {
		return err
	}
	s.prepareMeter(plan)
	cfg := observe.Config{Apps: s.apps(), Row: s.meter.Row}
	if err := s.clients(&cfg, plan); err != nil {
		return err
	}
	s.tracker = propagation.New(cfg.Observers())
	cfg.Tracker = s.tracker
	routers := make([]string, 0, plan.Spec.Routers)
	for _, n := range plan.Of(federation.Router) {
		routers = append(routers, n.GRPC)
	}
	s.catalog, err = catalog.New(catalog.Config{Routers: routers, TLS: s.federation.EdgeTLS(), Client: "dev"})
	if err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	cfg.Catalog = s.catalog
	s.watches = observe.New(cfg)
	if err := s.openEdges(ctx, plan, routers); err != nil {
		return err
	}
	if err := s.makeDaemons(plan); err != nil {
		return err
	}
	s.prepareFaults()
	return nil
}

func (s *session) makeDaemons(plan federation.Plan) error {
	numbers := &atomic.Uint64{}
	numbers.Store(uint64(time.Now().UnixMicro())) // above those of a former run
	nodes := map[truth.Place]federation.Node{}
	for _, n := range plan.Of(federation.Region) {
		nodes[n.Place()] = n
	}
	for i, p := range plan.Places() {
		client, err := s.federation.DaemonClient(nodes[p])
		if err != nil {
			return err
		}
		s.daemons = append(s.daemons, daemon.New(daemon.Config{
			Place: p, Client: client, Host: s.hosts[p], Truth: s.truth, Tracker: s.tracker,
			Numbers: numbers, Progress: s.say.say, Seed: s.seed + uint64(i),
		}))
	}
	return nil
}

// apps lists the apps that are known beforehand.
func (s *session) apps() []fleet.App {
	out := []fleet.App{fault.StormApp, fault.BesideApp, poison.App}
	if s.rate > 0 {
		out = append(out, traffic.Apps()...)
	}
	seen := map[fleet.App]bool{}
	for _, m := range s.schedule.Machines {
		if !seen[m.App] {
			seen[m.App] = true
			out = append(out, m.App)
		}
	}
	return out
}

// load gives the daemons what their workers run from the start: the machines
// from before a trace, else what their nodes hold of a former run.
func (s *session) load(ctx context.Context) error {
	if s.replay != nil {
		return s.player().Initial(ctx, s.daemons)
	}
	if !s.resume {
		return nil
	}
	for _, d := range s.daemons {
		if err := d.Adopt(ctx); err != nil {
			return err
		}
	}
	return nil
}

// clients speaks to every node, for the watches.
func (s *session) clients(cfg *observe.Config, plan federation.Plan) error {
	cfg.Regions = map[truth.Place]regionv1.RegionServiceClient{}
	cfg.Globals = map[fleet.Worker]globalv1.DirectoryServiceClient{}
	cfg.Routers = map[fleet.Worker]routerv1.RouterServiceClient{}
	for _, n := range plan.Nodes {
		var err error
		switch n.Role {
		case federation.Region:
			cfg.Regions[n.Place()], err = s.federation.RegionClient(n)
		case federation.Global:
			cfg.Globals[n.Name], err = s.federation.DirectoryClient(n)
		case federation.Router:
			cfg.Routers[n.Name], err = s.federation.RouterClient(n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sayReady tells what to try.
func (s *session) sayReady() {
	plan := s.federation.Plan()
	bin := os.Args[0]
	region := plan.Spec.Regions[0]
	app := fleet.App("web")
	if s.rate == 0 && len(s.schedule.Machines) > 0 {
		app = s.schedule.Machines[0].App
	}
	s.say.sayf("ready: %d regions with %d workers each, %d global nodes, %d routers", len(plan.Spec.Regions), plan.Spec.Workers, plan.Spec.Globals, plan.Spec.Routers)
	db := plan.In(region)[0]
	s.say.say("try, in another terminal" + s.devHint() + ":")
	for _, line := range []string{
		bin + " status",
		bin + " where " + string(app),
		bin + " watch " + string(app),
		bin + ` query "SELECT app, count(*) FROM fleet_current GROUP BY app"`,
		"curl -H 'Host: " + string(app) + "' " + s.edges[0].URL(),
		"sqlite3 -readonly " + s.federation.DB(db) + ` "SELECT * FROM fleet_machines LIMIT 3"`,
	} {
		s.say.say("  " + line)
	}
	if s.exitAfter == 0 && (s.replay == nil || s.replay.until == trace.Never) {
		s.say.say("Ctrl-C ends it")
	}
}

func (s *session) devHint() string {
	if !s.given["data"] {
		return ""
	}
	return " (with FIREBREAK_DEV=" + s.data + ")"
}
