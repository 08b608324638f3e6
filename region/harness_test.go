package region_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/mesh/quic"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region"
)

// cluster is a region on loopback.
type cluster struct {
	t     *testing.T
	dir   string
	ca    *identity.Authority
	nodes map[string]*node
	seeds []string

	schema string                      // directory of schema files; empty for none
	now    map[string]func() time.Time // clocks of nodes that do not show the time
}

// node is one node and a daemon's connection to it.
type node struct {
	*cluster
	name   string
	n      *region.Node
	addr   region.Addresses
	daemon regionv1.RegionServiceClient // by the socket
	conns  []*grpc.ClientConn
	cancel context.CancelFunc
	done   chan error
}

func newCluster(t *testing.T, names ...string) *cluster {
	t.Helper()
	ca, err := identity.NewAuthority("acme", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	// Paths of sockets are short: the test's own directory may not be.
	dir, err := os.MkdirTemp("", "fb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &cluster{t: t, dir: dir, ca: ca, nodes: map[string]*node{}}
	for i, name := range names {
		n := c.start(name)
		if i == 0 {
			c.seeds = []string{n.addr.Gossip}
		}
	}
	return c
}

func (c *cluster) identity(id identity.ID) *identity.Source {
	c.t.Helper()
	cert, key, err := c.ca.Issue(id, []string{"127.0.0.1"}, time.Hour)
	if err != nil {
		c.t.Fatal(err)
	}
	base := filepath.Join(c.dir, fmt.Sprintf("%v-%s-%s", id.Role, id.Region, id.Name))
	f := identity.Files{Cert: base + ".pem", Key: base + ".key", CA: filepath.Join(c.dir, "ca.pem")}
	for path, data := range map[string][]byte{f.Cert: cert, f.Key: key, f.CA: c.ca.CertPEM()} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	s, err := identity.Load(f)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c *cluster) config(name string) region.Config {
	return region.Config{
		Fleet: "acme", Region: "iad", Node: fleet.Worker(name), Locality: "us-east",
		Generation: quic.Generation{Number: 1, Bits: 7},
		Data:       filepath.Join(c.dir, name), Identity: c.identity(identity.ID{Fleet: "acme", Role: identity.Node, Region: "iad", Name: name}),
		Gossip: "127.0.0.1:0", Seeds: c.seeds, GRPC: "127.0.0.1:0", Socket: filepath.Join(c.dir, name+".sock"), Admin: "127.0.0.1:0", HTTP: "127.0.0.1:0",
		Schema: c.schema, Durability: sqlite.OS, Version: "test", Logger: c.logger(name), Now: c.now[name],
	}
}

func (c *cluster) logger(name string) *slog.Logger {
	if os.Getenv("FIREBREAK_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("test", name)
}

// start starts a node, or starts one again on its disk and ports.
func (c *cluster) start(name string) *node {
	c.t.Helper()
	cfg := c.config(name)
	if old := c.nodes[name]; old != nil {
		cfg.Gossip, cfg.GRPC = old.addr.Gossip, old.addr.GRPC
		cfg.Seeds = nil
		for other, o := range c.nodes {
			if other != name {
				cfg.Seeds = append(cfg.Seeds, o.addr.Gossip)
			}
		}
	}
	rn, err := region.New(c.t.Context(), cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &node{cluster: c, name: name, n: rn, addr: rn.Addresses(), cancel: cancel, done: make(chan error, 1)}
	go func() { n.done <- rn.Run(ctx) }()
	c.nodes[name] = n
	c.t.Cleanup(n.stop)
	conn, err := rpc.DialSocket(n.addr.Socket)
	if err != nil {
		c.t.Fatal(err)
	}
	n.conns = append(n.conns, conn)
	n.daemon = regionv1.NewRegionServiceClient(conn)
	return n
}

// stop stops a node as SIGTERM does.
func (n *node) stop() {
	if n.cancel == nil {
		return
	}
	for _, conn := range n.conns {
		conn.Close()
	}
	n.cancel()
	n.cancel = nil
	if err := <-n.done; err != nil {
		n.t.Errorf("node %s: %v", n.name, err)
	}
}

// dial connects over TCP with an identity.
func (n *node) dial(id identity.ID) regionv1.RegionServiceClient {
	n.t.Helper()
	conn, err := rpc.Dial(n.addr.GRPC, n.identity(id), identity.InRegion("acme", "iad", identity.Node, identity.Gateway))
	if err != nil {
		n.t.Fatal(err)
	}
	n.conns = append(n.conns, conn)
	return regionv1.NewRegionServiceClient(conn)
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually looks until what is seen is wanted.
func eventually(t *testing.T, what string, look func() bool) {
	t.Helper()
	deadline, tick := time.After(15*time.Second), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for !look() {
		select {
		case <-deadline:
			t.Fatalf("not within 15s: %s", what)
		case <-tick.C:
		}
	}
}

func mach(id, app string) *regionv1.Machine {
	return &regionv1.Machine{
		Id: id, App: app, State: regionv1.MachineState_MACHINE_STATE_STARTED,
		Addresses: []string{"10.0.0.1"}, Services: []*regionv1.Service{{Name: "http", Port: 80}},
	}
}

func (n *node) publish(ms ...*regionv1.Machine) *regionv1.Written {
	n.t.Helper()
	resp, err := n.daemon.Publish(within(n.t, 10*time.Second), &regionv1.PublishRequest{Machines: ms}, grpc.WaitForReady(true))
	if err != nil {
		n.t.Fatalf("publish on %s: %v", n.name, err)
	}
	return resp.GetWritten()
}

func (n *node) withdraw(ids ...string) *regionv1.WithdrawResponse {
	n.t.Helper()
	resp, err := n.daemon.Withdraw(within(n.t, 10*time.Second), &regionv1.WithdrawRequest{Ids: ids})
	if err != nil {
		n.t.Fatalf("withdraw on %s: %v", n.name, err)
	}
	return resp
}

func (n *node) reconcile(shrink bool, ms ...*regionv1.Machine) (*regionv1.ReconcileResponse, error) {
	n.t.Helper()
	s, err := n.daemon.Reconcile(within(n.t, 20*time.Second), grpc.WaitForReady(true))
	if err != nil {
		n.t.Fatal(err)
	}
	send := func(r *regionv1.ReconcileRequest) {
		if err := s.Send(r); err != nil && !errors.Is(err, io.EOF) {
			n.t.Fatal(err)
		}
	}
	if shrink {
		send(&regionv1.ReconcileRequest{Part: &regionv1.ReconcileRequest_Options{Options: &regionv1.ReconcileOptions{AllowShrink: true}}})
	}
	for _, m := range ms {
		send(&regionv1.ReconcileRequest{Part: &regionv1.ReconcileRequest_Machine{Machine: m}})
	}
	return s.CloseAndRecv()
}

// list returns an app's machines as a node sees them, after points.
func (n *node) list(app string, after ...*clusterv1.Point) []*regionv1.Machine {
	n.t.Helper()
	s, err := n.daemon.ListMachines(within(n.t, 10*time.Second), &regionv1.ListMachinesRequest{App: app, After: &regionv1.After{Points: after}}, grpc.WaitForReady(true))
	if err != nil {
		n.t.Fatal(err)
	}
	var out []*regionv1.Machine
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			n.t.Fatalf("list on %s: %v", n.name, err)
		}
		out = append(out, r.GetMachines()...)
	}
}

// query returns the rows of a statement, in text, and how the answer ended.
func (n *node) query(sql string) (rows [][]string, end *regionv1.QueryEnd, err error) {
	n.t.Helper()
	s, err := n.daemon.Query(within(n.t, 20*time.Second), &regionv1.QueryRequest{Sql: sql}, grpc.WaitForReady(true))
	if err != nil {
		n.t.Fatal(err)
	}
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return rows, end, nil
		}
		if err != nil {
			return nil, nil, err
		}
		for _, row := range r.GetRows() {
			var vals []string
			for _, v := range row.GetValues() {
				switch k := v.GetKind().(type) {
				case *clusterv1.Value_Text:
					vals = append(vals, string(k.Text))
				case *clusterv1.Value_Integer:
					vals = append(vals, fmt.Sprint(k.Integer))
				default:
					vals = append(vals, "?")
				}
			}
			rows = append(rows, vals)
		}
		if r.GetEnd() != nil {
			end = r.GetEnd()
		}
	}
}

func (n *node) status() *regionv1.StatusResponse {
	n.t.Helper()
	st, err := n.daemon.Status(within(n.t, 10*time.Second), &regionv1.StatusRequest{}, grpc.WaitForReady(true))
	if err != nil {
		n.t.Fatalf("status of %s: %v", n.name, err)
	}
	return st
}

// together waits until every node is connected to every other and fit.
func (c *cluster) together() {
	c.t.Helper()
	for _, n := range c.nodes {
		eventually(c.t, n.name+" is fit and has met everybody", func() bool {
			st := n.status()
			met := 0
			for _, m := range st.GetMembers() {
				if m.GetConnected() && m.GetState() == "alive" {
					met++
				}
			}
			return st.GetFit() && met == len(c.nodes)-1
		})
	}
}

func free(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}
