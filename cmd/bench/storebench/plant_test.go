package storebench

import (
	"context"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
)

// A busy loop in the apply of every row moves the ratio of B04 by what it is
// worth, outside of the interval. CPU time is judged, so that others may use
// the machine meanwhile.
func TestABusyLoopInApplyMovesTheRatioByWhatItIsWorth(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for some seconds, twice")
	}
	const plant = 20 * time.Microsecond
	clean, planted := measureApply(t, 0), measureApply(t, plant)
	if planted.Low <= clean.High {
		t.Errorf("%.2f (%.2f…) with the loop is not clear of %.2f (…%.2f) without", planted.Value, planted.Low, clean.Value, clean.High)
	}
	perRow := float64(plant.Microseconds()) / planted.Baseline
	if moved := planted.Value - clean.Value; moved < 0.5*perRow || moved > 1.6*perRow {
		t.Errorf("from %.2f to %.2f × %.1f µs: want %.2f more, for %v a row", clean.Value, planted.Value, planted.Baseline, perRow, plant)
	}
}

// measureApply is the ratio of CPU per row of a small B04.
func measureApply(t *testing.T, plant time.Duration) result.Measure {
	t.Helper()
	r, err := bench.New(bench.Config{Memory: t.TempDir(), Disk: t.TempDir(), Seed: 1, Set: bench.Quick, Plant: plant, Say: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.Run(t.Context(), bench.Bench{Name: "small B04", Quick: 30 * time.Second, Run: func(ctx context.Context, b *bench.Bencher) error {
		return applyTo(ctx, b, 10*rowsEach, []shape{{"update", 100, 10, 1.3}}, 2000)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return out.Measures[0]
}
