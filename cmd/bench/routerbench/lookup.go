package routerbench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/cmd/bench/world"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/identity"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
	"github.com/firebreak-dev/firebreak/router/catalog"
)

const (
	catalogApps     = 50_000
	catalogMachines = 20  // of each
	publications    = 100 // per second
)

// feeder is a router that has told all about its apps and then, when it is on,
// says something new of them.
type feeder struct {
	routerv1.UnimplementedRouterServiceServer
	machines int
	told     chan struct{} // closed once everything was sent
	on       atomic.Bool
	said     atomic.Uint64
}

func appName(i int) string { return fmt.Sprintf("app-%05d", i) }

func (f *feeder) machine(app, i, version int) *routerv1.WatchResponse {
	return &routerv1.WatchResponse{App: appName(app), Region: "iad", Event: &routerv1.WatchResponse_Machine{Machine: &regionv1.Machine{
		Worker: fmt.Sprintf("host-%03d", (app+i)%256), Id: fmt.Sprintf("m%d", i), App: appName(app), State: regionv1.MachineState_MACHINE_STATE_STARTED,
		Addresses: []string{fmt.Sprintf("fdaa:%x:%x::%x", app, i, version)}, Current: true, Routable: true,
	}}}
}

func live(app string) *routerv1.WatchResponse {
	return &routerv1.WatchResponse{App: app, Region: "iad", Event: &routerv1.WatchResponse_Status{Status: &routerv1.RegionStatus{
		Coverage: &clusterv1.Coverage{Region: "iad", State: clusterv1.CoverageState_COVERAGE_STATE_LIVE},
	}}}
}

// Watch implements the router's API.
func (f *feeder) Watch(stream routerv1.RouterService_WatchServer) error {
	go func() { // what it asks for is known; the stream must flow
		for {
			if _, err := stream.Recv(); err != nil {
				return
			}
		}
	}()
	for app := range catalogApps {
		for i := range f.machines {
			if err := stream.Send(f.machine(app, i, 0)); err != nil {
				return err
			}
		}
		if err := stream.Send(live(appName(app))); err != nil {
			return err
		}
	}
	close(f.told)
	tick := time.NewTicker(time.Second / publications)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-tick.C:
		}
		if f.on.Load() {
			if err := stream.Send(f.machine(n*7919%catalogApps, n%f.machines, n)); err != nil {
				return err
			}
			f.said.Add(1)
		}
	}
}

// ListRegions implements the router's API.
func (f *feeder) ListRegions(context.Context, *routerv1.ListRegionsRequest) (*routerv1.ListRegionsResponse, error) {
	return &routerv1.ListRegionsResponse{}, nil
}

// lookup compares lookups in a catalog with those in a bare map.
func lookup(ctx context.Context, b *bench.Bencher) (err error) {
	machines := catalogMachines
	if !b.Full() {
		machines /= 4
		b.Note("%d machines; 1,000,000 in a full run", catalogApps*machines)
	}
	dir, err := b.MemoryDir(64 << 20)
	if err != nil {
		return err
	}
	w, err := world.New(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	f := &feeder{machines: machines, told: make(chan struct{})}
	c, err := follow(ctx, w, f)
	if err != nil {
		return err
	}
	names, bare := make([]string, catalogApps), make(map[string]catalog.View, catalogApps)
	for i := range names {
		names[i] = appName(i)
		v, ok := c.Lookup(names[i])
		if !ok || len(v.Endpoints) != machines || v.Age != 0 {
			return fmt.Errorf("%s: %d endpoints, age %v", names[i], len(v.Endpoints), v.Age)
		}
		bare[v.Endpoints[0].App] = v // a key of the catalog's own, as far away in memory
	}
	rand.New(rand.NewPCG(b.Seed(), 15)).Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	inCatalog := func(_ context.Context, ops int) (bench.Values, error) {
		for i := range ops {
			if v, ok := c.Lookup(names[i%catalogApps]); !ok || len(v.Endpoints) == 0 {
				return nil, errors.New("an app is gone")
			}
		}
		return nil, nil
	}
	inMap := func(_ context.Context, ops int) (bench.Values, error) {
		for i := range ops {
			if v, ok := bare[names[i%catalogApps]]; !ok || len(v.Endpoints) == 0 {
				return nil, errors.New("an app is gone")
			}
		}
		return nil, nil
	}
	n, err := leastMallocs(ctx, inCatalog)
	if err != nil {
		return err
	}
	b.Count(fmt.Sprintf("allocations in %d lookups", fewLookups), "", float64(n), result.AtMost(0))
	b.Pairs(2)
	nanoseconds := func(blk bench.Block) float64 { return 1000 * bench.Wall(blk) }
	err = b.Compare(ctx, bench.Pair{
		Name: "at rest", Subject: bench.Side{Name: "catalog", Do: inCatalog}, Baseline: bench.Side{Name: "bare map", Do: inMap},
		Measures: []bench.Measure{
			{Name: "time per lookup", Unit: "ns", Of: nanoseconds, How: bench.Ratio, Target: result.AtMost(1.25)},
		},
	})
	if err != nil {
		return err
	}
	f.on.Store(true)
	err = b.Compare(ctx, bench.Pair{
		Name: "100 publications a second", Subject: bench.Side{Name: "catalog", Do: inCatalog}, Baseline: bench.Side{Name: "bare map", Do: inMap},
		Measures: []bench.Measure{{Name: "time per lookup", Unit: "ns", Of: nanoseconds, How: bench.Ratio, Target: result.AtMost(1.25)}},
	})
	if err == nil && f.said.Load() == 0 {
		err = errors.New("nothing was published meanwhile")
	}
	return err
}

// fewLookups take microseconds: in the best of many tries, nothing else in the
// process allocates meanwhile.
const (
	fewLookups = 1000
	manyTries  = 200
)

// leastMallocs is the allocations of a few lookups alone.
func leastMallocs(ctx context.Context, do func(context.Context, int) (bench.Values, error)) (uint64, error) {
	least := uint64(math.MaxUint64)
	for range manyTries {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := do(ctx, fewLookups); err != nil {
			return 0, err
		}
		runtime.ReadMemStats(&after)
		least = min(least, after.Mallocs-before.Mallocs)
	}
	return least, nil
}

// follow starts a catalog on the feeder and waits until it knows everything.
func follow(ctx context.Context, w *world.World, f *feeder) (*catalog.Client, error) {
	addr, err := w.Serve(identity.ID{Role: identity.Router, Name: "r1"}, func(s *grpc.Server) { routerv1.RegisterRouterServiceServer(s, f) })
	if err != nil {
		return nil, err
	}
	edge, err := w.Identity(identity.ID{Role: identity.Client, Name: "edge"})
	if err != nil {
		return nil, err
	}
	c, err := catalog.New(catalog.Config{Routers: []string{addr}, TLS: tlsOf(edge), Client: "edge", Fleet: world.Fleet})
	if err != nil {
		return nil, err
	}
	w.Go(c.Run)
	select {
	case <-f.told:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return c, world.Await(ctx, "the catalog to hear of every app", func() error {
		for _, i := range []int{0, catalogApps / 2, catalogApps - 1} {
			if v, ok := c.Lookup(appName(i)); !ok || len(v.Endpoints) != f.machines || v.Age != 0 {
				return fmt.Errorf("%s: %d endpoints of %d, age %v", appName(i), len(v.Endpoints), f.machines, v.Age)
			}
		}
		return nil
	})
}

func tlsOf(edge *identity.Source) *tls.Config {
	return edge.Client(identity.HasRole(world.Fleet, identity.Router))
}
