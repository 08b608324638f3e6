// Package e2e holds the tests that need every tier: a federation of real nodes
// on loopback sockets with real certificates.
package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/global"
	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/mesh/quic"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
	"github.com/firebreak-dev/firebreak/region"
	"github.com/firebreak-dev/firebreak/router"
)

const fleetName = "acme"

// world is a federation in this process: one global node, one router, and
// regions of workers of which the first two are gateways.
type world struct {
	t          *testing.T
	dir        string
	authority  *identity.Authority
	operator   *identity.Source
	generation quic.Generation

	global  *global.Node
	router  *router.Router
	workers map[string]*region.Node // by region/name

	registries map[string]*prometheus.Registry // by role
	config     map[string]region.Config        // by region/name
	stops      map[string]func()
}

// newWorld starts a federation and registers its end.
func newWorld(t *testing.T, regions map[string]int) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "firebreak") // short, for unix sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &world{t: t, dir: dir, generation: quic.Generation{Number: 1, Bits: 0xf1}, workers: map[string]*region.Node{},
		registries: map[string]*prometheus.Registry{}, config: map[string]region.Config{}, stops: map[string]func(){}}
	if w.authority, err = identity.NewAuthority(fleetName, time.Now()); err != nil {
		t.Fatal(err)
	}
	w.operator = w.issue(identity.ID{Fleet: fleetName, Role: identity.Operator, Name: "root"}, nil)
	w.startGlobal()
	for name := range regions {
		w.addRegion(name)
	}
	for name, n := range regions {
		w.startRegion(name, n)
	}
	w.startRouter()
	return w
}

// issue writes a certificate and loads it; reg is nil for clients.
func (w *world) issue(id identity.ID, reg prometheus.Registerer) *identity.Source {
	w.t.Helper()
	cert, key, err := w.authority.Issue(id, []string{"127.0.0.1", "localhost"}, time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	dir, err := os.MkdirTemp(w.dir, "id")
	if err != nil {
		w.t.Fatal(err)
	}
	files := identity.Files{Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key"), CA: filepath.Join(dir, "ca")}
	for path, data := range map[string][]byte{files.Cert: cert, files.Key: key, files.CA: w.authority.CertPEM()} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	src, err := identity.Open(identity.Config{Files: files, Metrics: reg})
	if err != nil {
		w.t.Fatal(err)
	}
	return src
}

func (w *world) registry(role string) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	w.registries[role] = reg
	return reg
}

// run runs a node until the test ends or stop is called.
func (w *world) run(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stopped := false
	w.stops[name] = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("%s ended with %v", name, err)
		}
	}
	w.t.Cleanup(w.stops[name])
}

func (w *world) mkdir(parts ...string) string {
	dir := filepath.Join(append([]string{w.dir}, parts...)...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	return dir
}

func (w *world) startGlobal() {
	w.t.Helper()
	reg := w.registry("global")
	n, err := global.New(w.t.Context(), global.Config{
		Fleet: fleetName, Node: "g1", Data: w.mkdir("global", "g1"), Gossip: "127.0.0.1:0", GRPC: "127.0.0.1:0", Admin: "127.0.0.1:0",
		Identity: w.issue(identity.ID{Fleet: fleetName, Role: identity.Global, Name: "g1"}, reg), Registry: reg, BrakeObserve: true,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.global = n
	w.run("global", n.Run)
}

func (w *world) addRegion(name string) {
	w.t.Helper()
	conn := w.dial(w.global.Addresses().GRPC)
	w.until("region "+name+" is known to global", func(ctx context.Context) error {
		_, err := globalv1.NewOperatorServiceClient(conn).AddRegion(ctx, &globalv1.AddRegionRequest{
			Region: name, Generation: &clusterv1.Generation{Number: w.generation.Number, Bits: w.generation.Bits}})
		return err
	})
}

func (w *world) startRegion(name string, workers int) {
	w.t.Helper()
	var seeds []string
	for i := range workers {
		node, role := fmt.Sprintf("w%d", i+1), identity.Node
		if i < 2 {
			role = identity.Gateway
		}
		reg := w.registry("region")
		cfg := region.Config{
			Fleet: fleetName, Region: fleet.Region(name), Node: fleet.Worker(node), Generation: w.generation, Data: w.mkdir(name, node),
			Identity: w.issue(identity.ID{Fleet: fleetName, Role: role, Region: name, Name: node}, reg), Seeds: seeds,
			Gossip: "127.0.0.1:0", GRPC: "127.0.0.1:0", Admin: "127.0.0.1:0", Socket: filepath.Join(w.dir, name+node+".sock"),
			Gateway: role == identity.Gateway, Globals: []string{w.global.Addresses().GRPC}, Registry: reg, Logger: slog.New(slog.DiscardHandler),
			HTTP: "127.0.0.1:0",
			// A child that copies nothing: package checkpoint's tests have real ones.
			CheckpointDir: w.mkdir(name, node+"-copies"), CheckpointChild: []string{"cat"},
		}
		n := w.startWorker(cfg)
		cfg.Gossip, cfg.GRPC = n.Addresses().Gossip, n.Addresses().GRPC // a restart keeps them
		w.config[name+"/"+node] = cfg
		seeds = append(seeds, n.Addresses().Gossip)
	}
}

func (w *world) startWorker(cfg region.Config) *region.Node {
	w.t.Helper()
	name := string(cfg.Region) + "/" + string(cfg.Node)
	n, err := region.New(w.t.Context(), cfg)
	if err != nil {
		w.t.Fatalf("start %s: %v", name, err)
	}
	w.workers[name] = n
	w.run(name, n.Run)
	return n
}

func (w *world) startRouter() {
	w.t.Helper()
	reg := w.registry("router")
	n, err := router.New(w.t.Context(), router.Config{
		Fleet: fleetName, Node: "r1", Data: w.mkdir("router", "r1"), GRPC: "127.0.0.1:0", Admin: "127.0.0.1:0", Globals: []string{w.global.Addresses().GRPC},
		Identity: w.issue(identity.ID{Fleet: fleetName, Role: identity.Router, Name: "r1"}, reg), Registry: reg,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.router = n
	w.run("router", n.Run)
}

// dial connects as the operator.
func (w *world) dial(addr string) *grpc.ClientConn {
	w.t.Helper()
	conn, err := rpc.Dial(addr, w.operator, func(identity.ID) error { return nil })
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// until repeats try until it succeeds; within 30 s, or the test fails and
// names what was waited for.
func (w *world) until(what string, try func(context.Context) error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		if backoff.Wait(ctx, 20*time.Millisecond) != nil {
			w.t.Fatalf("step failed: %s: %v", what, err)
		}
	}
}
