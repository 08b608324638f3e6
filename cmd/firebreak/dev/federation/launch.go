package federation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/link"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/poison"
	"github.com/firebreak-dev/firebreak/global"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/mesh/quic"
	"github.com/firebreak-dev/firebreak/internal/network"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/region"
	"github.com/firebreak-dev/firebreak/router"
)

// launcher starts one node, which lives as long as ctx.
type launcher interface {
	launch(ctx context.Context, n Node) (*running, error)
}

func (f *Federation) launcher(ctx context.Context) (launcher, error) {
	if f.cfg.Processes {
		return newChildren(ctx, f)
	}
	return inProcess{f}, nil
}

// logFile is where a node's log goes, in its directory.
const logFile = "log"

func (p paths) openLog(n Node) (*os.File, error) {
	if err := os.MkdirAll(p.node(n), 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(p.node(n), logFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

// inProcess runs nodes in this process, each with a registry and a log of its
// own.
type inProcess struct{ f *Federation }

// part is what a role's package makes.
type part interface{ Run(context.Context) error }

func (l inProcess) launch(ctx context.Context, n Node) (*running, error) {
	log, err := l.f.paths.openLog(n)
	if err != nil {
		return nil, err
	}
	r := &running{node: n, pid: os.Getpid(), ended: make(chan struct{}), kill: func() {}}
	port, leave := network.Network(network.Host{}), func() error { return nil }
	if links := l.f.cfg.Links; links != nil {
		p := links.Open(link.Node(n.String()))
		port, leave, r.kill = p, p.Close, p.Kill
	}
	p, err := l.make(ctx, n, port, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		return nil, errors.Join(err, leave(), log.Close())
	}
	if quiet, ok := p.(interface{ StopProbes() }); ok {
		r.stopProbes = quiet.StopProbes
	}
	go func() {
		defer close(r.ended)
		defer log.Close()
		defer leave() // what is still open goes with the node
		if r.err = p.Run(ctx); r.err == nil && ctx.Err() == nil {
			r.err = fmt.Errorf("it returned without being asked to")
		}
	}()
	return r, nil
}

func (l inProcess) make(ctx context.Context, n Node, port network.Network, log *slog.Logger) (part, error) {
	id, err := identity.Open(identity.Config{Files: l.f.paths.identity(n.ID()), Logger: log})
	if err != nil {
		return nil, err
	}
	switch n.Role {
	case Region:
		return l.region(ctx, n, id, port, log)
	case Global:
		return l.global(ctx, n, id, port, log)
	}
	return l.router(ctx, n, id, port, log)
}

func (l inProcess) region(ctx context.Context, n Node, id *identity.Source, port network.Network, log *slog.Logger) (part, error) {
	g := l.f.plan.Generations[n.Region]
	return region.New(ctx, region.Config{
		Fleet: Fleet, Region: n.Region, Node: n.Name, Locality: string(n.Where()),
		Generation: quic.Generation{Number: g.Number, Bits: g.Bits},
		Data:       l.f.paths.node(n), Identity: id,
		Gossip: n.Gossip, Seeds: l.f.plan.Seeds(n), GRPC: n.GRPC,
		Socket: l.f.paths.socketOf(n), Admin: n.Admin, HTTP: n.HTTP,
		Gateway: n.Gateway, Globals: l.f.plan.GlobalAddresses(),
		Durability: sqlite.Fsync, Schema: l.f.cfg.Schema, Network: port, Trip: poison.Trip(l.f.paths.bug(), poison.Panic),
		Control: filepath.Join(l.f.paths.node(n), "control.toml"),
		Logger:  log, Registry: prometheus.NewRegistry(), Version: l.f.cfg.Version,
	})
}

func (l inProcess) global(ctx context.Context, n Node, id *identity.Source, port network.Network, log *slog.Logger) (part, error) {
	return global.New(ctx, global.Config{
		Fleet: Fleet, Node: n.Name,
		Data: l.f.paths.node(n), Identity: id,
		Gossip: n.Gossip, Seeds: l.f.plan.Seeds(n), GRPC: n.GRPC, Admin: n.Admin,
		Control:    filepath.Join(l.f.paths.node(n), "control.toml"),
		Durability: sqlite.Fsync, BrakeObserve: !l.f.cfg.Enforce, Network: port,
		Logger: log, Registry: prometheus.NewRegistry(), Version: l.f.cfg.Version,
	})
}

func (l inProcess) router(ctx context.Context, n Node, id *identity.Source, port network.Network, log *slog.Logger) (part, error) {
	return router.New(ctx, router.Config{
		Fleet: Fleet, Node: n.Name,
		Data: l.f.paths.node(n), Identity: id,
		GRPC: n.GRPC, Admin: n.Admin, Globals: l.f.plan.GlobalAddresses(), Network: port,
		Control: filepath.Join(l.f.paths.node(n), "control.toml"),
		Logger:  log, Registry: prometheus.NewRegistry(), Version: l.f.cfg.Version,
	})
}
