// Package meshbench measures how fast a row is everywhere in a region of real
// nodes on loopback (B01), against the ways of others to tell many nodes.
package meshbench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/load"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/bench/stat"
)

// Benches returns the package's.
func Benches() []bench.Bench {
	return []bench.Bench{
		{Name: "B01", Title: "propagate-region", Set: bench.Quick, Quick: 35 * time.Second, Long: 110 * time.Second, Run: propagate,
			About: "16, 32 and 64 nodes over QUIC on loopback, 200 rows a second: p50 at most 5 ms, the last node's p99 at most 30 ms, 50 × faster than memberlist's broadcast."},
		{Name: "B06", Title: "sustained", Set: bench.Full, Long: 90 * time.Second, Run: sustained,
			About: "8 nodes, the load doubled until the p99 lag is over 250 ms: at least 0.6 of what the nodes can apply, and at half of it a p99 lag of at most 25 ms."},
		{Name: "B07", Title: "cold-join", Set: bench.Full, Long: 100 * time.Second, Run: coldJoin,
			About: "A node on an empty disk joins one with 250,000 rows: ready within 2 s, at most 45 B per row on the wire, and the donor's p99 of commits at most doubles."},
		{Name: "sync-sockets", Title: "B10 over sockets", Set: bench.Full, Run: atRest,
			About: "32 nodes over QUIC on loopback: at rest at most 64 bytes per exchange; comparisons of leaves while 200 rows a second are written."},
		{Name: "B24", Title: "detect-failure", Set: bench.Full, Long: 60 * time.Second, Run: detect,
			About: "64 nodes: all know of a killed one within 6 s; with short CPUs at most half as many live ones are taken for dead as by memberlist."},
		{Name: "B26", Title: "soak", Set: bench.Soak, Run: soak,
			About: "Half an hour of writes, restarts and jumping clocks, then a node away for ten minutes: the heap does not grow, and all roots are equal 10 s after."},
		{Name: "udp-fanout", Title: "floor: raw UDP to every node", Set: bench.Full, Run: fanout,
			About: "One datagram of a row's size to each of 64 sockets, answered by nobody: when the last one has it."},
		{Name: "quic", Title: "floor: messages on a QUIC connection", Set: bench.Full, Run: wires,
			About: "Messages of a row's size over loopback: on one framed stream, a stream each, as datagrams."},
	}
}

const (
	rate  = 200 // rows per second
	block = 200 // rows of a block: a second of them
)

func propagate(ctx context.Context, b *bench.Bencher) error {
	counts := []int{16}
	if b.Full() {
		counts = append(counts, 32, 64)
	} else {
		b.Note("16 nodes; 32 and 64 in a full run")
	}
	b.Note("all nodes share one process and its CPUs; a row's way counts from when its write was due; rows and bytes are counted where frames enter streams, for memberlist where they come")
	b.Pairs(len(counts))
	for _, n := range counts {
		if err := propagateOver(ctx, b, n); err != nil {
			return fmt.Errorf("%d nodes: %w", n, err)
		}
	}
	return nil
}

func propagateOver(ctx context.Context, b *bench.Bencher, n int) (err error) {
	dir, err := b.MemoryDir(64 << 20)
	if err != nil {
		return err
	}
	r, err := newRegion(ctx, dir, n, b.Seed())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	m, err := newMembers(n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	return b.Compare(ctx, bench.Pair{
		Name: fmt.Sprintf("%d nodes", n), Multiple: block, Most: block,
		Subject:  bench.Side{Name: "region", Do: r.counted},
		Baseline: bench.Side{Name: "memberlist's broadcast", Do: m.block},
		Measures: []bench.Measure{
			{Name: "p50 until visible on a node", Unit: "µs", Of: bench.Value("p50"), How: bench.Alone, Target: result.AtMost(5000)},
			{Name: "p99 until visible on the last node", Unit: "µs", Of: bench.Value("last p99"), How: bench.Alone, Target: result.AtMost(30_000)},
			{Name: "times faster than memberlist's broadcast, p50", Unit: "×", Of: inverse, How: bench.Ratio, Target: result.AtLeast(50)},
			{Name: "CPU per row and node", Unit: "µs", Of: func(blk bench.Block) float64 { return bench.CPU(blk) / float64(n) }, How: bench.Alone, Guard: bench.OnCPU},
			{Name: "CPU beside memberlist's broadcast", Unit: "×", Of: bench.CPU, How: bench.Ratio, Guard: bench.OnCPU},
			{Name: "rows sent per row first delivered", Of: bench.Value("copies"), How: bench.Alone, Target: result.AtMost(1.05), Guard: bench.OnCPU},
			{Name: "bytes per row and node", Unit: "B", Of: bench.Value("bytes"), How: bench.Alone, Guard: bench.OnCPU},
			{Name: "bytes beside memberlist's broadcast", Unit: "×", Of: bench.Value("bytes"), How: bench.Ratio, Guard: bench.OnCPU},
		},
	})
}

// inverse turns "how long" into "how fast", so that the ratio reads as times
// faster.
func inverse(b bench.Block) float64 { return 1e6 / b.Values["p50"] }

// block writes rows at the rate, by all nodes in turn.
func (r *region) block(ctx context.Context, ops int) (bench.Values, error) {
	n := len(r.nodes)
	report, err := load.Run(ctx, load.Config{Rate: rate, Count: uint64(ops)}, func(ctx context.Context, i uint64, due time.Time) error {
		return r.write(ctx, int(i)%n, int(i)%500, due)
	})
	if err == nil {
		err = report.First
	}
	if err != nil {
		return nil, err
	}
	landed, err := r.take(ctx)
	if err != nil {
		return nil, err
	}
	return values(landed, ops, n)
}

// values summarises landings; every row must have come to every node.
func values(landed []landing, ops, n int) (bench.Values, error) {
	var each, last []float64
	for _, l := range landed {
		if us := float64(l.took.Nanoseconds()) / 1e3; l.last {
			last = append(last, us)
		} else {
			each = append(each, us)
		}
	}
	if len(last) != ops || len(each) != ops*(n-1) {
		return nil, fmt.Errorf("%d rows came %d times to others, want %d and %d", len(last), len(each), ops, ops*(n-1))
	}
	return bench.Values{"p50": stat.Quantile(each, 0.5), "last p99": stat.Quantile(last, 0.99)}, nil
}
