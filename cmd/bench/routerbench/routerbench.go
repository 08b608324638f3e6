// Package routerbench measures what a router adds: to one region's answer
// (B18), to the slowest of many (B19), to the healthy ones' when one is dead
// (B20); and a catalog against a bare map (B15).
package routerbench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/bench/world"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/load"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/bench/stat"
	"github.com/firebreak-dev/firebreak/internal/identity"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// Benches returns the package's.
func Benches() []bench.Bench {
	return []bench.Bench{
		{Name: "B15", Title: "catalog-lookup", Set: bench.Quick, Quick: 25 * time.Second, Long: 70 * time.Second, Run: lookup,
			About: "Lookups among 50,000 apps and 1,000,000 machines under 100 publications a second, against a bare map: at most 1.25 × its time, without an allocation."},
		{Name: "B18", Title: "router-unary", Set: bench.Quick, Quick: 12 * time.Second, Run: unary,
			About: "One region through the router against asking it directly: at most 80 µs more at p50, 2.2 × the CPU."},
		{Name: "B19", Title: "router-fanout", Set: bench.Quick, Quick: 48 * time.Second, Long: 90 * time.Second, Run: fanout,
			About: "3, 20 and 40 regions 5 to 225 ms away: at most 1 ms at p50 and 5 ms at p99 over the slowest, and only regions with the app are asked."},
		{Name: "B20", Title: "dead-region", Set: bench.Quick, Quick: 44 * time.Second, Long: 70 * time.Second, Run: dead,
			About: "1 of 20 regions black-holed, slow or flapping: the healthy answers' p99 at most 2 ms more, never a false complete."},
		{Name: "direct-grpc", Title: "floor: gRPC without a router", Set: bench.Full, Run: direct,
			About: "One question to one gateway over mutual TLS."},
		{Name: "bare-map", Title: "floor: a map behind a pointer", Set: bench.Full, Run: bareMap,
			About: "Lookups among 50,000 keys, by text and by number."},
	}
}

const (
	question = "SELECT count(*) AS n FROM fleet_current"
	aBlock   = askRate // operations of a block that is offered at a rate: a second of them
	hundred  = 100     // questions that are counted, not timed
)

// federation is a router before some regions.
type federation struct {
	*world.World
	regions []*world.Region
	router  routerv1.RouterServiceClient
	direct  regionv1.RegionServiceClient // the last region's gateway, the slowest
}

// newFederation starts n regions, from nearest to farthest; the app "few" runs
// in three of them at most, the app "all" in all.
func newFederation(ctx context.Context, dir string, n int, near, far time.Duration) (_ *federation, err error) {
	w, err := world.New(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	f := &federation{World: w}
	for i := range n {
		delay := near
		if n > 1 {
			delay += (far - near) * time.Duration(i) / time.Duration(n-1)
		}
		apps := []string{"all"}
		if i < 3 {
			apps = append(apps, "few")
		}
		r, err := w.AddRegion(fmt.Sprintf("r%02d", i), delay, apps...)
		if err != nil {
			return nil, err
		}
		f.regions = append(f.regions, r)
	}
	global, err := w.AddGlobal(f.regions...)
	if err != nil {
		return nil, err
	}
	if f.router, err = w.AddRouter(ctx, global, n); err != nil {
		return nil, err
	}
	last := f.regions[n-1]
	conn, err := w.Dial(last.Addr, identity.ID{Role: identity.Router, Name: "r2"}, identity.InRegion(world.Fleet, last.Name, identity.Gateway))
	if err != nil {
		return nil, err
	}
	f.direct = regionv1.NewRegionServiceClient(conn)
	return f, nil
}

// answer is what came of one question through the router.
type answer struct {
	rows     int
	complete bool
	others   int           // rows of other regions than the nearest, which is the one that gets sick
	healthy  time.Duration // when all of those were there, from the asking
}

// ask puts a question to the router.
func (f *federation) ask(ctx context.Context, req *routerv1.QueryRequest, since time.Time) (a answer, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := f.router.Query(ctx, req)
	if err != nil {
		return a, err
	}
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			return a, err
		}
		a.rows += len(resp.GetRows())
		if resp.GetRegion() != string(f.regions[0].Name) {
			if a.others += len(resp.GetRows()); a.healthy == 0 && a.others == len(f.regions)-1 {
				a.healthy = time.Since(since)
			}
		}
		if end := resp.GetEnd(); end != nil {
			a.complete = end.GetComplete()
		}
	}
}

// whole asks and wants a complete answer of so many rows.
func (f *federation) whole(ctx context.Context, req *routerv1.QueryRequest, want int) error {
	a, err := f.ask(ctx, req, time.Now())
	if err == nil && (a.rows != want || !a.complete) {
		err = fmt.Errorf("%d rows of %d, complete: %v", a.rows, want, a.complete)
	}
	return err
}

// askDirect asks the slowest region without a router.
func (f *federation) askDirect(ctx context.Context) error {
	stream, err := f.direct.Query(ctx, &regionv1.QueryRequest{Sql: question})
	if err != nil {
		return err
	}
	for {
		if _, err := stream.Recv(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// closed does operations one after the other and gives their quantiles.
func closed(do func(context.Context) error) func(context.Context, int) (bench.Values, error) {
	return func(ctx context.Context, ops int) (bench.Values, error) {
		var took times
		for range ops {
			start := time.Now()
			if err := do(ctx); err != nil {
				return nil, err
			}
			took.add(time.Since(start))
		}
		return took.quantiles(), nil
	}
}

// offered does operations at a rate, whatever they take.
func offered(rate float64, do func(context.Context) error) func(context.Context, int) (bench.Values, error) {
	return func(ctx context.Context, ops int) (bench.Values, error) {
		var took times
		r, err := load.Run(ctx, load.Config{
			Rate: rate, Count: uint64(ops), Workers: 512,
			Each: func(latency time.Duration, _ error) { took.add(latency) },
		}, func(ctx context.Context, _ uint64, _ time.Time) error { return do(ctx) })
		if err == nil {
			err = r.First
		}
		return took.quantiles(), err
	}
}

// times are the latencies of one block, in microseconds. They are kept one by
// one: a histogram is too coarse for a millisecond in two hundred.
type times []float64

func (t *times) add(d time.Duration) { *t = append(*t, float64(d.Nanoseconds())/1e3) }

func (t times) quantiles() bench.Values {
	return bench.Values{"p50": stat.Quantile(t, 0.5), "p99": stat.Quantile(t, 0.99)}
}

func unary(ctx context.Context, b *bench.Bencher) (err error) {
	dir, err := b.MemoryDir(1 << 20)
	if err != nil {
		return err
	}
	f, err := newFederation(ctx, dir, 1, 0, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b.Note("caller, router and region are one process: its CPU is that of all three")
	req := &routerv1.QueryRequest{Sql: question, Where: &routerv1.QueryRequest_Region{Region: f.regions[0].Name}}
	return b.Compare(ctx, bench.Pair{
		Subject:  bench.Side{Name: "through the router", Do: closed(func(ctx context.Context) error { return f.whole(ctx, req, 1) })},
		Baseline: bench.Side{Name: "direct", Do: closed(f.askDirect)},
		Measures: []bench.Measure{
			{Name: "p50 more than direct", Unit: "µs", Of: bench.Value("p50"), How: bench.Difference, Target: result.AtMost(80)},
			{Name: "CPU per question", Unit: "µs", Of: bench.CPU, How: bench.Ratio, Guard: bench.OnCPU, Target: result.AtMost(2.2)},
			{Name: "p99 more than direct", Unit: "µs", Of: bench.Value("p99"), How: bench.Difference},
		},
	})
}
