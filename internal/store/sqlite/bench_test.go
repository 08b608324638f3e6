package sqlite_test

import (
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/plain"
)

// benchSchema is like the table of machines: 13 columns, about 200 bytes.
const benchSchema = `
-- firebreak: owned by worker
CREATE TABLE machines (
	worker TEXT NOT NULL, id TEXT NOT NULL, app TEXT NOT NULL DEFAULT '', state TEXT NOT NULL DEFAULT 'started', why TEXT NOT NULL DEFAULT '',
	services TEXT NOT NULL DEFAULT '[]', addresses TEXT NOT NULL DEFAULT '[]', image TEXT NOT NULL DEFAULT '',
	resources TEXT NOT NULL DEFAULT '', metadata TEXT NOT NULL DEFAULT '', epoch INTEGER NOT NULL DEFAULT 0,
	of_grant INTEGER NOT NULL DEFAULT 0, moved_to TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (worker, id)
);
`

const (
	benchWorkers = 100
	benchRows    = 1000 // of each worker
)

// side is one of the two that the benchmarks compare, on the same rows in the
// same order: the store, or the table alone by the same driver.
type side struct {
	table    schema.Table
	ours     *sqlite.DB
	plain    *plain.DB
	sql      [3]string // insert, update, delete
	rand     *rand.Rand
	n        int64
	next     int // id of the next new row
	versions map[int]record.Version
	cpu      time.Duration
}

func sides(b *testing.B, dir string, d sqlite.Durability) [2]*side {
	b.Helper()
	tables, err := sqlite.ParseSQL(benchSchema)
	if err != nil {
		b.Fatal(err)
	}
	p, err := plain.Open(filepath.Join(dir, "plain.db"), plain.Config{Fsync: d == sqlite.Fsync})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = p.Close() })
	if err := p.Script(tables[0].SQL()); err != nil {
		b.Fatal(err)
	}
	db := openAt(b, filepath.Join(dir, "node.db"), sqlite.Config{Durability: d, Node: "host-0000", Tables: tables})
	var out [2]*side
	for i := range out {
		out[i] = &side{table: tables[0], rand: rand.New(rand.NewPCG(1, 2)), next: benchRows, versions: map[int]record.Version{}}
	}
	out[0].ours, out[1].plain = db, p
	out[1].sql = sqlite.PlainSQL(tables[0])
	return out
}

// row is unlike every one before it.
func (s *side) row(worker, id int) store.Row {
	s.n++
	app := s.rand.IntN(50_000)
	return store.Row{
		record.Of(workerName(worker)), record.Of(fmt.Sprintf("m%07d", id)),
		record.Of(fmt.Sprintf("app-%05d", app)), record.Of("started"), record.Of(""),
		record.Of(fmt.Sprintf(`[{"name":"http","port":%d}]`, 1024+s.rand.IntN(60_000))),
		record.Of(fmt.Sprintf(`["fdaa:0:%x:%x::3"]`, worker, s.rand.IntN(1<<16))),
		record.Of(fmt.Sprintf("registry/app-%05d@%012x", app, s.n)),
		record.Of(`{"cpus":1,"memory_mb":256}`), record.Of(fmt.Sprintf(`{"release":%d}`, s.n)),
		record.Of(s.n), record.Of(0), record.Of(""),
	}
}

func workerName(n int) string { return fmt.Sprintf("host-%04d", n) }

// change is rows of one worker, or their tombstones.
type change struct {
	worker  int
	kind    string // new, update, delete
	ids     []int
	rows    []store.Row
	deleted bool
}

func (s *side) change(kind string, worker int, ids []int) change {
	c := change{worker: worker, kind: kind, ids: ids, deleted: kind == "delete"}
	for _, id := range ids {
		c.rows = append(c.rows, s.row(worker, id))
	}
	return c
}

// prepare makes what do writes in one transaction, so that only that is timed.
func (s *side) prepare(b *testing.B, changes []change) (do func()) {
	b.Helper()
	if s.plain != nil {
		return s.preparePlain(b, changes)
	}
	var batch []record.Delivery
	for _, c := range changes {
		s.versions[c.worker]++
		var recs []record.Record
		for _, row := range c.rows {
			r := recordOf(s.table, row, "")
			if c.deleted {
				r.Deleted, r.Cells = true, nil
			}
			recs = append(recs, r)
		}
		w := record.Writer{Node: record.Node(workerName(c.worker)), Boot: 5, Bits: 1}
		batch = append(batch, pushed(w, s.versions[c.worker], recs...))
	}
	return func() {
		out, err := s.ours.Apply(b.Context(), batch)
		if err != nil {
			b.Fatal(err)
		}
		for _, o := range out {
			if o.Status != store.Applied || o.Withheld > 0 {
				b.Fatalf("outcome %+v", o)
			}
		}
	}
}

func (s *side) preparePlain(b *testing.B, changes []change) (do func()) {
	type run struct {
		sql  string
		args []driver.Value
	}
	var runs []run
	insert, update, remove := s.sql[0], s.sql[1], s.sql[2]
	for _, c := range changes {
		for _, row := range c.rows {
			var args []driver.Value
			for _, v := range row {
				args = append(args, v.Any())
			}
			switch c.kind {
			case "new":
				runs = append(runs, run{insert, args})
			case "update":
				runs = append(runs, run{update, append(args[2:], args[:2]...)})
			default:
				runs = append(runs, run{remove, args[:2]})
			}
		}
	}
	return func() {
		err := s.plain.Transaction(func() error {
			for _, r := range runs {
				n, err := s.plain.Exec(r.sql, r.args...)
				if err != nil || n != 1 {
					return fmt.Errorf("%d rows changed: %w", n, err)
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// timed adds the processor time of the whole process while fn runs.
func (s *side) timed(fn func()) {
	before := processorTime()
	fn()
	s.cpu += processorTime() - before
}

func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // never fails
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func memoryDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "firebreak-bench")
	if err != nil {
		return b.TempDir() // a system without it
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// BenchmarkApply is the processor time of a record from a peer, beside that of
// the same row in plain SQLite: the same table, rows, order and transactions,
// in turn, every value a fresh one, with 100,000 rows of other owners around.
func BenchmarkApply(b *testing.B) {
	both := sides(b, memoryDir(b), sqlite.OS)
	for w := 1; w <= benchWorkers; w++ {
		for _, s := range both {
			s.prepare(b, []change{s.change("new", w, count(0, benchRows))})()
		}
	}
	for _, c := range []struct {
		kind           string
		batch, writers int
	}{
		{"update", 10, 1}, {"update", 10, 10}, {"update", 100, 1}, {"update", 100, 10}, {"update", 100, 100},
		{"update", 1000, 1}, {"update", 1000, 100}, {"delete", 100, 10}, {"new", 100, 1}, {"new", 1000, 1},
	} {
		b.Run(fmt.Sprintf("%s/batch=%d/writers=%d", c.kind, c.batch, c.writers), func(b *testing.B) {
			const block = 2000 // rows of one side before the other's turn
			both[0].cpu, both[1].cpu = 0, 0
			rows := 0
			for b.Loop() {
				first := both[rows%2]
				for _, s := range []*side{first, other(both, first)} {
					var dos, undos []func()
					for range block / c.batch {
						changes := s.choose(c.kind, c.batch, c.writers)
						dos = append(dos, s.prepare(b, changes))
						if c.kind == "delete" {
							undo := slices.Clone(changes)
							for i, c := range undo {
								undo[i] = s.change("new", c.worker, c.ids)
							}
							undos = append(undos, s.prepare(b, undo))
						}
					}
					if c.kind == "delete" { // a row is deleted once: each batch comes back at once
						for i, do := range dos {
							s.timed(do)
							undos[i]()
						}
						continue
					}
					s.timed(func() {
						for _, do := range dos {
							do()
						}
					})
				}
				rows += block
			}
			report(b, both, rows)
		})
	}
}

func other(both [2]*side, s *side) *side {
	if both[0] == s {
		return both[1]
	}
	return both[0]
}

func report(b *testing.B, both [2]*side, rows int) {
	ours, plain := float64(both[0].cpu.Nanoseconds())/float64(rows), float64(both[1].cpu.Nanoseconds())/float64(rows)
	b.ReportMetric(ours, "ours-ns/row")
	b.ReportMetric(plain, "plain-ns/row")
	b.ReportMetric(ours/plain, "×plain")
	b.ReportMetric(0, "ns/op")
}

// choose picks the rows of one transaction: new ones in key order after all
// others, or random ones of some workers.
func (s *side) choose(kind string, batch, writers int) []change {
	if kind == "new" {
		s.next += batch
		return []change{s.change(kind, 9999, count(s.next-batch, s.next))}
	}
	var out []change
	for _, w := range s.rand.Perm(benchWorkers)[:writers] {
		out = append(out, s.change(kind, w+1, s.rand.Perm(benchRows)[:batch/writers]))
	}
	return out
}

func count(from, to int) (out []int) {
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

// BenchmarkLocalCommit is the processor time of a local write of one row, by
// one publisher and by many under the same commit, beside a plain transaction.
func BenchmarkLocalCommit(b *testing.B) {
	for _, publishers := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("publishers=%d", publishers), func(b *testing.B) {
			both := sides(b, memoryDir(b), sqlite.OS)
			for _, s := range both {
				s.publish(b, 1, s.change("new", 0, count(0, benchRows)).rows, "new")
			}
			rows := 0
			both[0].cpu, both[1].cpu = 0, 0
			for b.Loop() {
				const block = 1024
				for _, s := range both {
					var next []store.Row
					for range block {
						next = append(next, s.row(0, s.rand.IntN(benchRows)))
					}
					s.publish(b, publishers, next, "update")
				}
				rows += block
			}
			report(b, both, rows)
		})
	}
}

// publish writes each row in a transaction of its own, publishers at a time.
func (s *side) publish(b *testing.B, publishers int, rows []store.Row, kind string) {
	if s.plain != nil {
		var dos []func()
		for _, r := range rows {
			dos = append(dos, s.preparePlain(b, []change{{kind: kind, rows: []store.Row{r}}}))
		}
		s.timed(func() {
			for _, do := range dos {
				do()
			}
		})
		return
	}
	s.timed(func() {
		var all sync.WaitGroup
		for i := range publishers {
			all.Go(func() {
				for j := i; j < len(rows); j += publishers {
					c, err := s.ours.Update(b.Context(), func(x store.Tx) error { return x.Put(s.table.Name, rows[j]) })
					if err != nil || c.Records != 1 {
						b.Errorf("%d records: %v", c.Records, err)
					}
				}
			})
		}
		all.Wait()
	})
}

func BenchmarkFeed(b *testing.B) {
	db := openAt(b, filepath.Join(b.TempDir(), "node.db"), sqlite.Config{Durability: sqlite.OS})
	feed := feedFrom(b, db)
	n := 0
	var longest time.Duration
	for b.Loop() {
		n++
		put(b, db, machine("w1", "m", fmt.Sprint(n)))
		start := time.Now()
		if _, err := feed.Next(b.Context()); err != nil {
			b.Fatal(err)
		}
		longest = max(longest, time.Since(start))
	}
	b.ReportMetric(float64(longest.Microseconds()), "max-µs")
}
