package region

import (
	"fmt"
	"hash/fnv"
	"time"

	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/internal/admin"
	"github.com/firebreak-dev/firebreak/internal/checkpoint"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/replica/runner"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	adminv1 "github.com/firebreak-dev/firebreak/proto/firebreak/admin/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region/api"
	"github.com/firebreak-dev/firebreak/region/ledger"
	"github.com/firebreak-dev/firebreak/region/read"
	"github.com/firebreak-dev/firebreak/region/report/reporter"
	"github.com/firebreak-dev/firebreak/region/table"
	"github.com/firebreak-dev/firebreak/region/watch"
)

// How long the loops that own state may be silent. A loop marks at least every
// few seconds; a disk may hang for a while before it counts as wedged.
const wedged = 30 * time.Second

// assemble makes the parts between the store and the listeners.
func (n *Node) assemble() (err error) {
	cfg := n.cfg
	n.metrics = newMetrics(cfg.Registry)
	n.probes = newProbes(n)
	n.hub, err = watch.New(watch.Config{
		Region: cfg.Region, Store: n.db, OnEntry: n.probes.entry,
		Logger: n.log, Metrics: cfg.Registry, Progress: n.dog.Loop("hub", wedged).Mark,
	})
	if err != nil {
		return err
	}
	if n.doubt, err = openDoubt(n); err != nil {
		return err
	}
	n.fit, n.members = newFitness(n), newMembers(n)
	w := n.db.Writer()
	packing, err := replica.NewPacking(table.Dictionaries()...)
	if err != nil {
		return err
	}
	n.runner, err = runner.New(runner.Config{
		Node: w.Node, Store: n.db, Mesh: n.mesh, Packing: packing,
		Close: true, Alone: len(cfg.Seeds) == 0, Confirmed: n.doubt.none,
		Fit: n.fit.sinceStart, OnOwnTail: n.doubt.raise, Freeze: n.control.FreezeEgress,
		Seed: seed(n), Logger: n.log, Metrics: cfg.Registry, Progress: n.dog.Loop("replica", wedged).Mark,
	})
	if err != nil {
		return err
	}
	n.reader = &read.Reader{Region: cfg.Region, Store: n.db, Index: n.hub}
	n.ledger, err = ledger.New(ledger.Config{
		Region: cfg.Region, Worker: cfg.Node, Store: n.db, Index: n.hub, Peers: (*peers)(n), Spoke: n.doubt.spoke,
	})
	if err != nil {
		return err
	}
	if cfg.Gateway && len(cfg.Globals) > 0 {
		if err := n.assembleReporter(); err != nil {
			return err
		}
	}
	n.assembleServers()
	if cfg.CheckpointDir != "" {
		n.copies, err = checkpoint.New(checkpoint.Config{
			Dir: cfg.CheckpointDir, Database: n.dbPath(), State: checkpoint.StateDir(n.dbPath()), Store: n.db,
			Command: cfg.CheckpointChild, Logger: n.log, Metrics: cfg.Registry,
		})
	}
	return err
}

func (n *Node) assembleReporter() (err error) {
	cfg, w := n.cfg, n.db.Writer()
	n.reporter, err = reporter.New(reporter.Config{
		Fleet: cfg.Fleet, Region: cfg.Region, Node: cfg.Node, Locality: cfg.Locality,
		Generation: presence.Generation{Number: cfg.Generation.Number, Bits: cfg.Generation.Bits},
		Boot:       w.Boot, SchemaHash: schemaHash(n.db.Tables()), Globals: cfg.Globals,
		Dial: func(addr string) (*grpc.ClientConn, error) {
			return rpc.DialVia(cfg.Network, addr, cfg.Identity, identity.HasRole(cfg.Fleet, identity.Global))
		},
		View: (*view)(n), Freeze: n.control.FreezeEgress, Seed: seed(n),
		Progress: n.dog.Loop("reporter", wedged).Mark, Logger: n.log, Metrics: cfg.Registry,
	})
	if err != nil {
		return fmt.Errorf("reporter: %w", err)
	}
	return nil
}

func (n *Node) assembleServers() {
	n.service = &api.Server{
		Worker: n.cfg.Node, Ledger: n.ledger, Reader: n.reader, Hub: n.hub, SQL: n.db, Write: n.db, Live: n.live, Schemas: n.db, Node: n,
		Watches: &watch.Server{Hub: n.hub, Reader: n.reader, Coverage: n.Coverage, Changed: &n.fit.changed},
	}
	info := admin.NewService(admin.Info{
		Version: n.cfg.Version, Role: "region", Fleet: n.cfg.Fleet, Cluster: n.cfg.cluster(), Node: string(n.cfg.Node), Started: time.Now(),
	}, n.control).Over(func() []admin.Lane { return []admin.Lane{{Records: n.db}} }).
		WithClock(n.clock.Reset)
	n.server = rpc.NewServer(rpc.ServerConfig{Identity: n.cfg.Identity, Logger: n.log, Metrics: n.cfg.Registry})
	regionv1.RegisterRegionServiceServer(n.server, n.service)
	adminv1.RegisterAdminServiceServer(n.server, info)
	if n.socket != nil {
		n.local = rpc.NewServer(rpc.ServerConfig{Local: true, Fleet: n.cfg.Fleet, Logger: n.log, Metrics: n.cfg.Registry})
		regionv1.RegisterRegionServiceServer(n.local, n.service)
		adminv1.RegisterAdminServiceServer(n.local, info)
	}
}

// seed is this node's own: nodes that start together must not move together.
func seed(n *Node) int64 {
	h := fnv.New64a()
	fmt.Fprint(h, n.db.Writer())
	return int64(h.Sum64())
}
