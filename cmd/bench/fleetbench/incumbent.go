package fleetbench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/bench/world"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/datadir"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// rival is what Corrosion's agent did at a number of nodes: its commit 0d0dd7a
// with its defaults, rows of 194 bytes, tmpfs and loopback, on two shared
// cores. These are constants: it is not run here. Where it was measured as a
// range, the end in its favour stands.
type rival struct {
	nodes int
	held  float64 // updates per second with a p99 lag below 250 ms
	cpu   float64 // µs per update and node
	bytes float64 // per update and node, on the wire
}

var rivals = []rival{{3, 1200, 393, 800}, {8, 800, 306, 2000}, {16, 200, 570, 2900}, {30, 75, 797, 3600}}

const (
	rivalDisk  = 1900 // bytes on disk per row, on nodes that received it
	rivalStart = 57   // ms from its start until a node is ready
	stored     = 10_000
)

// incumbent runs regions of real processes, and sets them beside its figures.
func incumbent(ctx context.Context, b *bench.Bencher) error {
	sizes := rivals
	if !b.Full() {
		sizes = rivals[:1]
		b.Note("3 nodes; up to 30 in a full run")
	}
	b.Note("its figures are constants, measured with its commit 0d0dd7a on the same kind of machine; ours are of the processes of one region, a global node and a router; bytes are of frames, before QUIC; cold join and disk of large tables are B07 and B13")
	binary, err := build(ctx, b)
	if err != nil {
		return err
	}
	b.Pairs(len(sizes))
	for i, s := range sizes {
		if err := against(ctx, b, binary, s, i == 0); err != nil {
			return fmt.Errorf("%d nodes: %w", s.nodes, err)
		}
	}
	return nil
}

// against measures one size.
func against(ctx context.Context, b *bench.Bencher, binary string, s rival, small bool) (err error) {
	path, err := b.MemoryDir(uint64(s.nodes) * 64 << 20)
	if err != nil {
		return err
	}
	dir, err := datadir.Open(filepath.Join(path, "dev"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	f, err := federation.Open(federation.Config{
		Dir: dir, Spec: federation.Spec{Regions: []fleet.Region{"iad"}, Workers: s.nodes, Globals: 1, Routers: 1},
		Processes: true, Binary: binary, Version: "bench", Progress: func(string) {},
	})
	if err != nil {
		return err
	}
	return f.Run(ctx, func(ctx context.Context) error {
		r, err := newRace(ctx, f)
		if err != nil {
			return err
		}
		defer r.close()
		if err := r.compare(ctx, b, s); err != nil || !small {
			return err
		}
		return r.atRest(ctx, b)
	})
}

// compare finds what is held, and measures CPU and bytes at half of it.
func (r *race) compare(ctx context.Context, b *bench.Bencher, s rival) error {
	held, err := r.highest(ctx, b)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%d nodes", s.nodes)
	b.Count(name+": updates per second that hold", "/s", held, result.Target{})
	var target result.Target
	if s.nodes >= 16 {
		target = result.AtLeast(10)
	}
	b.Count(name+": of what the incumbent holds", "×", held/s.held, target)
	if held == 0 {
		b.Note("%s: not even %d updates a second were held, so there is nothing to measure at half of it", name, raceFrom/4)
		return nil
	}
	half := func(ctx context.Context, _ int) (bench.Values, error) {
		u, err := r.usage(ctx, held/2)
		return bench.Values{"cpu": u.cpu / s.cpu, "bytes": u.bytes / s.bytes}, err
	}
	return b.Compare(ctx, bench.Pair{
		Name: name, Most: 1, Subject: bench.Side{Name: "half of what holds", Do: half},
		Measures: []bench.Measure{
			{Name: "CPU per update and node, of the incumbent's", Unit: "×", Of: bench.Value("cpu"), How: bench.Alone, Guard: bench.OnCPU, Target: result.AtMost(0.1)},
			{Name: "bytes per update and node, of the incumbent's", Unit: "×", Of: bench.Value("bytes"), How: bench.Alone, Guard: bench.OnCPU, Target: result.AtMost(0.125)},
		},
	})
}

// atRest stores rows, and stops a node that has received them and starts it again.
func (r *race) atRest(ctx context.Context, b *bench.Bencher) error {
	if err := r.store(ctx, stored); err != nil {
		return err
	}
	last := r.nodes[len(r.nodes)-1]
	if err := r.f.Stop(ctx, last); err != nil {
		return err
	}
	info, err := os.Stat(r.f.DB(last))
	if err != nil {
		return fmt.Errorf("database of %v: %w", last, err)
	}
	b.Count("bytes on disk per row received, of the incumbent's", "×", float64(info.Size())/float64(r.rows)/rivalDisk, result.AtMost(0.25))
	begun := time.Now()
	if err := r.f.Start(ctx, last); err != nil {
		return err
	}
	// The federation's own wait looks too seldom for some milliseconds.
	if err := world.Await(ctx, "the node to be ready", func() error { return r.f.Ready(ctx, last) }); err != nil {
		return err
	}
	b.Count("from start until ready, of the incumbent's", "×", float64(time.Since(begun).Milliseconds())/rivalStart, result.AtMost(2))
	return nil
}
