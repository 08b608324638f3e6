package meshbench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-dev/firebreak/cmd/bench/row"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/load"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/bench/stat"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

const (
	joinRows   = 250_000 // of a full cell
	joinEach   = 1000    // rows of each worker
	joinWrites = 100     // commits per second of the donor, before and meanwhile
	joinBefore = 2 * time.Second
	joinFor    = 2 * time.Minute // that a join may take
	joinFirst  = 1000            // number of the first that joins: no worker has it
)

// coldJoin starts nodes on empty disks beside one that has the rows of a cell.
func coldJoin(ctx context.Context, b *bench.Bencher) (err error) {
	rows := joinRows
	if !b.Full() {
		rows = joinRows / 10
		b.Note("%d rows; %d in a full run", rows, joinRows)
	}
	b.Note("one donor and one that joins, in one process; every row is a changeset of its own; bytes are of frames, before QUIC; ready is when it has all that the donor had at its start")
	dir, err := b.MemoryDir(uint64(rows) * 3000)
	if err != nil {
		return err
	}
	r, err := newRegion(ctx, dir, 1, b.Seed())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := r.fill(ctx, rows); err != nil {
		return err
	}
	next := joinFirst
	return b.Compare(ctx, bench.Pair{
		Most: 1,
		Subject: bench.Side{Name: "join", Do: func(ctx context.Context, _ int) (bench.Values, error) {
			next++
			return r.joined(ctx, next, rows, b.Seed())
		}},
		Measures: []bench.Measure{
			{Name: "from an empty disk until ready", Unit: "s", Of: bench.Value("ready"), How: bench.Alone, Target: result.AtMost(2)},
			{Name: "bytes received per row", Unit: "B", Of: bench.Value("bytes"), How: bench.Alone, Guard: bench.OnCPU, Target: result.AtMost(45)},
			{Name: "the donor's p99 of commits beside that before", Unit: "×", Of: bench.Value("donor"), How: bench.Alone, Target: result.AtMost(2)},
			{Name: "CPU of both per row", Unit: "µs", Of: func(x bench.Block) float64 { return bench.CPU(x) / float64(rows) }, How: bench.Alone, Guard: bench.OnCPU},
		},
	})
}

// fill gives the first node rows of as many workers as it takes, a changeset each.
func (r *region) fill(ctx context.Context, rows int) error {
	x := r.nodes[0]
	for w := 1; w <= rows/joinEach; w++ {
		writer := record.Writer{Node: record.Node(row.Worker(w)), Boot: 5, Bits: 1}
		var batch []record.Delivery
		for id := range joinEach {
			rec, err := row.Table().Record(x.make.Row(row.Key{Worker: w, ID: id}), "")
			if err != nil {
				return err
			}
			batch = append(batch, record.Pushed(record.Changeset{Writer: writer, Version: record.Version(id + 1), Wall: 1, Records: []record.Record{rec}}))
		}
		out, err := x.db.Apply(ctx, batch)
		if err != nil {
			return fmt.Errorf("fill: %w", err)
		}
		for _, o := range out {
			if o.Status != store.Applied || o.Withheld > 0 {
				return fmt.Errorf("fill: outcome %v: %w", o.Status, o.Err)
			}
		}
	}
	return nil
}

// joined starts node i on an empty disk, waits until it is ready, and stops it.
func (r *region) joined(ctx context.Context, i, rows int, seed uint64) (v bench.Values, err error) {
	before, err := r.commits(ctx, joinBefore)
	if err != nil {
		return nil, err
	}
	meanwhile, stop := context.WithCancel(ctx)
	type commits struct {
		p99 float64
		err error
	}
	ended := make(chan commits, 1)
	go func() {
		p99, err := r.commits(meanwhile, joinFor)
		ended <- commits{p99, err}
	}()
	sets := r.nodes[0].runner.Received()
	begun := time.Now()
	x, err := r.start(ctx, i, seed)
	if err == nil {
		bound, cancel := context.WithTimeout(ctx, joinFor)
		err = x.runner.WaitSets(bound, sets)
		cancel()
	}
	took := time.Since(begun)
	stop()
	beside := <-ended
	if err = errors.Join(err, beside.err); err != nil || x == nil {
		return nil, err
	}
	bytes, err := received(x.metrics)
	if err = errors.Join(err, x.stop()); err != nil {
		return nil, err
	}
	r.mu.Lock()
	clear(r.early) // nobody waits for these rows
	r.mu.Unlock()
	return bench.Values{"ready": took.Seconds(), "bytes": bytes / float64(rows), "donor": beside.p99 / before}, nil
}

// commits has the first node write for some time, or until ctx ends, and gives
// the p99 of its commits in microseconds.
func (r *region) commits(ctx context.Context, d time.Duration) (float64, error) {
	x, n := r.nodes[0], 0
	var took []float64
	report, err := load.Run(ctx, load.Config{
		Rate: joinWrites, Duration: d, Workers: 1,
		Each: func(latency time.Duration, _ error) { took = append(took, float64(latency.Microseconds())) },
	}, func(_ context.Context, _ uint64, _ time.Time) error {
		n++
		values := store.Row(x.make.Row(row.Key{ID: n % joinEach}))
		// What has begun ends, whatever ends the load.
		_, err := x.db.Update(context.WithoutCancel(ctx), func(tx store.Tx) error { return tx.Put(row.Table().Name, values) })
		return err
	})
	if err == nil {
		err = report.First
	}
	return stat.Quantile(took, 0.99), err
}

// received is the bytes of the frames that a node has received.
func received(g prometheus.Gatherer) (bytes float64, err error) {
	families, err := g.Gather()
	if err != nil {
		return 0, fmt.Errorf("gather: %w", err)
	}
	for _, f := range families {
		if f.GetName() == "firebreak_mesh_bytes_received_total" {
			for _, m := range f.GetMetric() {
				bytes += m.GetCounter().GetValue()
			}
		}
	}
	if bytes == 0 {
		return 0, errors.New("the mesh counts no bytes")
	}
	return bytes, nil
}
