// Package router answers questions that span regions: where an app runs, what
// a SELECT says over many regions, and what changes in an app's machines. It
// holds no truth: a copy of the directory, with which it leaves out the regions
// that provably do not matter, and connections to the gateways of the others.
//
// What it keeps true:
//
//   - Every answer says, region by region, how it was covered. A region that
//     could not be asked is named, never left out.
//   - A region costs its own answers and nothing else. Each has its own
//     connections, limits, breaker, latency record, watch stream and locks.
//   - It needs nobody to keep answering: with every global node gone it uses
//     its last copy, also after a restart, and says how old that is.
//
// The rules are pure and lie below: directory (the copy), plan (whom to ask and
// what the answers amount to), join (a watch over many regions). The package
// itself drives them.
package router

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/internal/admin"
	"github.com/firebreak-dev/firebreak/internal/control"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	"github.com/firebreak-dev/firebreak/internal/watchdog"
	adminv1 "github.com/firebreak-dev/firebreak/proto/firebreak/admin/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
	"github.com/firebreak-dev/firebreak/router/directory"
)

// loopBound is how long a loop of the router may be silent.
const loopBound = time.Minute

// Router is one router process. Safe for concurrent use.
type Router struct {
	// Set by New, then constant.
	cfg      Config
	service  *service
	follower *follower
	saver    *saver
	control  *control.Control
	dog      *watchdog.Watchdog
	server   *rpc.Server
	lis      net.Listener
	admin    *admin.Server // nil if there is none
}

// New opens the listeners and reads the last-good file. Run starts the work;
// what New opened is closed by Run, or by New if it fails.
func New(ctx context.Context, cfg Config) (r *Router, err error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("router config: %w", err)
	}
	cfg = cfg.withDefaults()
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("router data: %w", err)
	}
	r = &Router{cfg: cfg, dog: watchdog.New(watchdog.Config{Logger: cfg.Logger})}
	if r.control, err = control.Open(cfg.Control, cfg.Logger); err != nil {
		return nil, err
	}
	r.assemble(newMetrics(registerer(cfg.Registry)))
	if r.lis, err = cfg.Network.Listen(cfg.GRPC); err != nil {
		return nil, fmt.Errorf("listen for gRPC: %w", err)
	}
	if cfg.Admin != "" {
		r.admin, err = admin.New(admin.Config{Listen: cfg.Admin, Ready: r.service.notReady, Registry: cfg.Registry, Logger: cfg.Logger})
		if err != nil {
			_ = r.lis.Close()
			return nil, err
		}
	}
	r.server = rpc.NewServer(rpc.ServerConfig{Identity: cfg.Identity, Logger: cfg.Logger, Metrics: registerer(cfg.Registry)})
	routerv1.RegisterRouterServiceServer(r.server, r.service)
	adminv1.RegisterAdminServiceServer(r.server, admin.NewService(admin.Info{
		Version: cfg.Version, Role: "router", Fleet: cfg.Fleet, Node: string(cfg.Node), Started: time.Now(),
	}, r.control))
	return r, nil
}

// assemble puts the parts together; none of them runs yet.
func (r *Router) assemble(m *metrics) {
	start := time.Now()
	now := func() directory.Instant {
		t := time.Now()
		return directory.Instant{Wall: t.UnixNano(), Mono: t.Sub(start)}
	}
	cfg := r.cfg
	c := newCopy(cfg.Fleet, len(cfg.Globals), now)
	c.load(readLastGood(cfg.Data, cfg.Fleet, now(), cfg.Logger))
	r.service = &service{cfg: cfg, copy: c, watchers: newWatchers(), metrics: m}
	r.service.clients = newRegions(&regions{
		self: cfg.Node, now: now, log: cfg.Logger, metrics: m,
		record: func(name fleet.Region) presence.Region { rec, _ := c.record(name); return rec },
		dial: func(addr string, region fleet.Region) (*grpc.ClientConn, error) {
			return rpc.DialVia(cfg.Network, addr, cfg.Identity, identity.InRegion(cfg.Fleet, string(region), identity.Gateway))
		},
	})
	r.follower = &follower{
		router: string(cfg.Node), targets: cfg.Globals, copy: c, changed: r.service.changed, log: cfg.Logger, metrics: m,
		loop: r.dog.Loop("follow global", loopBound),
		dial: func(addr string) (*grpc.ClientConn, error) {
			return rpc.DialVia(cfg.Network, addr, cfg.Identity, identity.HasRole(cfg.Fleet, identity.Global))
		},
	}
	r.saver = &saver{
		path: filepath.Join(cfg.Data, LastGood), copy: c, log: cfg.Logger, metrics: m,
	} // watched by nobody: a hung disk costs a router no answer
}

// registerer keeps a nil registry from becoming an interface that is not nil.
func registerer(reg *prometheus.Registry) prometheus.Registerer {
	if reg == nil {
		return nil
	}
	return reg
}

// Addresses returns where the router listens.
func (r *Router) Addresses() Addresses {
	a := Addresses{GRPC: r.lis.Addr().String()}
	if r.admin != nil {
		a.Admin = r.admin.Addr()
	}
	return a
}

// Run serves until ctx ends, and then writes the last-good file. It returns
// nil when asked to stop.
func (r *Router) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.cfg.Identity.Run(ctx) })
	g.Go(func() error { return r.control.Run(ctx) })
	g.Go(func() error { return r.dog.Run(ctx) })
	g.Go(func() error { return r.follower.run(ctx) })
	g.Go(func() error { return r.saver.run(ctx) })
	g.Go(func() error { return r.service.clients.run(ctx) })
	g.Go(func() error { return rpc.Serve(ctx, r.server, r.lis) })
	if r.admin != nil {
		g.Go(func() error { return r.admin.Run(ctx) })
	}
	return g.Wait()
}
