// Package storebench measures the store: what it costs to apply what peers
// sent (B04) and to commit locally (B05), against the same rows in plain
// SQLite, and the designs that it is instead of.
package storebench

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/bench/row"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	rowsEach   = 1000    // rows of each worker
	quickRows  = 100_000 // in the table of a quick run
	fullRows   = 1_000_000
	bytesOfRow = 1200 // of space per row, with its log and everything beside
	appender   = 9999 // the worker whose rows come last in key order
)

// Benches returns the package's.
func Benches() []bench.Bench {
	return []bench.Bench{
		{Name: "B04", Title: "apply", Set: bench.Quick, Quick: 36 * time.Second, Long: 180 * time.Second, Run: apply,
			About: "What peers sent into a table of 1,000 workers, against plain SQLite: at most 1.3 × its CPU per row for updates and deletes at random keys, 2 × for new rows in key order."},
		{Name: "B05", Title: "local-commit", Set: bench.Quick, Quick: 36 * time.Second, Long: 80 * time.Second, Run: commit,
			About: "Publishes of one row by 1, 16 and 128 publishers, against plain SQLite: at most 1.5 × its CPU, and with 128 at least 10 rows per fsync."},
		{Name: "B08", Title: "warm-restart", Set: bench.Full, Run: restart,
			About: "A store with 250,000 rows on disk is opened and read: at most 0.5 s."},
		{Name: "B13", Title: "storage", Set: bench.Full, Long: 40 * time.Second, Run: storage,
			About: "Bytes on disk: at most 290 per row of 190, 60 per tombstone beyond its key, 5 % growth through ten full rewrites."},
		{Name: "B14", Title: "schema", Set: bench.Full, Quick: 80 * time.Second, Long: 90 * time.Second, Run: changeSchema,
			About: "A table of 1,000,000 rows under 500 updates a second: adding a column pauses for at most 5 ms, dropping it and an index as long as previewed, within a half; no record is replicated, and other commits' p99 at most doubles."},
		{Name: "plain-sqlite", Title: "floor: plain SQLite", Set: bench.Full, Long: 45 * time.Second, Run: floor,
			About: "The same rows in plain SQLite: one-row transactions, updates at random keys, new rows in key order."},
		{Name: "cell-clocks", Title: "rival: a clock per cell, in SQL", Set: bench.Full, Long: 45 * time.Second, Run: cellClocks,
			About: "Whole-row updates where every cell has a clock beside it, as plain SQL, against plain SQLite."},
		{Name: "cr-sqlite", Title: "rival: cr-sqlite", Set: bench.Full, Run: crSQLite,
			About: "Remote updates merged by the extension at CRSQLITE_SO, against ours: ours is at least 5 × cheaper."},
	}
}

// ours is the store under test and the state of the peers that it hears from.
type ours struct {
	db       *sqlite.DB
	make     *row.Maker
	versions map[int]record.Version // by worker
	next     int                    // id of the next new row
	batches  [][]record.Delivery    // prepared
}

func openOurs(ctx context.Context, dir string, seed uint64, d sqlite.Durability, reg prometheus.Registerer) (*ours, error) {
	return openWith(ctx, dir, seed, sqlite.Config{Durability: d, Metrics: reg})
}

// openWith opens the store with what cfg says of durability, metrics and trips.
func openWith(ctx context.Context, dir string, seed uint64, cfg sqlite.Config) (*ours, error) {
	cfg.Path, cfg.Fleet, cfg.Cluster = filepath.Join(dir, "ours.db"), "bench", "region/bench"
	cfg.Node, cfg.Tables = record.Node(row.Worker(0)), tables
	db, err := sqlite.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &ours{db: db, make: row.NewMaker(seed), versions: map[int]record.Version{}}, nil
}

// peer is the writer of a worker's node. Worker 0 is this node itself.
func peer(worker int) record.Writer {
	return record.Writer{Node: record.Node(row.Worker(worker)), Boot: 5, Bits: 1}
}

// delivery is a changeset of a worker: its rows, or their tombstones.
func (o *ours) delivery(worker int, ids []int, deleted bool) (record.Delivery, error) {
	o.versions[worker]++
	c := record.Changeset{Writer: peer(worker), Version: o.versions[worker], Wall: 1}
	for _, id := range ids {
		r, err := theTable.Record(o.make.Row(row.Key{Worker: worker, ID: id}), "")
		if err != nil {
			return record.Delivery{}, err
		}
		if deleted {
			r.Deleted, r.Cells = true, nil
		}
		c.Records = append(c.Records, r)
	}
	return record.Pushed(c), nil
}

// send applies batches, all of which must be news.
func (o *ours) send(ctx context.Context, batches [][]record.Delivery) error {
	for _, b := range batches {
		out, err := o.db.Apply(ctx, b)
		if err != nil {
			return err
		}
		for _, x := range out {
			if x.Status != store.Applied || x.Withheld > 0 {
				return fmt.Errorf("outcome %v, %d withheld: %v", x.Status, x.Withheld, x.Err)
			}
		}
	}
	return nil
}

// batch applies one changeset of a worker.
func (o *ours) batch(ctx context.Context, worker int, ids []int, deleted bool) error {
	d, err := o.delivery(worker, ids, deleted)
	if err != nil {
		return err
	}
	return o.send(ctx, [][]record.Delivery{{d}})
}

// fill puts rows of each worker but this node's own.
func (o *ours) fill(ctx context.Context, rows int) error {
	for w := 1; w <= rows/rowsEach; w++ {
		if err := o.batch(ctx, w, span(0, rowsEach), false); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	return nil
}

func span(from, to int) []int {
	out := make([]int, 0, to-from)
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}
