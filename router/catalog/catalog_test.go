package catalog_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
	"github.com/firebreak-dev/firebreak/router/catalog"
	"github.com/firebreak-dev/firebreak/router/catalog/core"
)

// edge is an authority and what it issued.
type edge struct {
	t  testing.TB
	ca *identity.Authority
}

func newEdge(t testing.TB) *edge {
	t.Helper()
	ca, err := identity.NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &edge{t, ca}
}

func (e *edge) source(id identity.ID) *identity.Source {
	e.t.Helper()
	dir := e.t.TempDir()
	cert, key, err := e.ca.Issue(id, []string{"127.0.0.1"}, time.Hour)
	if err != nil {
		e.t.Fatal(err)
	}
	f := identity.Files{Cert: filepath.Join(dir, "c"), Key: filepath.Join(dir, "k"), CA: filepath.Join(dir, "a")}
	for path, data := range map[string][]byte{f.Cert: cert, f.Key: key, f.CA: e.ca.CertPEM()} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			e.t.Fatal(err)
		}
	}
	src, err := identity.Load(f)
	if err != nil {
		e.t.Fatal(err)
	}
	return src
}

func (e *edge) tls() *tls.Config {
	return e.source(identity.ID{Fleet: "test", Role: identity.Client, Name: "edge"}).Client(identity.HasRole("test", identity.Router))
}

// router is a router that says what it is told to.
type router struct {
	routerv1.UnimplementedRouterServiceServer
	addr string
	stop func()

	mu    sync.Mutex
	says  []*routerv1.WatchResponse // to each watch, as soon as it asks for an app
	moved chan struct{}
	added []string
	from  []string // positions that watches began with
	deaf  bool     // every watch is refused
}

func (r *router) refuse(all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deaf = all
}

func (r *router) begun() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.from)
}

func (e *edge) router(name string, says ...*routerv1.WatchResponse) *router {
	e.t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		e.t.Fatal(err)
	}
	r := &router{addr: lis.Addr().String(), says: says, moved: make(chan struct{})}
	srv := rpc.NewServer(rpc.ServerConfig{Identity: e.source(identity.ID{Fleet: "test", Role: identity.Router, Name: name})})
	routerv1.RegisterRouterServiceServer(srv.Server, r)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Server.Serve(lis) }()
	r.stop = sync.OnceFunc(func() { srv.Server.Stop(); <-done })
	e.t.Cleanup(r.stop)
	return r
}

func (r *router) say(msgs ...*routerv1.WatchResponse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.says = append(r.says, msgs...)
	close(r.moved)
	r.moved = make(chan struct{})
}

func (r *router) ListRegions(context.Context, *routerv1.ListRegionsRequest) (*routerv1.ListRegionsResponse, error) {
	return &routerv1.ListRegionsResponse{}, nil
}

func (r *router) Watch(stream routerv1.RouterService_WatchServer) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		if hello := req.GetHello(); hello != nil {
			r.mu.Lock()
			deaf := r.deaf
			if !deaf {
				r.from = append(r.from, string(hello.GetPosition()))
			}
			r.mu.Unlock()
			if deaf {
				return status.Error(codes.Unavailable, "not yet")
			}
		}
		if app := req.GetAddApp(); app != "" {
			r.mu.Lock()
			r.added = append(r.added, app)
			r.mu.Unlock()
			break
		}
	}
	for sent := 0; ; {
		r.mu.Lock()
		says, moved := r.says[sent:], r.moved
		r.mu.Unlock()
		for _, m := range says {
			if err := stream.Send(m); err != nil {
				return err
			}
		}
		sent += len(says)
		select {
		case <-moved:
		case <-stream.Context().Done():
			return nil
		}
	}
}

func machine(id string) *routerv1.WatchResponse {
	return &routerv1.WatchResponse{App: "web", Region: "iad", Event: &routerv1.WatchResponse_Machine{
		Machine: &regionv1.Machine{Worker: "w1", Id: id, Addresses: []string{"10.0.0." + id}, Current: true, Routable: true},
	}}
}

func stands(s clusterv1.CoverageState) *routerv1.WatchResponse {
	return &routerv1.WatchResponse{App: "web", Region: "iad", Event: &routerv1.WatchResponse_Status{
		Status: &routerv1.RegionStatus{Coverage: &clusterv1.Coverage{Region: "iad", State: s}},
	}}
}

func synced(complete bool) *routerv1.WatchResponse {
	return &routerv1.WatchResponse{App: "web", Event: &routerv1.WatchResponse_AppSynced{AppSynced: &routerv1.AppSynced{
		Complete: complete, Coverage: []*clusterv1.Coverage{{Region: "iad", State: clusterv1.CoverageState_COVERAGE_STATE_LIVE}},
	}}}
}

var live = stands(clusterv1.CoverageState_COVERAGE_STATE_LIVE)

// start runs a catalog until the test ends or stop is called.
func start(t testing.TB, cfg catalog.Config) (*catalog.Client, func()) {
	t.Helper()
	c, err := catalog.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.Watch("web")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("catalog: %v", err)
		}
	})
	t.Cleanup(stop)
	return c, stop
}

// until waits for changes until cond holds of the app.
func until(t testing.TB, c *catalog.Client, what string, cond func(catalog.View) bool) catalog.View {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		changed := c.Changed()
		if v, _ := c.Lookup("web"); cond(v) {
			return v
		}
		select {
		case <-changed:
		case <-deadline:
			v, ok := c.Lookup("web")
			t.Fatalf("not in time: %s (%v, %v)", what, v, ok)
		}
	}
}

func TestKeepsServingWhenEveryRouterIsDown(t *testing.T) {
	e := newEdge(t)
	r := e.router("r1", machine("1"), live, synced(true))
	c, _ := start(t, catalog.Config{Routers: []string{r.addr}, TLS: e.tls()})
	v := until(t, c, "complete", func(v catalog.View) bool { return v.Complete })
	if v.Age != 0 || len(v.Endpoints) != 1 {
		t.Errorf("%+v", v)
	}
	r.stop()
	v = until(t, c, "old", func(v catalog.View) bool { return v.Age > 0 })
	if v.Complete || len(v.Endpoints) != 1 {
		t.Errorf("%+v", v)
	}
}

func TestColdRouterTakesNothingAway(t *testing.T) {
	e := newEdge(t)
	// The second router has just begun and cannot reach the region.
	lost := &routerv1.WatchResponse{App: "web", Event: &routerv1.WatchResponse_AppSynced{AppSynced: &routerv1.AppSynced{
		Coverage: []*clusterv1.Coverage{{Region: "iad", State: clusterv1.CoverageState_COVERAGE_STATE_UNREACHABLE}},
	}}}
	good := e.router("r1", machine("1"), machine("2"), live, synced(true))
	dir := t.TempDir()
	cold := e.router("r2", stands(clusterv1.CoverageState_COVERAGE_STATE_UNREACHABLE), lost)
	c, stop := start(t, catalog.Config{Routers: []string{good.addr}, TLS: e.tls(), Dir: dir})
	until(t, c, "both machines", func(v catalog.View) bool { return v.Complete && len(v.Endpoints) == 2 })
	stop()
	c, _ = start(t, catalog.Config{Routers: []string{cold.addr}, TLS: e.tls(), Dir: dir})
	until(t, c, "a word of the cold router", func(catalog.View) bool {
		cold.mu.Lock()
		defer cold.mu.Unlock()
		return len(cold.added) > 0
	})
	cold.say(machine("3"))
	v := until(t, c, "the third machine", func(v catalog.View) bool { return len(v.Endpoints) == 3 })
	if v.Complete || v.Age == 0 {
		t.Errorf("%+v", v)
	}
}

func TestSecondRouterTakesOver(t *testing.T) {
	e := newEdge(t)
	first, second := e.router("r1", machine("1"), live, synced(true)), e.router("r2", machine("1"), live, synced(true))
	c, _ := start(t, catalog.Config{Routers: []string{first.addr, second.addr, "127.0.0.1:1"}, TLS: e.tls()})
	until(t, c, "complete", func(v catalog.View) bool { return v.Complete })
	followed, other := first, second
	first.mu.Lock()
	if len(first.added) == 0 {
		followed, other = second, first
	}
	first.mu.Unlock()
	followed.stop()
	other.say(machine("2"))
	until(t, c, "the other router's word", func(v catalog.View) bool { return v.Complete && len(v.Endpoints) == 2 })
}

func TestStartsFromTheLastGoodFileAndRefusesABadOne(t *testing.T) {
	e := newEdge(t)
	r := e.router("r1", machine("1"), live, synced(true))
	dir := t.TempDir()
	c, stop := start(t, catalog.Config{Routers: []string{r.addr}, TLS: e.tls(), Dir: dir})
	until(t, c, "complete", func(v catalog.View) bool { return v.Complete })
	stop()
	r.stop()
	nobody := catalog.Config{Routers: []string{"127.0.0.1:1"}, TLS: e.tls(), Dir: dir}
	c, stop = start(t, nobody)
	v, ok := c.Lookup("web")
	if !ok || len(v.Endpoints) != 1 || v.Age <= 0 || v.Complete {
		t.Errorf("cold start: %+v, %v", v, ok)
	}
	stop()
	other := nobody
	other.Fleet = "other"
	if c, err := catalog.New(other); err != nil {
		t.Error(err)
	} else if _, ok := c.Lookup("web"); ok {
		t.Error("a file of another fleet is served")
	}
	path := filepath.Join(dir, catalog.LastGood)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data[:len(data)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	c, stop = start(t, nobody)
	if _, ok := c.Lookup("web"); ok {
		t.Error("a truncated file is served")
	}
	stop()
	if after, err := os.ReadFile(path); err != nil || len(after) != len(data)-1 {
		t.Error("a client that heard nobody overwrote the file")
	}
}

func TestUnwatchForgets(t *testing.T) {
	e := newEdge(t)
	r := e.router("r1", machine("1"), live, synced(true))
	c, _ := start(t, catalog.Config{Routers: []string{r.addr}, TLS: e.tls()})
	until(t, c, "complete", func(v catalog.View) bool { return v.Complete })
	c.Unwatch("web")
	until(t, c, "gone", func(catalog.View) bool { _, ok := c.Lookup("web"); return !ok })
}

func TestConfigNamesEveryProblem(t *testing.T) {
	if _, err := catalog.New(catalog.Config{}); err == nil || len(err.Error()) < 30 {
		t.Errorf("%v", err)
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	e := newEdge(t)
	r := e.router("r1", machine("1"), live, synced(true))
	c, stop := start(t, catalog.Config{Routers: []string{r.addr}, TLS: e.tls()})
	until(t, c, "complete", func(v catalog.View) bool { return v.Complete && v.Age == 0 })
	look := func() {
		if v, ok := c.Lookup("web"); !ok || len(v.Endpoints) == 0 {
			t.Fatal("nothing there")
		}
		c.Lookup("none")
	}
	if n := testing.AllocsPerRun(1000, look); n != 0 {
		t.Errorf("current: %v allocations", n)
	}
	stop()
	if n := testing.AllocsPerRun(1000, look); n != 0 {
		t.Errorf("stale: %v allocations", n)
	}
}

// many is a core that knows many apps, all current.
func many(apps, machines int) (*core.Core, []string) {
	co := core.New("")
	names := make([]string, apps)
	for i := range names {
		names[i] = fmt.Sprintf("app-%d", i)
		for j := range machines {
			m := machine(fmt.Sprint(j))
			m.App = strings.Clone(names[i]) // as if it came off a wire
			co.Step(m, time.Now())
		}
		m := stands(clusterv1.CoverageState_COVERAGE_STATE_LIVE)
		m.App = names[i]
		co.Step(m, time.Now())
	}
	return co, names
}

func BenchmarkLookup(b *testing.B) {
	const apps = 50_000
	co, names := many(apps, 20)
	c := catalog.Holding(co.Ready())
	bare := make(map[string]catalog.View, apps)
	for _, n := range names {
		v, _ := c.Lookup(n)
		bare[v.Endpoints[0].App] = v // a key of the catalog's own, as far away in memory
	}
	rand.Shuffle(apps, func(i, j int) { names[i], names[j] = names[j], names[i] })
	for i, n := range names {
		names[i] = strings.Clone(n)
	}
	b.Run("bare map", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if v, ok := bare[names[i%apps]]; !ok || v.Age != 0 {
				b.Fatal("nothing there, or old")
			}
		}
	})
	b.Run("catalog", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if v, ok := c.Lookup(names[i%apps]); !ok || v.Age != 0 {
				b.Fatal("nothing there, or old")
			}
		}
	})
}

func BenchmarkPublish(b *testing.B) {
	const apps, machines = 50_000, 20
	co, names := many(apps, machines)
	c := catalog.Holding(co.Ready())
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m := machine(fmt.Sprint(i % machines))
		m.App = names[i%apps]
		co.Step(m, time.Now())
		c.Show(co.Ready())
	}
}

// A catalog that loses its router goes on where it was: it never shows less
// than it had, and its app is whole again without a list.
func TestComesBackWithWhatItHas(t *testing.T) {
	e := newEdge(t)
	at := func(m *routerv1.WatchResponse, position string) *routerv1.WatchResponse {
		m.Position = []byte(position)
		return m
	}
	first := e.router("r1", machine("1"), live, at(machine("2"), "p1"), synced(true))
	second := e.router("r2", live, machine("3"), synced(true)) // what changed since p1
	second.refuse(true)
	c, _ := start(t, catalog.Config{Routers: []string{first.addr, second.addr}, TLS: e.tls()})
	whole := func(v catalog.View) bool { return v.Complete && v.Age == 0 && len(v.Endpoints) == 2 }
	shown := len(until(t, c, "both machines", whole).Endpoints)
	second.refuse(false)
	first.stop()
	for {
		v := until(t, c, "never less than it had", func(v catalog.View) bool { return len(v.Endpoints) < shown || len(v.Endpoints) == 3 })
		if len(v.Endpoints) < shown {
			t.Fatalf("it shows %d of %d endpoints", len(v.Endpoints), shown)
		}
		if len(v.Endpoints) == 3 {
			break
		}
	}
	until(t, c, "complete", func(v catalog.View) bool { return v.Complete && v.Age == 0 })
	if diff := cmp.Diff([]string{"p1"}, second.begun()); diff != "" {
		t.Errorf("where it went on: %s", diff)
	}
}
