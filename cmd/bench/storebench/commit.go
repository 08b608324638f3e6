package storebench

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/cmd/bench/row"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/plain"
)

// ownRows are the machines of this node that are published again and again.
const ownRows = 1000

func commit(ctx context.Context, b *bench.Bencher) error {
	b.Pairs(2 * len(publishers(b.Full())))
	for _, d := range []struct {
		name string
		mode sqlite.Durability
		dir  func(uint64) (string, error)
	}{{"os", sqlite.OS, b.MemoryDir}, {"fsync", sqlite.Fsync, b.DiskDir}} {
		dir, err := d.dir(256 << 20)
		if err == nil {
			err = commitIn(ctx, b, d.name, d.mode, dir)
		}
		if err != nil {
			return fmt.Errorf("durability %s: %w", d.name, err)
		}
	}
	return nil
}

// commitIn measures one durability.
func commitIn(ctx context.Context, b *bench.Bencher, name string, mode sqlite.Durability, dir string) (err error) {
	reg := prometheus.NewRegistry()
	o, err := openOurs(ctx, dir, b.Seed(), mode, reg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.db.Close()) }()
	p, err := openBaseline(dir, b.Seed(), plain.Config{Fsync: mode == sqlite.Fsync})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.db.Close()) }()
	if err := fillOwn(ctx, o, p); err != nil {
		return err
	}
	for _, n := range publishers(b.Full()) {
		if err := b.Compare(ctx, publishing(o, p, reg, name, mode, n)); err != nil {
			return err
		}
	}
	return nil
}

// publishers are how many there are at once, case by case.
func publishers(full bool) []int {
	if full {
		return []int{1, 16, 128}
	}
	return []int{1, 128}
}

func fillOwn(ctx context.Context, o *ours, p *baseline) error {
	_, err := o.db.Update(ctx, func(tx store.Tx) error {
		for id := range ownRows {
			if err := tx.Put(theTable.Name, o.make.Row(row.Key{ID: id})); err != nil {
				return err
			}
		}
		return nil
	})
	var ops []operation
	for id := range ownRows {
		ops = append(ops, p.insert(row.Key{ID: id}))
	}
	return errors.Join(err, p.send([][]operation{ops}))
}

// publishing compares publishers that each publish one row at a time with as
// many plain transactions.
func publishing(o *ours, p *baseline, reg prometheus.Gatherer, name string, mode sqlite.Durability, publishers int) bench.Pair {
	var rows []store.Row
	measures := []bench.Measure{
		{Name: "CPU per row", Unit: "µs", Of: bench.CPU, How: bench.Ratio, Guard: bench.OnCPU, Target: result.AtMost(1.5)},
		{Name: "time per row", Unit: "µs", Of: bench.Wall, How: bench.Ratio},
	}
	if mode == sqlite.Fsync {
		m := bench.Measure{Name: "rows per fsync", Of: bench.Value("rows per fsync"), How: bench.Alone, Guard: bench.OnCPU}
		if publishers == 128 {
			m.Target = result.AtLeast(10)
		}
		measures = append(measures, m)
	}
	return bench.Pair{
		Name: fmt.Sprintf("%s, %d publishers", name, publishers), Multiple: publishers, Most: 20_000, Measures: measures,
		Subject: bench.Side{
			Name: "publish",
			Prepare: func(ops int) error {
				rows = rows[:0]
				for range ops {
					rows = append(rows, o.make.Row(row.Key{ID: o.make.Pick(ownRows)}))
				}
				return nil
			},
			Do: func(ctx context.Context, ops int) (bench.Values, error) {
				before, err := groups(reg)
				if err == nil {
					err = publish(ctx, o, rows, publishers)
				}
				if err != nil {
					return nil, err
				}
				after, err := groups(reg)
				return bench.Values{"rows per fsync": float64(ops) / float64(after-before)}, err
			},
		},
		Baseline: bench.Side{
			Name: "plain SQLite",
			Prepare: func(ops int) error {
				p.batches = p.batches[:0]
				for range ops {
					p.batches = append(p.batches, []operation{p.update(row.Key{ID: p.make.Pick(ownRows)})})
				}
				return nil
			},
			Do: func(context.Context, int) (bench.Values, error) { return nil, p.send(p.batches) },
		},
	}
}

// publish has each publisher write its share, a row per transaction.
func publish(ctx context.Context, o *ours, rows []store.Row, publishers int) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range publishers {
		g.Go(func() error {
			for j := i; j < len(rows); j += publishers {
				c, err := o.db.Update(ctx, func(tx store.Tx) error { return tx.Put(theTable.Name, rows[j]) })
				if err != nil {
					return err
				}
				if c.Records != 1 {
					return fmt.Errorf("%d records of a row that changed", c.Records)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// groups is how many groups of local writes were committed so far: each waits
// for the disk once.
func groups(reg prometheus.Gatherer) (uint64, error) {
	families, err := reg.Gather()
	if err != nil {
		return 0, fmt.Errorf("gather: %w", err)
	}
	for _, f := range families {
		if f.GetName() == "firebreak_store_local_commit_seconds" {
			return f.GetMetric()[0].GetHistogram().GetSampleCount(), nil
		}
	}
	return 0, errors.New("the store counts no commits")
}
