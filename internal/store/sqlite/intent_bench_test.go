package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// noJournal keeps no intents.
type noJournal struct{}

func (noJournal) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
func (noJournal) Close() error                           { return nil }

// BenchmarkCrashJournal is the processor time of a changeset from a peer with
// the journal of what is in hand, and without. The two take turns.
func BenchmarkCrashJournal(b *testing.B) {
	for _, rows := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			tables, err := ParseSQL(TestSchema)
			if err != nil {
				b.Fatal(err)
			}
			db, err := Open(b.Context(), Config{Path: filepath.Join(b.TempDir(), "node.db"), Fleet: "test", Cluster: "region/iad", Node: "w1", Tables: tables, Durability: OS})
			if err != nil {
				b.Fatal(err)
			}
			file := db.intents.file
			b.Cleanup(func() {
				err := db.inLoop(context.Background(), func() error {
					db.intents.file = file
					for _, n := range db.st.held {
						if n > 0 {
							return fmt.Errorf("%d records are withheld", n)
						}
					}
					return nil
				})
				if err = errors.Join(err, db.Close()); err != nil {
					b.Error(err)
				}
			})
			const turn = 100 // changesets, each alone in a slice
			var took [2]time.Duration
			version := record.Version(0)
			n := 0
			for b.Loop() {
				for side, f := range []journalFile{file, noJournal{}} {
					if err := db.inLoop(b.Context(), func() error { db.intents.file = f; return nil }); err != nil {
						b.Fatal(err)
					}
					all := make([]record.Delivery, turn)
					for i := range all {
						version++
						all[i] = benchDelivery(b, db, version, rows)
					}
					before := processor()
					for i := range all {
						if _, err := db.Apply(b.Context(), all[i:i+1]); err != nil {
							b.Fatal(err)
						}
					}
					took[side] += processor() - before
				}
				n += turn
			}
			with, without := float64(took[0].Microseconds())/float64(n), float64(took[1].Microseconds())/float64(n)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(with, "with-µs/changeset")
			b.ReportMetric(without, "without-µs/changeset")
			b.ReportMetric(100*(with-without)/without, "cost-%")
		})
	}
}

// benchDelivery is a changeset that updates rows.
func benchDelivery(b *testing.B, db *DB, v record.Version, rows int) record.Delivery {
	c := record.Changeset{Writer: record.Writer{Node: "w2", Boot: 5, Bits: 1}, Version: v, Wall: 1000}
	t := db.tables().all[0]
	for i := range rows {
		row := make(store.Row, len(t.Names()))
		for j, name := range t.Names() {
			switch name {
			case "worker":
				row[j] = record.Of("w2")
			case "id":
				row[j] = record.Of(fmt.Sprintf("m%04d", i))
			case "app":
				row[j] = record.Of(fmt.Sprintf("app-%d", v))
			}
		}
		r, err := t.Record(row, "")
		if err != nil {
			b.Fatal(err)
		}
		c.Records = append(c.Records, r)
	}
	return record.Pushed(c)
}

func processor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // never fails
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
