package storebench

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/bench/row"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/machine"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/plain"
)

// cellRows is what the node of a full cell has.
const cellRows = 250_000

// restart measures the opening of a store that has rows.
func restart(ctx context.Context, b *bench.Bencher) error {
	rows := cellRows
	if !b.Full() {
		rows = cellRows / 5
		b.Note("%d rows; %d in a full run", rows, cellRows)
	}
	b.Note("the store alone, from opening to the first read; the file is in memory")
	dir, err := b.MemoryDir(uint64(rows) * 2 * bytesOfRow)
	if err != nil {
		return err
	}
	o, err := openOurs(ctx, dir, b.Seed(), sqlite.OS, nil)
	if err != nil {
		return err
	}
	if err := errors.Join(o.fill(ctx, rows), o.db.Close()); err != nil {
		return err
	}
	open := func(ctx context.Context, _ int) (bench.Values, error) {
		begun := time.Now()
		o, err := openOurs(ctx, dir, b.Seed(), sqlite.OS, nil)
		if err != nil {
			return nil, err
		}
		snap, err := o.db.Snapshot(ctx)
		took := time.Since(begun)
		if err == nil {
			err = snap.Close()
		}
		return bench.Values{"ms": 1000 * took.Seconds()}, errors.Join(err, o.db.Close())
	}
	return b.Compare(ctx, bench.Pair{Most: 1, Subject: bench.Side{Name: "open", Do: open}, Measures: []bench.Measure{
		{Name: "from opening to the first read", Unit: "ms", Of: bench.Value("ms"), How: bench.Alone, Target: result.AtMost(500)},
	}})
}

// storage counts the bytes of pages in use: rows, rows that were rewritten,
// and what is left of deleted ones.
func storage(ctx context.Context, b *bench.Bencher) error {
	rows, rewrites := cellRows, 10
	if !b.Full() {
		rows, rewrites = 20_000, 3
	}
	b.Note("%d rows, rewritten %d times, then all deleted; without the feed, which keeps so many of the last entries and not so much per row", rows, rewrites)
	dir, err := b.MemoryDir(uint64(rows) * 4 * bytesOfRow)
	if err != nil {
		return err
	}
	flat, err := plainBytes(dir, b.Seed(), rows)
	if err != nil {
		return err
	}
	b.Count("plain SQLite: bytes per row", "B", flat/float64(rows), result.Target{})
	o := &ours{make: row.NewMaker(b.Seed())}
	stored := func(do func(*ours) error) (float64, error) {
		next, err := openOurs(ctx, dir, b.Seed(), sqlite.OS, nil)
		if err != nil {
			return 0, err
		}
		if o.versions != nil {
			next.versions, next.make = o.versions, o.make
		}
		o = next
		if err := errors.Join(do(o), o.db.Close()); err != nil {
			return 0, err
		}
		return usedBytes(filepath.Join(dir, "ours.db"))
	}
	full, err := stored(func(o *ours) error { return o.fill(ctx, rows) })
	if err != nil {
		return err
	}
	b.Count("bytes per row", "B", full/float64(rows), result.AtMost(290))
	again, err := stored(func(o *ours) error {
		for range rewrites {
			if err := o.fill(ctx, rows); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.Count(fmt.Sprintf("growth after %d rewrites", rewrites), "%", 100*(again/full-1), result.AtMost(5))
	gone, err := stored(func(o *ours) error { return o.drop(ctx, rows) })
	if err != nil {
		return err
	}
	key := len(row.Worker(1)) + len("m0000001")
	b.Count("bytes per tombstone beyond its key", "B", gone/float64(rows)-float64(key), result.AtMost(60))
	return nil
}

// drop deletes all that fill has put.
func (o *ours) drop(ctx context.Context, rows int) error {
	for w := 1; w <= rows/rowsEach; w++ {
		if err := o.batch(ctx, w, span(0, rowsEach), true); err != nil {
			return fmt.Errorf("drop: %w", err)
		}
	}
	return nil
}

func plainBytes(dir string, seed uint64, rows int) (float64, error) {
	p, err := openBaseline(dir, seed, plain.Config{})
	if err != nil {
		return 0, err
	}
	if err := errors.Join(p.fill(rows), p.db.Close()); err != nil {
		return 0, err
	}
	return usedBytes(filepath.Join(dir, "plain.db"))
}

// usedBytes is the pages of a closed database that hold something.
func usedBytes(path string) (float64, error) {
	db, err := plain.Open(path, plain.Config{})
	if err != nil {
		return 0, err
	}
	var used float64
	var failed error
	err = db.Transaction(func() error {
		used, failed = usedWithoutFeed(db)
		return errUndo
	})
	if errors.Is(err, errUndo) {
		err = nil
	}
	return used, errors.Join(failed, err, db.Close())
}

// errUndo has a transaction undone that was only to look.
var errUndo = errors.New("undo")

// usedWithoutFeed is what would be used if there were no feed.
func usedWithoutFeed(db *plain.DB) (_ float64, err error) {
	feed := 0
	const find = "SELECT 1 FROM sqlite_schema WHERE name = '_fb_local_feed'"
	if err := db.Rows(find, nil, func([]driver.Value) error { feed++; return nil }); err != nil {
		return 0, err
	}
	if feed > 0 {
		if _, err := db.Exec("DELETE FROM _fb_local_feed"); err != nil {
			return 0, err
		}
	}
	value := func(name string) (out int64) {
		err = errors.Join(err, db.Rows("PRAGMA "+name, nil, func(r []driver.Value) error {
			v, ok := r[0].(int64)
			if !ok {
				return fmt.Errorf("PRAGMA %s is a %T", name, r[0])
			}
			out = v
			return nil
		}))
		return out
	}
	used := (value("page_count") - value("freelist_count")) * value("page_size")
	return float64(used), err
}

// NodeMemory counts the memory of a store with the rows and writers of a full
// cell: the part of B23 that is a node's.
func NodeMemory(ctx context.Context, b *bench.Bencher) (err error) {
	const writers = 1000
	rows := cellRows
	if !b.Full() {
		rows = 50_000
	}
	b.Note("a node's store with %d rows of %d writers, opened anew and read once; all in the process of the bench", rows, writers)
	dir, err := b.MemoryDir(uint64(rows) * 2 * bytesOfRow)
	if err != nil {
		return err
	}
	o, err := openOurs(ctx, dir, b.Seed(), sqlite.OS, nil)
	if err != nil {
		return err
	}
	for w := 1; w <= writers && err == nil; w++ {
		err = o.batch(ctx, w, span(0, rows/writers), false)
	}
	if err = errors.Join(err, o.db.Close()); err != nil {
		return err
	}
	before := machine.Held()
	if o, err = openOurs(ctx, dir, b.Seed(), sqlite.OS, nil); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.db.Close()) }()
	snap, err := o.db.Snapshot(ctx)
	if err != nil {
		return err
	}
	after := machine.Held()
	if err := snap.Close(); err != nil {
		return err
	}
	b.Count("node: heap", "MB", mega(after.Heap)-mega(before.Heap), result.AtMost(100))
	b.Count("node: resident memory of the process", "MB", mega(after.Resident), result.AtMost(300))
	return nil
}

func mega(bytes uint64) float64 { return float64(bytes) / 1e6 }
