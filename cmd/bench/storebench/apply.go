package storebench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/bench/row"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/plain"
)

// shape is one case of B04.
type shape struct {
	kind    string // update, delete, new
	batch   int    // rows of a transaction
	writers int    // that share it, a changeset each
	limit   float64
}

// shapes of a run. A full one has the whole square.
func shapes(full bool) []shape {
	if !full {
		return []shape{{"update", 100, 10, 1.3}, {"delete", 100, 10, 1.3}, {"new", 1000, 1, 2}}
	}
	var out []shape
	for _, batch := range []int{10, 100, 1000} {
		for _, writers := range []int{1, 10, 100, 1000} {
			if writers <= batch {
				out = append(out, shape{"update", batch, writers, 1.3})
			}
		}
		out = append(out, shape{"delete", batch, min(batch, 10), 1.3}, shape{"new", batch, 1, 2})
	}
	return out
}

// tableRows is how many rows the tables of a run have.
func tableRows(b *bench.Bencher) int {
	if b.Full() {
		return fullRows
	}
	b.Note("%d rows; 1,000,000 in a full run", quickRows)
	return quickRows
}

// mostRows is how many rows a block has at most.
const mostRows = 40_000

func apply(ctx context.Context, b *bench.Bencher) error {
	return applyTo(ctx, b, tableRows(b), shapes(b.Full()), mostRows)
}

// applyTo compares shapes on tables of so many rows.
func applyTo(ctx context.Context, b *bench.Bencher, rows int, shapes []shape, most int) (err error) {
	dir, err := b.MemoryDir(uint64(rows) * 2 * bytesOfRow)
	if err != nil {
		return err
	}
	o, err := openWith(ctx, dir, b.Seed(), sqlite.Config{Durability: sqlite.OS, Trip: planted(b.Plant())})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.db.Close()) }()
	p, err := openBaseline(dir, b.Seed(), plain.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.db.Close()) }()
	b.Say("filling two tables with %d rows", rows)
	if err := errors.Join(o.fill(ctx, rows), p.fill(rows)); err != nil {
		return err
	}
	b.Pairs(len(shapes))
	for _, s := range shapes {
		pair := s.pair(o, p, rows/rowsEach)
		pair.Most = most
		if s.kind == "new" { // they are cheap, and the log is moved into the file once in many
			pair.Most = 2 * most
		}
		if err := b.Compare(ctx, pair); err != nil {
			return err
		}
	}
	return nil
}

// planted is a busy loop in the merge of every row that is shown, where the
// store lets tests break in; nil for none.
func planted(d time.Duration) func(string, store.Row) {
	if d == 0 {
		return nil
	}
	return func(string, store.Row) {
		for start := time.Now(); time.Since(start) < d; {
		}
	}
}

// pair compares one shape on two tables with the rows of some workers.
func (s shape) pair(o *ours, p *baseline, workers int) bench.Pair {
	var goneO, goneP []row.Key // deleted by the last block
	return bench.Pair{
		Name: fmt.Sprintf("%s, %d rows of %d writers", s.kind, s.batch, s.writers), Multiple: s.batch,
		Subject: bench.Side{
			Name: "apply",
			Prepare: func(ops int) (err error) {
				goneO, err = o.prepare(s, ops, workers, goneO)
				return err
			},
			Do: func(ctx context.Context, _ int) (bench.Values, error) { return nil, o.send(ctx, o.batches) },
		},
		Baseline: bench.Side{
			Name: "plain SQLite",
			Prepare: func(ops int) (err error) {
				goneP, err = p.prepare(s, ops, workers, goneP)
				return err
			},
			Do: func(context.Context, int) (bench.Values, error) { return nil, p.send(p.batches) },
		},
		Measures: []bench.Measure{
			{Name: "CPU per row", Unit: "µs", Of: bench.CPU, How: bench.Ratio, Guard: bench.OnCPU, Target: result.AtMost(s.limit)},
			{Name: "bytes written per row", Unit: "B", Of: bench.Written, How: bench.Ratio, Guard: bench.OnCPU},
			{Name: "allocations per row", Unit: "", Of: bench.Mallocs, How: bench.Alone, Guard: bench.OnCPU},
		},
	}
}

// keys chooses the rows of one batch, by worker: equal makers choose equally.
func (s shape) keys(m *row.Maker, workers int, next *int, taken map[row.Key]bool) map[int][]int {
	out := map[int][]int{}
	if s.kind == "new" {
		out[appender] = span(*next, *next+s.batch)
		*next += s.batch
		return out
	}
	share := s.batch / s.writers
	for _, w := range m.Some(s.writers, workers) {
		w++ // from 1: worker 0 is this node itself
		for _, id := range m.Some(share, rowsEach) {
			if k := (row.Key{Worker: w, ID: id}); !taken[k] {
				taken[k] = s.kind == "delete"
				out[w] = append(out[w], id)
			}
		}
	}
	return out
}

// prepare makes the batches of a block. Rows that the last block deleted come
// back first, so that the table stays as large as it is.
func (o *ours) prepare(s shape, ops, workers int, gone []row.Key) ([]row.Key, error) {
	back := map[int][]int{}
	for _, k := range gone {
		back[k.Worker] = append(back[k.Worker], k.ID)
	}
	for _, w := range ordered(back) {
		d, err := o.delivery(w, back[w], false)
		if err == nil {
			err = o.send(context.Background(), [][]record.Delivery{{d}})
		}
		if err != nil {
			return nil, err
		}
	}
	o.batches = o.batches[:0]
	taken := map[row.Key]bool{}
	for range ops / s.batch {
		keys := s.keys(o.make, workers, &o.next, taken)
		var batch []record.Delivery
		for _, w := range ordered(keys) {
			d, err := o.delivery(w, keys[w], s.kind == "delete")
			if err != nil {
				return nil, err
			}
			batch = append(batch, d)
		}
		o.batches = append(o.batches, batch)
	}
	return deleted(taken), nil
}

func (b *baseline) prepare(s shape, ops, workers int, gone []row.Key) ([]row.Key, error) {
	var back []operation
	for _, k := range gone {
		back = append(back, b.insert(k))
	}
	if err := b.send([][]operation{back}); err != nil {
		return nil, err
	}
	b.batches = b.batches[:0]
	taken := map[row.Key]bool{}
	make := map[string]func(row.Key) operation{"new": b.insert, "update": b.update, "delete": b.remove}[s.kind]
	for range ops / s.batch {
		keys := s.keys(b.make, workers, &b.next, taken)
		var batch []operation
		for _, w := range ordered(keys) {
			for _, id := range keys[w] {
				batch = append(batch, make(row.Key{Worker: w, ID: id}))
			}
		}
		b.batches = append(b.batches, batch)
	}
	return deleted(taken), nil
}

// ordered lists workers by number: the order of a map is not the same twice.
func ordered(keys map[int][]int) []int { return slices.Sorted(maps.Keys(keys)) }

// deleted lists the keys that are gone, in order.
func deleted(taken map[row.Key]bool) []row.Key {
	out := slices.Collect(maps.Keys(taken))
	out = slices.DeleteFunc(out, func(k row.Key) bool { return !taken[k] })
	slices.SortFunc(out, func(a, b row.Key) int { return cmp.Or(cmp.Compare(a.Worker, b.Worker), cmp.Compare(a.ID, b.ID)) })
	return out
}
