// Package region is a region node: it takes one worker's writes, replicates
// them to every node of its region, and answers queries and watches from its
// own database. A gateway also answers routers, and tells global which apps
// have machines in the region.
//
// A node reads and writes with everything else down. It writes only rows of
// its own worker, so nothing that happens to other nodes, to global or to
// routers writes a row here; and a node is not its host: when one dies, the
// others list its machines as suspect, and take none away.
//
// The parts: table (the built-in tables), machine (checks of what comes in),
// ledger (the worker's own rows), roster (the index in memory), read and watch
// (answers), fit (may this node speak for its region), api (gRPC), report
// (what global is told). This package joins them with the store, the mesh and
// the replication of package internal/replica.
package region

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/firebreak-dev/firebreak/internal/admin"
	"github.com/firebreak-dev/firebreak/internal/checkpoint"
	"github.com/firebreak-dev/firebreak/internal/control"
	"github.com/firebreak-dev/firebreak/internal/httpd"
	"github.com/firebreak-dev/firebreak/internal/live"
	"github.com/firebreak-dev/firebreak/internal/mesh/quic"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica/runner"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/internal/watchdog"
	"github.com/firebreak-dev/firebreak/region/api"
	"github.com/firebreak-dev/firebreak/region/clock"
	"github.com/firebreak-dev/firebreak/region/ledger"
	"github.com/firebreak-dev/firebreak/region/read"
	"github.com/firebreak-dev/firebreak/region/report/reporter"
	"github.com/firebreak-dev/firebreak/region/table"
	"github.com/firebreak-dev/firebreak/region/watch"
)

// Addresses is where a node listens and where its database is.
type Addresses struct {
	Gossip, GRPC, Admin, HTTP, Socket string
	DB                                string // path of the database file
	Boot, Bits                        uint64 // of this start's writer
}

// Node is a region node. Make one with New and Run it once.
type Node struct {
	// Set by New, then constant.
	cfg      Config
	log      *slog.Logger
	started  time.Time
	control  *control.Control
	dog      *watchdog.Watchdog
	db       *sqlite.DB
	mesh     *quic.Mesh
	runner   *runner.Runner
	hub      *watch.Hub
	reader   *read.Reader
	ledger   *ledger.Ledger
	fit      *fitness
	members  *members
	probes   *probes
	doubt    *doubt
	clock    *clock.Watch
	reporter *reporter.Reporter // nil unless a gateway
	server   *rpc.Server
	local    *rpc.Server  // nil without a socket
	grpc     net.Listener // of server
	socket   net.Listener // of local; nil without a socket
	admin    *admin.Server
	live     *live.Engine
	service  *api.Server
	http     *httpd.Server // nil without an address
	metrics  *metrics
	files    *schemaFollower
	copies   *checkpoint.Supervisor // nil without checkpoints

	stopping atomic.Bool
}

// New opens the database and the listeners of a node; Run serves it. An error
// leaves nothing open.
func New(ctx context.Context, cfg Config) (_ *Node, err error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("region node config: %w", err)
	}
	cfg = cfg.withDefaults()
	n := &Node{cfg: cfg, log: cfg.Logger, started: time.Now()}
	n.clock = newClock(n)
	n.files = newSchemaFollower(cfg.Schema, n.loadSchema, n.log)
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if n.control, err = control.Open(cfg.Control, n.log); err != nil {
		return nil, err
	}
	n.dog = watchdog.New(watchdog.Config{Logger: n.log})
	if err := n.openStore(ctx); err != nil {
		return nil, err
	}
	if err := n.files.open(ctx); err != nil {
		return nil, err
	}
	if n.grpc, err = cfg.Network.Listen(cfg.GRPC); err != nil {
		return nil, fmt.Errorf("listen for gRPC: %w", err)
	}
	if err := n.checkGateway(); err != nil {
		return nil, err
	}
	if cfg.Socket != "" {
		if n.socket, err = rpc.ListenSocket(cfg.Socket); err != nil {
			return nil, err
		}
	}
	if err := n.openMesh(); err != nil {
		return nil, err
	}
	if err := n.openLive(); err != nil {
		return nil, err
	}
	if err := n.assemble(); err != nil {
		return nil, err
	}
	if err := n.openHTTP(); err != nil {
		return nil, err
	}
	if cfg.Admin != "" {
		n.admin, err = admin.New(admin.Config{Listen: cfg.Admin, Ready: n.ready, Registry: cfg.Registry, Logger: n.log})
	}
	return n, err
}

func (n *Node) openStore(ctx context.Context) (err error) {
	n.db, err = sqlite.Open(ctx, sqlite.Config{
		Path: n.dbPath(), Fleet: n.cfg.Fleet, Cluster: n.cfg.cluster(), Node: record.Node(n.cfg.Node),
		Definitions: true, Tables: table.All(), Views: table.Views(n.cfg.Region),
		Durability: n.cfg.Durability, SetAside: true, Program: n.cfg.Version, Budget: sqlite.Budget{Rate: writerRate, Burst: writerBurst}, Progress: n.dog.Loop("store", wedged).Mark, Trip: n.cfg.Trip,
		Now: n.cfg.Now, ClockFault: n.clock.Fault,
		Logger: n.log, Metrics: n.cfg.Registry,
	})
	return err
}

// What one writer may write: a full list of a worker at once, and far more in
// the long run than a cell is made for. See docs/reference/withheld.md.
const (
	writerRate  = 5_000   // records a second
	writerBurst = 200_000 // records
)

func (n *Node) openMesh() (err error) {
	w := n.db.Writer()
	cfg := quic.Config{
		Identity: n.cfg.Identity, Fleet: n.cfg.Fleet, Cluster: n.cfg.cluster(), Generation: n.cfg.Generation,
		Node: w.Node, Boot: w.Boot, Bits: w.Bits, Locality: n.cfg.Locality,
		Bind: n.cfg.Gossip, Advertise: n.cfg.GossipAdvertise,
		Seeds: n.cfg.Seeds, PeersFile: filepath.Join(n.cfg.Data, "peers"),
		Denied: n.control.DenyNode, Logger: n.log, Metrics: n.cfg.Registry,
	}
	if n.cfg.Gateway {
		cfg.Gateway = n.grpcAddress()
	}
	if cfg.Conn, err = n.cfg.Network.ListenPacket(n.cfg.Gossip); err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	if n.mesh, err = quic.Listen(cfg); err != nil {
		_ = cfg.Conn.Close() // again, unless the mesh refused its configuration
	}
	return err
}

// checkGateway refuses an address that no router could dial.
func (n *Node) checkGateway() error {
	if !n.cfg.Gateway {
		return nil
	}
	host, _, err := net.SplitHostPort(n.grpcAddress())
	if err != nil {
		return fmt.Errorf("gateway address: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("gateway address %s cannot be dialed: set the address to advertise for gRPC", n.grpcAddress())
	}
	return nil
}

func (n *Node) dbPath() string { return filepath.Join(n.cfg.Data, "node.db") }

// grpcAddress is what clients dial.
func (n *Node) grpcAddress() string {
	if n.cfg.GRPCAdvertise != "" {
		return n.cfg.GRPCAdvertise
	}
	return n.grpc.Addr().String()
}

// Addresses returns where the node listens.
func (n *Node) Addresses() Addresses {
	w := n.db.Writer()
	a := Addresses{Gossip: n.mesh.Addr(), GRPC: n.grpcAddress(), DB: n.dbPath(), Boot: w.Boot, Bits: w.Bits, Socket: n.cfg.Socket}
	if n.admin != nil {
		a.Admin = n.admin.Addr()
	}
	if n.http != nil {
		a.HTTP = n.http.Addr()
	}
	return a
}

// StopProbes ends the writing of the propagation probe, so that a quiet region
// writes nothing at all.
func (n *Node) StopProbes() { n.probes.stop() }

// ready says why the node should get no calls.
func (n *Node) ready() error {
	if n.stopping.Load() {
		return errors.New("the node is stopping")
	}
	select {
	case <-n.hub.Ready():
	default:
		return errors.New("the database is being read")
	}
	return n.db.Failed()
}

// close closes what is open, in reverse order.
func (n *Node) close() error {
	var errs []error
	for _, lis := range []*httpd.Server{n.admin, n.http} {
		if lis != nil {
			errs = append(errs, lis.Close())
		}
	}
	if n.live != nil {
		errs = append(errs, n.live.Close())
	}
	if n.mesh != nil {
		errs = append(errs, n.mesh.Close())
	}
	for _, lis := range []net.Listener{n.socket, n.grpc} {
		if lis != nil {
			errs = append(errs, lis.Close())
		}
	}
	if n.db != nil {
		errs = append(errs, n.db.Close())
	}
	for i, err := range errs {
		if errors.Is(err, net.ErrClosed) {
			errs[i] = nil // it was served, and closed at its end
		}
	}
	return errors.Join(errs...)
}

// schemaHash is equal on nodes with equal tables.
func schemaHash(tables []schema.Table) uint64 {
	var ids []uint64
	for _, t := range tables {
		ids = append(ids, uint64(t.ID))
		for _, c := range t.Columns {
			ids = append(ids, uint64(c.ID))
		}
	}
	slices.Sort(ids) // nodes may have got columns in another order
	var b []byte
	for _, id := range ids {
		b = binary.BigEndian.AppendUint64(b, id)
	}
	return xxh3.Hash(b)
}
