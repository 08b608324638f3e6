package meshbench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/bench/row"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/load"
	"github.com/firebreak-dev/firebreak/internal/bench/machine"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/bench/stat"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

const (
	sustainedNodes = 8
	sustainedFrom  = 200                    // rows per second
	sustainedFor   = 3 * time.Second        // of every rate
	sustainedLag   = 250 * time.Millisecond // at p99 and beyond, a rate is not held
)

// sustained doubles the load until rows lag behind, and compares the highest
// rate that was held with what the nodes could apply if they did nothing else.
func sustained(ctx context.Context, b *bench.Bencher) (err error) {
	dir, err := b.MemoryDir(1 << 30)
	if err != nil {
		return err
	}
	r, err := newRegion(ctx, dir, sustainedNodes, b.Seed())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	ceiling, err := r.ceiling(ctx)
	if err != nil {
		return err
	}
	held, err := r.highest(ctx, b)
	if err != nil {
		return err
	}
	b.Note("%d nodes in one process, which share its CPUs: the ceiling is what as many stores apply on them, one row each time", sustainedNodes)
	b.Count("rows per second that hold", "/s", held, result.Target{})
	b.Count("rows per second that as many stores can apply", "/s", ceiling, result.Target{})
	b.Count("held of what can be applied", "×", held/ceiling, result.AtLeast(0.6))
	before := machine.Held()
	half := func(ctx context.Context, _ int) (bench.Values, error) {
		lag, err := r.lag(ctx, held/2)
		return bench.Values{"p99": 1000 * lag}, err
	}
	err = b.Compare(ctx, bench.Pair{Most: 1, Subject: bench.Side{Name: "half", Do: half}, Measures: []bench.Measure{
		{Name: "p99 lag at half of it", Unit: "ms", Of: bench.Value("p99"), How: bench.Alone, Target: result.AtMost(25)},
	}})
	if err != nil {
		return err
	}
	b.Count("heap more after that", "MB", (float64(machine.Held().Heap)-float64(before.Heap))/1e6, result.Target{})
	return nil
}

// highest is the last rate that was held, to an eighth of it.
func (r *region) highest(ctx context.Context, b *bench.Bencher) (float64, error) {
	held, step := 0.0, float64(sustainedFrom)
	doubling := true
	for rate := step; step >= max(held, sustainedFrom)/8; {
		lag, err := r.lag(ctx, rate)
		if err != nil {
			return 0, err
		}
		b.Say("%.0f rows/s: p99 lag %.1f ms", rate, 1000*lag)
		good := lag < sustainedLag.Seconds()
		if good {
			held = rate
		}
		if doubling = doubling && good; doubling {
			step = rate
		} else {
			step /= 2
		}
		rate = held + step
	}
	if held == 0 {
		return 0, fmt.Errorf("%d rows/s are not held", sustainedFrom)
	}
	return held, nil
}

// lag offers a rate and gives the p99 of the rows' ways, in seconds. Rows that
// do not begin in time have a long one: it counts from when they were due.
func (r *region) lag(ctx context.Context, rate float64) (float64, error) {
	n := len(r.nodes)
	report, err := load.Run(ctx, load.Config{Rate: rate, Duration: sustainedFor, Workers: 256}, func(ctx context.Context, i uint64, due time.Time) error {
		return r.write(ctx, int(i)%n, int(i)%5000, due)
	})
	if err == nil {
		err = report.First
	}
	if err != nil {
		return 0, err
	}
	landed, err := r.take(ctx)
	if err != nil {
		return 0, err
	}
	var took []float64
	for _, l := range landed {
		if !l.last {
			took = append(took, l.took.Seconds())
		}
	}
	if float64(report.Unsent) > 0.01*float64(report.Sent) { // it could not even be offered
		return sustainedFor.Seconds(), nil
	}
	return stat.Quantile(took, 0.99), nil
}

// ceilingRows are applied to find what a store can do.
const ceilingRows = 20_000

// ceiling measures the CPU of applying changesets of one row, as they come
// from peers, in a store of its own, and says how many rows per second the
// CPUs could so apply on every node.
func (r *region) ceiling(ctx context.Context) (float64, error) {
	dir, err := r.Dir("ceiling")
	if err != nil {
		return 0, err
	}
	db, err := sqlite.Open(ctx, sqlite.Config{
		Path: filepath.Join(dir, "node.db"), Fleet: "bench", Cluster: "region/bench", Node: "ceiling", Tables: []schema.Table{row.Table()}, Durability: sqlite.OS,
	})
	if err != nil {
		return 0, err
	}
	cpu, err := applied(ctx, db)
	if err = errors.Join(err, db.Close()); err != nil {
		return 0, err
	}
	return float64(runtime.GOMAXPROCS(0)) * ceilingRows / cpu.Seconds() / float64(len(r.nodes)), nil
}

// applied is the CPU that the rows took.
func applied(ctx context.Context, db *sqlite.DB) (time.Duration, error) {
	const writers, batch = 8, 64
	maker := row.NewMaker(1)
	var batches [][]record.Delivery
	for i := range ceilingRows {
		w := i % writers
		rec, err := row.Table().Record(maker.Row(row.Key{Worker: w, ID: i / writers % 5000}), "")
		if err != nil {
			return 0, err
		}
		if i%batch == 0 {
			batches = append(batches, nil)
		}
		last := len(batches) - 1
		batches[last] = append(batches[last], record.Pushed(record.Changeset{
			Writer:  record.Writer{Node: record.Node(row.Worker(w)), Boot: 5, Bits: 1},
			Version: record.Version(1 + i/writers), Wall: 1, Records: []record.Record{rec},
		}))
	}
	before, err := machine.Used()
	if err != nil {
		return 0, err
	}
	for _, list := range batches {
		out, err := db.Apply(ctx, list)
		if err != nil {
			return 0, err
		}
		for _, o := range out {
			if o.Status != store.Applied || o.Withheld > 0 {
				return 0, fmt.Errorf("outcome %v: %w", o.Status, o.Err)
			}
		}
	}
	after, err := machine.Used()
	return after.CPU - before.CPU, err
}
