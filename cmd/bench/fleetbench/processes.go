package fleetbench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/bench/meshbench"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/datadir"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/bench/stat"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

const (
	manyNodes = 64
	fewNodes  = 16               // unless the run is a full one
	manyWave  = 4                // that start at once
	manyRate  = 5.0              // rows per second: two CPUs carry them on all nodes
	manyFor   = 20 * time.Second // of writes
	manyRest  = 15 * time.Second // without any but the nodes' own probes
)

// processes runs one region of many processes, and has memberlist broadcast
// the same rows when it has ended.
func processes(ctx context.Context, b *bench.Bencher) error {
	n := manyNodes
	if !b.Full() {
		n = fewNodes
		b.Note("%d nodes; %d in a full run", fewNodes, manyNodes)
	}
	b.Note("%d processes, a global node and a router; %.0f rows/s for %v, seen by a watch on one node; CPU is what comes on top of %v at rest; what nodes write themselves (a probe each in 10 s) counts as rows that arrive; memberlist's nodes share one process, which is in their favour", n, manyRate, manyFor, manyRest)
	ours, err := ofProcesses(ctx, b, n)
	if err != nil {
		return err
	}
	theirs, err := meshbench.MeasureBroadcast(ctx, n, manyRate, int(manyRate*manyFor.Seconds()), manyRest)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%d nodes: ", n)
	b.Count(name+"p50 until visible", "ms", ours.p50, result.Target{})
	b.Count(name+"p99 until visible", "ms", ours.p99, result.Target{})
	b.Count(name+"rows that were not seen in time", "%", ours.missed, result.AtMost(0))
	b.Count(name+"rows that arrived per row first delivered", "", ours.copies, result.AtMost(1.05))
	b.Count(name+"pushes that did not leave", "", ours.unpushed, result.AtMost(0))
	b.Count(name+"bytes per row and node", "B", ours.bytes, result.Target{})
	b.Count(name+"CPU per row and node", "µs", ours.cpu, result.Target{})
	b.Count(name+"CPU per node and second at rest", "µs", ours.rest, result.Target{})
	b.Count(name+"bytes per exchange at rest", "B", ours.exchange, result.AtMost(64))
	b.Count(name+"memberlist's p50 until visible", "ms", theirs.P50/1000, result.Target{})
	b.Count(name+"memberlist's p99 until visible on the last node", "ms", theirs.Last/1000, result.Target{})
	b.Count(name+"memberlist's messages per row and node", "", theirs.Copies, result.Target{})
	b.Count(name+"memberlist's bytes per row and node", "B", theirs.Bytes, result.Target{})
	b.Count(name+"memberlist's CPU per row and node", "µs", theirs.CPU, result.Target{})
	b.Count(name+"memberlist's CPU per node and second at rest", "µs", theirs.Rest, result.Target{})
	return nil
}

// crowd is what a region of many processes has taken.
type crowd struct {
	p50, p99 float64 // ms, of rows that were seen in time
	missed   float64 // % of the rows, which were not
	copies   float64 // rows that arrived per row that was new
	unpushed float64
	bytes    float64 // of pushed frames, per row and node
	exchange float64 // bytes per frame of syncs at rest
	cpu      float64 // µs per row and node, without that at rest
	rest     float64 // µs per node and second
}

// ofProcesses starts the region, measures it, and ends it.
func ofProcesses(ctx context.Context, b *bench.Bencher, n int) (out crowd, err error) {
	binary, err := build(ctx, b)
	if err != nil {
		return out, err
	}
	path, err := b.MemoryDir(uint64(n) * 32 << 20)
	if err != nil {
		return out, err
	}
	dir, err := datadir.Open(filepath.Join(path, "dev"))
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	f, err := federation.Open(federation.Config{
		Dir: dir, Spec: federation.Spec{Regions: []fleet.Region{"iad"}, Workers: n, Globals: 1, Routers: 1},
		Processes: true, Binary: binary, Wave: manyWave, Version: "bench", Progress: func(line string) { b.Say("%s", line) },
	})
	if err != nil {
		return out, err
	}
	err = f.Run(ctx, func(ctx context.Context) error {
		b.Say("%d processes have met", n)
		r, err := newRace(ctx, f)
		if err != nil {
			return err
		}
		defer r.close()
		out, err = r.crowd(ctx)
		return err
	})
	return out, err
}

// crowd measures the region at rest, and then under writes.
func (r *race) crowd(ctx context.Context) (out crowd, err error) {
	if _, err := r.offer(ctx, manyRate, raceFor); err != nil { // warms up
		return out, err
	}
	rest, err := r.took(ctx, func() error { return bench.Pause(ctx, manyRest) })
	if err != nil {
		return out, err
	}
	var o offered
	busy, err := r.took(ctx, func() error {
		o, err = r.offer(ctx, manyRate, manyFor)
		return err
	})
	if err != nil {
		return out, err
	}
	if len(o.lags) == 0 || busy.sums[taken] == 0 || rest.sums[syncSent] == 0 {
		return out, errors.New("nothing was written, delivered or compared: the machine does not carry so many processes beside its other work")
	}
	nodes := float64(len(r.nodes))
	out = crowd{
		missed: 100 * float64(o.missed) / float64(o.due),
		p50:    1000 * stat.Quantile(o.lags, 0.5), p99: 1000 * stat.Quantile(o.lags, 0.99),
		copies: busy.sums[arrived] / busy.sums[taken], unpushed: rest.sums[unpushed] + busy.sums[unpushed],
		bytes: busy.sums[pushBytes] / busy.sums[taken], exchange: rest.sums[syncBytes] / rest.sums[syncSent],
		rest: rest.perSecond() / nodes,
	}
	out.cpu = (busy.perSecond() - rest.perSecond()) * busy.wall.Seconds() / float64(o.sent) / nodes
	return out, nil
}

// span is what all processes used, and what their metrics grew by, in a time.
type span struct {
	wall, cpu time.Duration
	sums      sums
}

// perSecond is the CPU in µs per second.
func (s span) perSecond() float64 { return float64(s.cpu.Microseconds()) / s.wall.Seconds() }

// took measures the processes while do runs. Their metrics are read outside
// the span of their CPU time: it is not of the work.
func (r *race) took(ctx context.Context, do func() error) (s span, err error) {
	before, err := scrape(ctx, r.nodes)
	if err != nil {
		return s, err
	}
	used, err := r.cpu()
	if err != nil {
		return s, err
	}
	begun := time.Now()
	if err := do(); err != nil {
		return s, err
	}
	s.wall = time.Since(begun)
	now, err := r.cpu()
	if err != nil {
		return s, err
	}
	s.cpu = now - used
	after, err := scrape(ctx, r.nodes)
	s.sums = after.since(before)
	return s, err
}
