package router_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
	"github.com/firebreak-dev/firebreak/router"
)

const testFleet = "test"

// world is small real servers of a fleet, over TLS on loopback.
type world struct {
	t       testing.TB
	ca      *identity.Authority
	dir     string
	regions map[string]*region
	global  *global
}

func newWorld(t testing.TB, names ...string) *world {
	t.Helper()
	ca, err := identity.NewAuthority(testFleet, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ca: ca, dir: t.TempDir(), regions: map[string]*region{}}
	for _, name := range names {
		w.regions[name] = &region{name: name, apps: map[string][]*regionv1.Machine{}, moved: make(chan struct{}), onLine: name}
		w.serveRegion(w.regions[name], "127.0.0.1:0")
		w.regions[name].gateways = []*globalv1.Gateway{{Node: name + "-w1", Address: w.regions[name].addr}}
	}
	w.global = &global{world: w, moved: make(chan struct{}), hidden: map[string]bool{}, classes: map[[2]string]uint32{}}
	w.global.addr = w.serve(identity.ID{Fleet: testFleet, Role: identity.Global, Name: "g1"}, "127.0.0.1:0",
		func(s *grpc.Server) { globalv1.RegisterDirectoryServiceServer(s, w.global) }, &w.global.stop)
	return w
}

// source makes an identity of the fleet.
func (w *world) source(id identity.ID) *identity.Source {
	w.t.Helper()
	dir, err := os.MkdirTemp(w.dir, "id")
	if err != nil {
		w.t.Fatal(err)
	}
	cert, key, err := w.ca.Issue(id, []string{"127.0.0.1"}, time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	f := identity.Files{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), CA: filepath.Join(dir, "ca.pem")}
	for path, data := range map[string][]byte{f.Cert: cert, f.Key: key, f.CA: w.ca.CertPEM()} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	src, err := identity.Load(f)
	if err != nil {
		w.t.Fatal(err)
	}
	return src
}

// serve runs a server until the test ends or stop is called.
func (w *world) serve(id identity.ID, addr string, register func(*grpc.Server), stop *func()) string {
	w.t.Helper()
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		w.t.Fatal(err)
	}
	srv := rpc.NewServer(rpc.ServerConfig{Identity: w.source(id)})
	register(srv.Server)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Server.Serve(lis) }()
	*stop = sync.OnceFunc(func() { srv.Server.Stop(); <-done })
	w.t.Cleanup(*stop)
	return lis.Addr().String()
}

// serveRegion starts a gateway of a region.
func (w *world) serveRegion(r *region, addr string) {
	w.t.Helper()
	r.addr = w.serve(identity.ID{Fleet: testFleet, Role: identity.Gateway, Region: r.name, Name: r.name + "-w1"}, addr,
		func(s *grpc.Server) { regionv1.RegisterRegionServiceServer(s, r) }, &r.stop)
}

// router starts a router on a data directory and returns a client of it.
func (w *world) router(data string, globals ...string) (routerv1.RouterServiceClient, *router.Router, func()) {
	w.t.Helper()
	r, err := router.New(w.t.Context(), router.Config{
		Fleet: testFleet, Node: "r1", Data: data, GRPC: "127.0.0.1:0", Globals: globals, Logger: logger(w.t),
		Identity: w.source(identity.ID{Fleet: testFleet, Role: identity.Router, Name: "r1"}), Locality: "near",
	})
	if err != nil {
		w.t.Fatal(err)
	}
	end := run(w.t, r.Run)
	conn, err := rpc.Dial(r.Addresses().GRPC, w.source(identity.ID{Fleet: testFleet, Role: identity.Client, Name: "edge"}), identity.HasRole(testFleet, identity.Router))
	if err != nil {
		w.t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		_ = conn.Close()
		end()
	})
	w.t.Cleanup(stop)
	return routerv1.NewRouterServiceClient(conn), r, stop
}

// run runs something until the test ends or the returned function is called.
func run(t testing.TB, fn func(context.Context) error) func() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func logger(t testing.TB) *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	return slog.New(slog.DiscardHandler)
}

// region is a gateway with a truth of its own.
type region struct {
	regionv1.UnimplementedRegionServiceServer
	name, addr string
	stop       func()

	mu       sync.Mutex
	apps     map[string][]*regionv1.Machine
	gateways []*globalv1.Gateway
	mode     string // "", "hang", "refuse", "unfit", "cut", "bad row"
	asked    int
	watched  map[string]int // app: interests now
	moved    chan struct{}
	past     []map[string][]*regionv1.Machine // apps, before each change
	begun    []string                         // app@position of every interest that was asked for
	onLine   string                           // what its positions begin with
	ends     map[string]bool                  // apps of which something ends all the time
}

// position is where a watch goes on that has all that is there now.
func (r *region) position() []byte { return fmt.Appendf(nil, "%s:%d", r.onLine, len(r.past)) }

// at returns an app's machines at a position, if it is one of this region.
func (r *region) at(app string, position []byte) (map[string]*regionv1.Machine, bool) {
	line, n, ok := strings.Cut(string(position), ":")
	i, err := strconv.Atoi(n)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !ok || err != nil || line != r.onLine || i > len(r.past) {
		return nil, false
	}
	apps := r.apps
	if i < len(r.past) {
		apps = r.past[i]
	}
	out := map[string]*regionv1.Machine{}
	for _, m := range apps[app] {
		out[m.Id] = m
	}
	return out, true
}

func (r *region) set(app string, n int) {
	var list []*regionv1.Machine
	for i := range n {
		list = append(list, r.machine(app, fmt.Sprintf("%s-%d", app, i)))
	}
	r.change(func() { r.apps[app] = list })
}

func (r *region) machine(app, id string) *regionv1.Machine {
	return &regionv1.Machine{
		Worker: r.name + "-w1", Id: id, App: app, State: regionv1.MachineState_MACHINE_STATE_STARTED, Epoch: 1,
		Addresses: []string{"10." + r.name + "." + id}, Current: true, Routable: true,
	}
}

// change changes the region under its lock and tells everybody who waits.
func (r *region) change(fn func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.past = append(r.past, maps.Clone(r.apps))
	fn()
	close(r.moved)
	r.moved = make(chan struct{})
}

func (r *region) look() (mode string, moved <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mode, r.moved
}

func (r *region) coverage() *clusterv1.Coverage {
	if r.mode == "unfit" {
		return &clusterv1.Coverage{Region: r.name, State: clusterv1.CoverageState_COVERAGE_STATE_STALE, AgeMs: 1000}
	}
	return &clusterv1.Coverage{Region: "a lie", State: clusterv1.CoverageState_COVERAGE_STATE_LIVE}
}

func (r *region) Query(req *regionv1.QueryRequest, stream regionv1.RegionService_QueryServer) error {
	r.mu.Lock()
	r.asked++
	mode, cov := r.mode, r.coverage()
	newestEnd := int64(-1)
	if r.ends[req.GetApp()] || req.GetApp() == "" && len(r.ends) > 0 {
		newestEnd = 0
	}
	var rows []*clusterv1.Row
	columns := []string{"n"}
	if len(req.GetArgs()) == 1 {
		rows = append(rows, intRow(int64(len(r.apps[string(req.GetArgs()[0].GetText())]))))
	} else {
		columns = []string{"app", "n"}
		for _, app := range slices.Sorted(maps.Keys(r.apps)) {
			row := intRow(int64(len(r.apps[app])))
			row.Values = append([]*clusterv1.Value{{Kind: &clusterv1.Value_Text{Text: []byte(app)}}}, row.Values...)
			rows = append(rows, row)
		}
	}
	r.mu.Unlock()
	switch mode {
	case "hang":
		<-stream.Context().Done()
		return stream.Context().Err()
	case "refuse":
		return status.Error(codes.PermissionDenied, "go away")
	case "bad row":
		rows = append(rows, &clusterv1.Row{})
	}
	if err := stream.Send(&regionv1.QueryResponse{Columns: columns, Rows: rows}); err != nil || mode == "cut" {
		return err
	}
	return stream.Send(&regionv1.QueryResponse{End: &regionv1.QueryEnd{Rows: uint64(len(rows)), Coverage: cov, NewestEndAgeMs: newestEnd}})
}

// questions counts the queries that it was asked.
func (r *region) questions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

func intRow(n int64) *clusterv1.Row {
	return &clusterv1.Row{Values: []*clusterv1.Value{{Kind: &clusterv1.Value_Integer{Integer: n}}}}
}

func (r *region) Watch(stream regionv1.RegionService_WatchServer) error {
	reqs, errs := make(chan *regionv1.WatchRequest), make(chan error, 1)
	go func() {
		for {
			req, err := stream.Recv()
			if err != nil {
				errs <- err
				return
			}
			reqs <- req
		}
	}()
	interests := map[uint64]string{}
	sent := map[uint64]map[string]*regionv1.Machine{}
	defer r.change(func() {
		for _, app := range interests {
			r.watched[app]--
		}
	})
	status := ""
	for {
		mode, moved := r.look()
		if mode == "hang" {
			<-stream.Context().Done()
			return stream.Context().Err()
		}
		r.mu.Lock()
		cov := r.coverage()
		r.mu.Unlock()
		if cov.State.String() != status {
			status = cov.State.String()
			_ = stream.Send(&regionv1.WatchResponse{Event: &regionv1.WatchResponse_Status{Status: &regionv1.WatchStatus{Coverage: cov, NewestEndAgeMs: -1}}})
		}
		for _, id := range slices.Sorted(maps.Keys(interests)) {
			r.update(stream, id, interests[id], sent, false)
		}
		select {
		case err := <-errs:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-moved:
		case req := <-reqs:
			switch p := req.GetPart().(type) {
			case *regionv1.WatchRequest_Add:
				interests[p.Add.Id] = p.Add.GetApp()
				if was, ok := r.at(p.Add.GetApp(), p.Add.GetPosition()); ok {
					sent[p.Add.Id] = was
					r.update(stream, p.Add.Id, p.Add.GetApp(), sent, true)
				}
				r.change(func() {
					r.begun = append(r.begun, p.Add.GetApp()+"@"+string(p.Add.GetPosition()))
					if r.watched == nil {
						r.watched = map[string]int{}
					}
					r.watched[p.Add.GetApp()]++
				})
			case *regionv1.WatchRequest_Remove:
				app := interests[p.Remove]
				delete(interests, p.Remove)
				r.change(func() { r.watched[app]-- })
			}
		}
	}
}

// update sends what is not as it was sent.
func (r *region) update(stream regionv1.RegionService_WatchServer, id uint64, app string, sent map[uint64]map[string]*regionv1.Machine, resumed bool) {
	r.mu.Lock()
	list, position := slices.Clone(r.apps[app]), r.position()
	r.mu.Unlock()
	first := sent[id] == nil
	if first {
		sent[id] = map[string]*regionv1.Machine{}
		_ = stream.Send(&regionv1.WatchResponse{Interest: id, Event: &regionv1.WatchResponse_Snapshot{Snapshot: &regionv1.WatchSnapshot{}}})
	}
	now := map[string]*regionv1.Machine{}
	var out []*regionv1.WatchResponse
	for _, m := range list {
		now[m.Id] = m
		if sent[id][m.Id] != m {
			out = append(out, &regionv1.WatchResponse{Event: &regionv1.WatchResponse_Machine{Machine: m}})
		}
	}
	for gone, m := range sent[id] {
		if now[gone] == nil {
			out = append(out, &regionv1.WatchResponse{Event: &regionv1.WatchResponse_Gone{Gone: &regionv1.MachineGone{Worker: m.Worker, Id: gone, Ended: true}}})
		}
	}
	sent[id] = now
	if first || resumed {
		out = append(out, &regionv1.WatchResponse{Event: &regionv1.WatchResponse_Synced{Synced: &regionv1.WatchSynced{}}})
	}
	for i, ev := range out {
		if ev.Interest = id; i == len(out)-1 {
			ev.Position = position
		}
		_ = stream.Send(ev)
	}
}

// eventually waits until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(15 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}
