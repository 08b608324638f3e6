package global_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/global"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence/wire"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
)

const fleetName = "test"

// generation is that of every region in these tests.
var generation = presence.Generation{Number: 1, Bits: 0xfeed}

// world is a global cluster on loopback, with an authority for its clients.
type world struct {
	t         *testing.T
	authority *identity.Authority
	dir       string
	observe   bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	a, err := identity.NewAuthority(fleetName, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, authority: a, dir: t.TempDir()}
}

func (w *world) identity(id identity.ID) *identity.Source {
	w.t.Helper()
	id.Fleet = fleetName
	cert, key, err := w.authority.Issue(id, []string{"127.0.0.1"}, time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	dir := w.t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			w.t.Fatal(err)
		}
		return path
	}
	src, err := identity.Load(identity.Files{
		Cert: write("cert.pem", cert), Key: write("key.pem", key), CA: write("ca.pem", w.authority.CertPEM()),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return src
}

// streamFor bounds every stream of a test: one that hangs says where.
const streamFor = 30 * time.Second

// running is a node that runs until stop.
type running struct {
	*global.Node
	name string
	stop func()
}

// start runs a node; seeds are gossip addresses.
func (w *world) start(name string, seeds ...string) *running {
	w.t.Helper()
	level := slog.LevelError + 1
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	n, err := global.New(w.t.Context(), global.Config{
		Fleet: fleetName, Node: fleet.Worker(name), Data: filepath.Join(w.dir, name),
		Identity: w.identity(identity.ID{Role: identity.Global, Name: name}),
		Gossip:   "127.0.0.1:0", GRPC: "127.0.0.1:0", Seeds: seeds, Durability: sqlite.OS, BrakeObserve: w.observe,
		Logger: slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: level})).With("node", name),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	r := &running{Node: n, name: name}
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("%s: %v", name, err)
		}
	}
	w.t.Cleanup(r.stop)
	return r
}

// trio starts three nodes that know one another.
func (w *world) trio() []*running {
	a := w.start("g1")
	b := w.start("g2", a.Addresses().Gossip)
	c := w.start("g3", a.Addresses().Gossip)
	return []*running{a, b, c}
}

func (w *world) dial(n *running, id identity.ID) *grpc.ClientConn {
	w.t.Helper()
	conn, err := rpc.Dial(n.Addresses().GRPC, w.identity(id), identity.HasRole(fleetName, identity.Global))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (w *world) operator(n *running) *grpc.ClientConn {
	return w.dial(n, identity.ID{Role: identity.Operator, Name: "op"})
}

// addRegion adds a region through n, once n serves.
func (w *world) addRegion(n *running, region string) {
	w.t.Helper()
	op := globalv1.NewOperatorServiceClient(w.operator(n))
	eventually(w.t, "add region "+region, func() error {
		_, err := op.AddRegion(w.t.Context(), &globalv1.AddRegionRequest{Region: region, Generation: wire.Generation(generation)})
		return err
	})
}

// eventually tries until fn returns nil.
func eventually(t *testing.T, what string, fn func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := fn()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-ticker.C:
		}
	}
}

// gateway is one report session, driven by hand.
type gateway struct {
	t      *testing.T
	region fleet.Region
	name   fleet.Worker
	stream globalv1.ReportService_ReportClient
	last   *globalv1.OwnReport // the newest that was read
}

// report opens a session of a gateway of region that says what hello says.
func (w *world) report(n *running, region, name string, hello *globalv1.ReportHello) *gateway {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), streamFor)
	w.t.Cleanup(cancel)
	conn := w.dial(n, identity.ID{Role: identity.Gateway, Region: region, Name: name})
	stream, err := globalv1.NewReportServiceClient(conn).Report(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	if hello == nil {
		hello = &globalv1.ReportHello{Region: region, Reporter: name, Generation: wire.Generation(generation)}
	}
	g := &gateway{t: w.t, region: fleet.Region(region), name: fleet.Worker(name), stream: stream}
	g.send(&globalv1.ReportRequest{Part: &globalv1.ReportRequest_Hello{Hello: hello}})
	return g
}

func (g *gateway) send(m *globalv1.ReportRequest) {
	g.t.Helper()
	if err := g.stream.Send(m); err != nil {
		g.t.Logf("send: %v", err) // what the server said comes with Recv
	}
}

func (g *gateway) presence(records ...presence.Record) {
	g.t.Helper()
	batch := &globalv1.PresenceBatch{}
	for _, r := range records {
		batch.Presence = append(batch.Presence, wire.Presence(r))
	}
	g.send(&globalv1.ReportRequest{Part: &globalv1.ReportRequest_Presence{Presence: batch}})
}

func (g *gateway) record(app string, class presence.Class, stamp int64) presence.Record {
	r := presence.Record{
		Region: g.region, App: fleet.App(app), Class: class,
		Rank: presence.Rank{Generation: generation, Stamp: uint64(stamp), Reporter: g.name},
	}
	if class == 0 {
		r.Since = stamp
	}
	return r
}

// next returns the next answer that pick takes.
func next[T any](g *gateway, pick func(*globalv1.ReportResponse) *T) *T {
	g.t.Helper()
	for {
		m, err := g.stream.Recv()
		if err != nil {
			g.t.Fatalf("session of %s: %v", g.name, err)
		}
		if m.GetOwn() != nil {
			g.last = m.GetOwn()
		}
		if got := pick(m); got != nil {
			return got
		}
	}
}

func (g *gateway) accepted() uint64 {
	g.t.Helper()
	return next(g, (*globalv1.ReportResponse).GetAccepted).GetPresence()
}

func (g *gateway) refused() *globalv1.ReportRefused {
	g.t.Helper()
	return next(g, (*globalv1.ReportResponse).GetRefused)
}

func (g *gateway) own() *globalv1.OwnReport {
	g.t.Helper()
	return next(g, (*globalv1.ReportResponse).GetOwn)
}

// ended returns the error that ends the session.
func (g *gateway) ended() error {
	g.t.Helper()
	for {
		if _, err := g.stream.Recv(); err != nil {
			return err
		}
	}
}

func nowMs() int64 { return time.Now().UnixMilli() }

// presenceClass differs from one i to the next.
func presenceClass(i int) presence.Class { return presence.Class(i % 7) }
