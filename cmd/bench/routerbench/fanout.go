package routerbench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/cmd/bench/world"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/load"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// How far away regions are, and back.
const (
	nearest  = 5 * time.Millisecond
	farthest = 225 * time.Millisecond
)

const askRate = 50 // questions per second

func fanout(ctx context.Context, b *bench.Bencher) error {
	counts := []int{3, 20}
	if b.Full() {
		counts = append(counts, 40)
	}
	b.Pairs(len(counts))
	for _, n := range counts {
		if err := fanoutOver(ctx, b, n); err != nil {
			return fmt.Errorf("%d regions: %w", n, err)
		}
	}
	return nil
}

func fanoutOver(ctx context.Context, b *bench.Bencher, n int) (err error) {
	dir, err := b.MemoryDir(1 << 20)
	if err != nil {
		return err
	}
	f, err := newFederation(ctx, dir, n, nearest, farthest)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	all := &routerv1.QueryRequest{Sql: question}
	err = b.Compare(ctx, bench.Pair{
		Name: fmt.Sprintf("%d regions", n), Multiple: aBlock, Most: aBlock,
		Subject:  bench.Side{Name: "all regions", Do: offered(askRate, func(ctx context.Context) error { return f.whole(ctx, all, n) })},
		Baseline: bench.Side{Name: "the slowest, direct", Do: offered(askRate, f.askDirect)},
		Measures: []bench.Measure{
			{Name: "p50 over the slowest", Unit: "µs", Of: bench.Value("p50"), How: bench.Difference, Target: result.AtMost(1000)},
			{Name: "p99 over the slowest", Unit: "µs", Of: bench.Value("p99"), How: bench.Difference, Target: result.AtMost(5000)},
			{Name: "CPU per question", Unit: "µs", Of: bench.CPU, How: bench.Alone, Guard: bench.OnCPU},
		},
	})
	if err != nil {
		return err
	}
	before := f.asked()
	few := &routerv1.QueryRequest{Sql: question, Where: &routerv1.QueryRequest_App{App: "few"}}
	g, asking := errgroup.WithContext(ctx)
	g.SetLimit(10) // at once: they are counted, not timed, and the third region is far away
	for range hundred {
		g.Go(func() error { return f.whole(asking, few, min(3, n)) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("pruned: %w", err)
	}
	b.Count(fmt.Sprintf("%d regions: asked for an app of %d", n, min(3, n)), "regions", float64(f.asked()-before)/hundred, result.AtMost(float64(min(3, n))))
	return nil
}

func (f *federation) asked() (n uint64) {
	for _, r := range f.regions {
		n += r.Asked.Load()
	}
	return n
}

// A region that is slow answers after this; one that flaps does so and answers
// in turn.
const (
	slowBy   = 2 * time.Second
	flapFor  = 200 * time.Millisecond
	deadTime = 300 // milliseconds that a question may take
	deadRate = 25  // questions per second: the next is asked when all is over of the last one
)

// dead compares how long the healthy regions' answers take with how long they
// take while all are well.
func dead(ctx context.Context, b *bench.Bencher) (err error) {
	const n = 20
	dir, err := b.MemoryDir(1 << 20)
	if err != nil {
		return err
	}
	f, err := newFederation(ctx, dir, n, nearest, 25*time.Millisecond)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b.Note("regions 5 to 25 ms away; the sick one is the nearest")
	ways := []string{"black-holed", "flapping"}
	if b.Full() {
		ways = append(ways, "slow")
	}
	b.Pairs(len(ways))
	for _, sick := range ways {
		if err := f.deadAs(ctx, b, sick); err != nil {
			return fmt.Errorf("%s: %w", sick, err)
		}
	}
	return nil
}

func (f *federation) deadAs(ctx context.Context, b *bench.Bencher, sick string) error {
	var lies atomic.Uint64 // complete answers without every region's row
	asking := func(ctx context.Context, ops int) (bench.Values, error) { return f.healthy(ctx, ops, &lies) }
	err := b.Compare(ctx, bench.Pair{
		Name: sick, Multiple: deadRate, Most: deadRate,
		Subject: bench.Side{
			Name:    "one sick",
			Prepare: func(int) error { return f.missOnce(ctx, sick) },
			Do: func(ctx context.Context, ops int) (bench.Values, error) {
				defer f.fall(sick)()
				return asking(ctx, ops)
			},
		},
		Baseline: bench.Side{Name: "all well", Prepare: func(int) error { return f.recover(ctx) }, Do: asking},
		Measures: []bench.Measure{
			{Name: "healthy answers' p99 over all well", Unit: "µs", Of: bench.Value("p99"), How: bench.Difference, Target: result.AtMost(2000)},
			{Name: "healthy answers' p50 over all well", Unit: "µs", Of: bench.Value("p50"), How: bench.Difference},
		},
	})
	if err == nil {
		b.Count(sick+": false completes", "answers", float64(lies.Load()), result.AtMost(0))
	}
	return err
}

// healthy asks all regions at a rate, and measures when the rows of all but
// the one that gets sick were there.
func (f *federation) healthy(ctx context.Context, ops int, lies *atomic.Uint64) (bench.Values, error) {
	n := len(f.regions)
	req := &routerv1.QueryRequest{Sql: question, TimeoutMs: deadTime}
	var mu sync.Mutex // guards took
	var took times
	r, err := load.Run(ctx, load.Config{
		Rate: deadRate, Count: uint64(ops), Workers: 512,
	}, func(ctx context.Context, _ uint64, due time.Time) error {
		a, err := f.ask(ctx, req, due)
		if err != nil {
			return err
		}
		if a.complete && a.rows < n {
			lies.Add(1)
		}
		if a.healthy == 0 { // not in time: the machine is busy
			a.healthy = deadTime * time.Millisecond
		}
		mu.Lock()
		defer mu.Unlock()
		took.add(a.healthy)
		return nil
	})
	if err == nil {
		err = r.First
	}
	return took.quantiles(), err
}

// missOnce lets the router meet the sick region before anything is measured.
func (f *federation) missOnce(ctx context.Context, sick string) error {
	defer f.fall(sick)()
	_, err := f.ask(ctx, &routerv1.QueryRequest{Sql: question, TimeoutMs: deadTime}, time.Now())
	return err
}

// recover waits until every region answers again.
func (f *federation) recover(ctx context.Context) error {
	return world.Await(ctx, "the sick region to be asked again", func() error {
		return f.whole(ctx, &routerv1.QueryRequest{Sql: question}, len(f.regions))
	})
}

// fall makes the first region sick, until the returned function is called.
func (f *federation) fall(sick string) (heal func()) {
	hold := &f.regions[0].Hold
	switch sick {
	case "black-holed":
		hold.Store(-1)
	case "slow":
		hold.Store(int64(slowBy))
	case "flapping":
		hold.Store(-1)
		tick, end, done := time.NewTicker(flapFor), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for well := true; ; well = !well {
				select {
				case <-end:
					return
				case <-tick.C:
				}
				if well {
					hold.Store(0)
				} else {
					hold.Store(-1)
				}
			}
		}()
		return func() { tick.Stop(); close(end); <-done; hold.Store(0) }
	}
	return func() { hold.Store(0) }
}
