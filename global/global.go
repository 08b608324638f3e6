// Package global is a global node: the directory of which regions run which
// apps. Reports come in from gateways, each for its own region alone; global
// nodes gossip them among themselves; routers and operators read.
//
// Each region is kept apart in a lane: a database file, a replica core, a
// queue, a lock and a budget of its own, so that a bad or busy region costs
// itself and nothing else. The list of regions is a lane of its own, which
// only operators write: a lane of no name, in the file global.db (no region
// can have that name). A lane is opened when the list first names its region,
// and frames for a lane that is not open are dropped, to be synced later.
//
// What a node knows beyond the replicated rows, the confirmations and the
// withdrawals that the brake holds, is in memory: it is offered again within
// seconds.
package global

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/global/directory"
	"github.com/firebreak-dev/firebreak/internal/admin"
	"github.com/firebreak-dev/firebreak/internal/control"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/mesh/quic"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/replica/runner"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/internal/watchdog"
	adminv1 "github.com/firebreak-dev/firebreak/proto/firebreak/admin/v1"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
)

// laneBound is how long a lane's loop may be silent: a write waits for a disk.
const laneBound = 30 * time.Second

// Node is one global node. Safe for concurrent use.
type Node struct {
	// Set by New, then constant.
	cfg      Config
	start    time.Time
	metrics  *metrics
	control  *control.Control
	watchdog *watchdog.Watchdog
	list     *ledger
	lanes    *lanes
	peers    *peers
	mesh     *quic.Mesh
	packing  *replica.Packing // of all lanes
	lis      net.Listener
	admin    *admin.Server // nil for none

	state atomic.Pointer[servingState]

	mu     sync.Mutex // guards stores
	stores []*sqlite.DB
}

// Addresses is where a node listens.
type Addresses struct {
	Gossip, GRPC, Admin string
	DB                  string // the directory with a database file per lane
	Boot, Bits          uint64 // of the writer of the list of regions
}

// New opens the list of regions and the listeners. What it opened it closes
// again on an error.
func New(ctx context.Context, cfg Config) (*Node, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("global config: %w", err)
	}
	n := &Node{cfg: cfg.withDefaults(), start: time.Now(), peers: newPeers()}
	n.state.Store(&servingState{because: "starting"})
	if err := n.open(ctx); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *Node) open(ctx context.Context) (err error) {
	cfg := n.cfg
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	n.metrics = newMetrics(cfg.Registry)
	n.watchdog = watchdog.New(watchdog.Config{Logger: cfg.Logger})
	if n.control, err = control.Open(cfg.Control, cfg.Logger); err != nil {
		return err
	}
	if n.packing, err = replica.NewPacking(dictionaries()...); err != nil {
		return err
	}
	db, err := n.openStore(ctx, "", listTables())
	if err != nil {
		return fmt.Errorf("list of regions: %w", err)
	}
	w := db.Writer()
	conn, err := cfg.Network.ListenPacket(cfg.Gossip)
	if err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	n.mesh, err = quic.Listen(quic.Config{
		Identity: cfg.Identity, Fleet: cfg.Fleet, Cluster: "global", Node: record.Node(cfg.Node),
		Boot: w.Boot, Bits: w.Bits, Locality: cfg.Locality, Bind: cfg.Gossip, Advertise: cfg.GossipAdvertise, Conn: conn,
		Seeds: cfg.Seeds, PeersFile: filepath.Join(cfg.Data, "peers"),
		Denied: n.control.DenyNode, Logger: cfg.Logger, Metrics: cfg.Registry,
	})
	if err != nil {
		_ = conn.Close() // again, unless the mesh refused its configuration
		return err
	}
	if n.list, err = n.newLedger("", db, listMesh{laneMesh{n.mesh, ""}, n.mesh}); err != nil {
		return err
	}
	n.lanes = newLanes(n.list, func(r fleet.Region) (*lane, error) { return n.openLane(ctx, r) })
	if n.lis, err = cfg.Network.Listen(cfg.GRPC); err != nil {
		return fmt.Errorf("gRPC listener: %w", err)
	}
	if cfg.Admin == "" {
		return nil
	}
	n.admin, err = admin.New(admin.Config{Listen: cfg.Admin, Ready: n.serves, Registry: cfg.Registry, Logger: cfg.Logger})
	return err
}

// openStore opens a lane's database.
func (n *Node) openStore(ctx context.Context, laneName string, tables []schema.Table) (store.Store, error) {
	file := laneName
	if file == "" {
		file = "global"
	}
	db, err := sqlite.Open(ctx, sqlite.Config{
		Path: filepath.Join(n.cfg.Data, file+".db"), Fleet: n.cfg.Fleet, Cluster: "global", Lane: laneName,
		Node: record.Node(n.cfg.Node), Tables: tables, Durability: n.cfg.Durability,
		SetAside: true, Program: n.cfg.Version, Progress: n.watchdog.Loop("store "+laneName, laneBound).Mark,
		Logger: n.cfg.Logger, Metrics: n.cfg.Registry,
	})
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stores = append(n.stores, db)
	return db, nil
}

func (n *Node) newLedger(laneName string, db store.Store, via runner.Sender) (*ledger, error) {
	loop := n.watchdog.Loop("replica "+laneName, laneBound)
	r, err := runner.New(runner.Config{
		Node: record.Node(n.cfg.Node), Lane: laneName, Store: db, Mesh: via, Packing: n.packing,
		Close: true, Alone: len(n.cfg.Seeds) == 0,
		Fit: func() bool { return n.serves() == nil }, Freeze: n.control.FreezeEgress, Seed: n.start.UnixNano(),
		Logger: n.cfg.Logger, Metrics: n.cfg.Registry, Progress: loop.Mark,
	})
	if err != nil {
		return nil, fmt.Errorf("replication of lane %q: %w", laneName, err)
	}
	return newLedger(laneName, db, r, n.peers, loop, n.cfg.Logger), nil
}

// openLane opens a region's lane. One that cannot be opened comes back as a
// failed one: the others are served.
func (n *Node) openLane(ctx context.Context, region fleet.Region) (*lane, error) {
	core := directory.New(directory.Config{Fleet: n.cfg.Fleet, Region: region, Observe: n.cfg.BrakeObserve})
	n.metrics.regions.Inc()
	led, err := n.openLedger(ctx, string(region), laneTables(region))
	if err != nil {
		n.cfg.Logger.Error("lane not opened", "region", string(region), "err", err)
		return failedLane(region, core, err), err
	}
	return newLane(region, led, core, n.now, n.watchdog.Loop("lane "+string(region), laneBound)), nil
}

func (n *Node) openLedger(ctx context.Context, name string, tables []schema.Table) (*ledger, error) {
	db, err := n.openStore(context.WithoutCancel(ctx), name, tables)
	if err != nil {
		return nil, err
	}
	return n.newLedger(name, db, laneMesh{n.mesh, name})
}

// now is the moment for the directories.
func (n *Node) now() directory.Instant {
	return directory.Instant{Mono: time.Since(n.start), Wall: time.Now().UnixMilli()}
}

// Addresses returns where the node listens.
func (n *Node) Addresses() Addresses {
	w := n.list.store.Writer()
	a := Addresses{Gossip: n.mesh.Addr(), GRPC: n.lis.Addr().String(), DB: n.cfg.Data, Boot: w.Boot, Bits: w.Bits}
	if n.cfg.GRPCAdvertise != "" {
		a.GRPC = n.cfg.GRPCAdvertise
	}
	if n.admin != nil {
		a.Admin = n.admin.Addr()
	}
	return a
}

// Run serves until ctx ends, then closes everything. Call it once.
func (n *Node) Run(ctx context.Context) error {
	defer n.closeStores()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.mesh.Run(ctx, &switchboard{n.lanes, n.peers, n.metrics}) })
	group.Go(func() error { return n.list.run(ctx) })
	group.Go(func() error { return n.runLanes(ctx) })
	group.Go(func() error { return n.becomeServing(ctx) })
	group.Go(func() error { return n.cfg.Identity.Run(ctx) })
	group.Go(func() error { return n.cfg.Identity.Run(ctx) })
	group.Go(func() error { return n.control.Run(ctx) })
	group.Go(func() error { return n.watchdog.Run(ctx) })
	group.Go(func() error { return rpc.Serve(ctx, n.server(), n.lis) })
	if n.admin != nil {
		group.Go(func() error { return n.admin.Run(ctx) })
	}
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("global node %s: %w", n.cfg.Node, err)
	}
	return nil
}

// runLanes runs each lane from when it is opened. A lane that ends is its own
// region's trouble, unless its database has failed: that is the disk's, and
// only a new start may read it again.
func (n *Node) runLanes(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	disk := make(chan error, 1) // one is enough to end the node
	running := map[*lane]bool{}
	for {
		for _, l := range n.lanes.sorted() {
			if !running[l] && l.failure() == nil {
				running[l] = true
				group.Go(func() {
					l.run(ctx)
					if err := l.failure(); errors.Is(err, sqlite.ErrFsync) || errors.Is(err, sqlite.ErrDamaged) {
						select {
						case disk <- err:
						default:
						}
					}
				})
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-disk:
			return err
		case <-n.lanes.opened:
		}
	}
}

func (n *Node) server() *rpc.Server {
	srv := rpc.NewServer(rpc.ServerConfig{
		Identity: n.cfg.Identity, Fleet: n.cfg.Fleet, Logger: n.cfg.Logger, Metrics: n.cfg.Registry,
	})
	globalv1.RegisterReportServiceServer(srv, &reportService{lanes: n.lanes, now: n.now, frozen: n.control.FreezeEgress, metrics: n.metrics})
	globalv1.RegisterDirectoryServiceServer(srv, &directoryService{node: n})
	globalv1.RegisterOperatorServiceServer(srv, &operatorService{node: n})
	adminv1.RegisterAdminServiceServer(srv, admin.NewService(admin.Info{
		Version: n.cfg.Version, Role: "global", Fleet: n.cfg.Fleet, Cluster: "global", Node: string(n.cfg.Node), Started: n.start,
	}, n.control).Over(n.records))
	return srv
}

// records are the stores as their operator sees them: of every lane, and of
// the list of regions.
func (n *Node) records() []admin.Lane {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []admin.Lane
	for _, db := range n.stores {
		out = append(out, admin.Lane{Name: db.Lane(), Records: db})
	}
	return out
}

// close undoes a New that failed half way.
func (n *Node) close() {
	if n.admin != nil {
		_ = n.admin.Close()
	}
	if n.lis != nil {
		_ = n.lis.Close()
	}
	if n.mesh != nil {
		_ = n.mesh.Close()
	}
	n.closeStores()
}

func (n *Node) closeStores() {
	n.mu.Lock()
	stores := n.stores
	n.stores = nil
	n.mu.Unlock()
	for _, db := range stores {
		if err := db.Close(); err != nil {
			n.cfg.Logger.Warn("close database", "err", err)
		}
	}
}

// listMesh is the mesh as the list's runner sees it: its writer is the one that
// the node announces.
type listMesh struct {
	laneMesh
	announce interface{ SetWriter(boot, bits uint64) }
}

// SetWriter is called when the list's writer was renewed.
func (m listMesh) SetWriter(boot, bits uint64) { m.announce.SetWriter(boot, bits) }

var _ mesh.Mesh = laneMesh{}
