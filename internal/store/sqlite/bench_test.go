package sqlite_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// BenchmarkApply is the cost of one record from a peer, in changesets of one
// and of a hundred, with rows of other owners around.
func BenchmarkApply(b *testing.B) {
	machinesTable := tables(b)[0]
	for _, rows := range []int{1, 100} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			db := openAt(b, filepath.Join(b.TempDir(), "node.db"), sqlite.Config{Durability: sqlite.OS})
			var n, v int
			b.ReportAllocs()
			for b.Loop() {
				v++
				batch := make([]record.Delivery, 8)
				for i := range batch {
					var recs []record.Record
					for range rows {
						n++
						recs = append(recs, recordOf(machinesTable, machine(fmt.Sprintf("w%d", i+10), fmt.Sprintf("m%04d", n%300), fmt.Sprint("app", n)), ""))
						n += 7
					}
					batch[i] = pushed(record.Writer{Node: record.Node(fmt.Sprintf("w%d", i+10)), Boot: 5, Bits: 1}, record.Version(v), dedupe(recs)...)
				}
				if _, err := db.Apply(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*8*rows), "ns/record")
		})
	}
}

func dedupe(in []record.Record) []record.Record {
	seen := map[record.Key]bool{}
	var out []record.Record
	for _, r := range in {
		if !seen[r.Key] {
			seen[r.Key] = true
			out = append(out, r)
		}
	}
	return out
}

// BenchmarkLocalCommit is one local write of one row, alone and with others
// under the same commit.
func BenchmarkLocalCommit(b *testing.B) {
	for _, d := range []struct {
		name string
		mode sqlite.Durability
	}{{"os", sqlite.OS}, {"fsync", sqlite.Fsync}} {
		for _, writers := range []int{1, 16} {
			b.Run(fmt.Sprintf("durability=%s/writers=%d", d.name, writers), func(b *testing.B) {
				db := openAt(b, filepath.Join(b.TempDir(), "node.db"), sqlite.Config{Durability: d.mode})
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					n++
					var all sync.WaitGroup
					for i := range writers {
						all.Go(func() {
							_, err := db.Update(b.Context(), func(x store.Tx) error {
								return x.Put("machines", machine("w1", fmt.Sprintf("m%d", i), fmt.Sprint(n)))
							})
							if err != nil {
								b.Error(err)
							}
						})
					}
					all.Wait()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*writers), "ns/write")
			})
		}
	}
}

// BenchmarkPlain is the same rows into a plain SQLite table by the same
// driver, prepared, in transactions like those of BenchmarkApply.
func BenchmarkPlain(b *testing.B) {
	for _, rows := range []int{8, 800} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			p := sqlite.OpenPlain(b, filepath.Join(b.TempDir(), "plain.db"))
			n := 0
			for b.Loop() {
				p.Transaction(b, func(put func(worker, id, app string)) {
					for i := range rows {
						n += 8
						put(fmt.Sprintf("w%d", 10+i%8), fmt.Sprintf("m%04d", n%300), fmt.Sprint("app", n))
					}
				})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rows), "ns/record")
		})
	}
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
