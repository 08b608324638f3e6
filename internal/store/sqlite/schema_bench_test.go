package sqlite_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// pauses sums what steps of the schema took, as the log says.
type pauses struct{ sum atomic.Int64 }

func (p *pauses) Enabled(context.Context, slog.Level) bool { return true }
func (p *pauses) WithAttrs([]slog.Attr) slog.Handler       { return p }
func (p *pauses) WithGroup(string) slog.Handler            { return p }

func (p *pauses) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "schema changed" {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "took" {
				p.sum.Add(int64(a.Value.Duration()))
			}
			return true
		})
	}
	return nil
}

// BenchmarkSchemaStep gives for how long the steps of a schema change keep local
// writes waiting, for each row of their table, and what the plan said of it.
func BenchmarkSchemaStep(b *testing.B) {
	const rows = 100_000
	const table = "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, a TEXT, c TEXT, d INTEGER)"
	for _, step := range []struct{ name, from, to string }{
		{"add-column", table, "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, a TEXT, c TEXT, d INTEGER, e TEXT)"},
		{"drop-column", table, "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, a TEXT, c TEXT)"},
		{"create-index", table, table + "; CREATE INDEX t_a ON t (a)"},
		{"drop-index", table + "; CREATE INDEX t_a ON t (a)", table},
	} {
		b.Run(fmt.Sprintf("%s/rows=%d", step.name, rows), func(b *testing.B) {
			pause := &pauses{}
			r := newRegion(b)
			r.log = slog.New(pause)
			r.start("w1")
			defer r.stop("w1")
			r.load("w1", step.from)
			for i := range rows / 1000 {
				r.exec("w1", "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO t SELECT ? * 1000 + i, hex(randomblob(16)), hex(randomblob(16)), NULL FROM n", i)
			}
			tables, err := sqlite.ParseSQL(step.to)
			if err != nil {
				b.Fatal(err)
			}
			plan, err := r.nodes["w1"].PlanSchema(b.Context(), tables)
			if err != nil {
				b.Fatal(err)
			}
			var took, said time.Duration
			for b.Loop() {
				pause.sum.Store(0)
				r.load("w1", step.to)
				took += time.Duration(pause.sum.Load())
				said += plan.Costs[0].Pause
				b.StopTimer()
				r.load("w1", step.from)
				b.StartTimer()
			}
			b.ReportMetric(float64(took.Nanoseconds())/float64(b.N)/rows, "pause-ns/row")
			b.ReportMetric(float64(said.Nanoseconds())/float64(b.N)/rows, "said-ns/row")
		})
	}
}
