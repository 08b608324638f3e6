package storebench

import (
	"context"
	"errors"

	"github.com/firebreak-dev/firebreak/cmd/bench/row"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/plain"
)

// floor measures plain SQLite alone, in each of the ways of B04 and B05.
func floor(ctx context.Context, b *bench.Bencher) (err error) {
	rows := tableRows(b)
	dir, err := b.MemoryDir(uint64(rows) * bytesOfRow)
	if err != nil {
		return err
	}
	p, err := openBaseline(dir, b.Seed(), plain.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.db.Close()) }()
	if err := p.fill(rows); err != nil {
		return err
	}
	b.Pairs(3)
	for _, c := range []struct {
		name string
		s    shape
	}{
		{"transaction of one row", shape{kind: "update", batch: 1, writers: 1}},
		{"update at random keys, 100 a transaction", shape{kind: "update", batch: 100, writers: 100}},
		{"new rows in key order, 1,000 a transaction", shape{kind: "new", batch: 1000, writers: 1}},
	} {
		side := bench.Side{
			Name: "plain SQLite",
			Prepare: func(ops int) error {
				_, err := p.prepare(c.s, ops, rows/rowsEach, nil)
				return err
			},
			Do: func(context.Context, int) (bench.Values, error) { return nil, p.send(p.batches) },
		}
		err := b.Compare(ctx, bench.Pair{Name: c.name, Multiple: c.s.batch, Most: 200_000, Subject: side, Measures: []bench.Measure{
			{Name: "CPU per row", Unit: "µs", Of: bench.CPU, How: bench.Alone, Guard: bench.OnCPU},
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// cells is a table whose every cell has a clock beside it: a version and who
// wrote it. A remote row wins cell by cell.
type cells struct{ *baseline }

const (
	cellTable = `CREATE TABLE clocks (worker TEXT NOT NULL, id TEXT NOT NULL, col INTEGER NOT NULL, version INTEGER NOT NULL, site INTEGER NOT NULL,
		PRIMARY KEY (worker, id, col)) WITHOUT ROWID`
	cellPut = `INSERT INTO clocks (worker, id, col, version, site) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (worker, id, col) DO UPDATE SET version = excluded.version, site = excluded.site
		WHERE excluded.version > version OR excluded.version = version AND excluded.site > site`
)

// clocked gives an operation the statements that keep its cells' clocks.
func clocked(o operation, version int64) []operation {
	n := len(theTable.Columns)
	out := []operation{o}
	for col := range n {
		out = append(out, operation{cellPut, append(o.args[n:n+2:n+2], int64(col), version, int64(1))})
	}
	return out
}

func (c cells) prepare(s shape, ops, workers int, version *int64) error {
	if _, err := c.baseline.prepare(s, ops, workers, nil); err != nil {
		return err
	}
	for i, batch := range c.batches {
		var out []operation
		for _, o := range batch {
			*version++
			out = append(out, clocked(o, *version)...)
		}
		c.batches[i] = out
	}
	return nil
}

// cellClocks compares whole-row updates with a clock per cell with the same
// updates alone.
func cellClocks(ctx context.Context, b *bench.Bencher) (err error) {
	s, rows := shape{kind: "update", batch: 100, writers: 10}, tableRows(b)
	dirs := [2]string{}
	for i := range dirs {
		if dirs[i], err = b.MemoryDir(uint64(rows) * 2 * bytesOfRow); err != nil {
			return err
		}
	}
	p, err := openBaseline(dirs[0], b.Seed(), plain.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.db.Close()) }()
	q, err := openBaseline(dirs[1], b.Seed(), plain.Config{})
	if err != nil {
		return err
	}
	c := cells{q}
	defer func() { err = errors.Join(err, q.db.Close()) }()
	if err := errors.Join(p.fill(rows), q.fill(rows), q.db.Script(cellTable), c.fillClocks(rows)); err != nil {
		return err
	}
	version := int64(1)
	return b.Compare(ctx, bench.Pair{
		Name: "update, 100 rows of 10 writers", Multiple: s.batch, Most: 40_000,
		Subject: bench.Side{
			Name:    "clock per cell",
			Prepare: func(ops int) error { return c.prepare(s, ops, rows/rowsEach, &version) },
			Do:      func(context.Context, int) (bench.Values, error) { return nil, c.send(c.batches) },
		},
		Baseline: bench.Side{
			Name: "plain SQLite",
			Prepare: func(ops int) error {
				_, err := p.prepare(s, ops, rows/rowsEach, nil)
				return err
			},
			Do: func(context.Context, int) (bench.Values, error) { return nil, p.send(p.batches) },
		},
		Measures: []bench.Measure{{Name: "CPU per row", Unit: "µs", Of: bench.CPU, How: bench.Ratio, Guard: bench.OnCPU}},
	})
}

// fillClocks gives every cell of the filled table its first clock.
func (c cells) fillClocks(rows int) error {
	for w := 1; w <= rows/rowsEach; w++ {
		var ops []operation
		for id := range rowsEach {
			key := row.Driver(c.make.Row(row.Key{Worker: w, ID: id}))[:2]
			for col := range len(theTable.Columns) {
				ops = append(ops, operation{cellPut, append(key[:2:2], int64(col), int64(0), int64(1))})
			}
		}
		if err := c.send([][]operation{ops}); err != nil {
			return err
		}
	}
	return nil
}
