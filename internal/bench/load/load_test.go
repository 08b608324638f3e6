package load_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-dev/firebreak/internal/bench/load"
)

func TestQuantilesAreWithinTwoPercent(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var h, half load.Histogram
	var all []time.Duration
	for i := range 10_000 {
		d := time.Duration(r.ExpFloat64() * float64(time.Millisecond))
		all = append(all, d)
		if i%2 == 0 {
			h.Add(d)
		} else {
			half.Add(d)
		}
	}
	h.Merge(&half)
	slices.Sort(all)
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[max(int(q*float64(len(all)))-1, 0)]
		if got := h.Quantile(q); float64(got) < 0.98*float64(want) || float64(got) > 1.02*float64(want) {
			t.Errorf("quantile %v: %v, want about %v", q, got, want)
		}
	}
	if h.Count() != 10_000 || h.Max() != all[len(all)-1] {
		t.Errorf("%d values up to %v", h.Count(), h.Max())
	}
}

func TestEmptyHistogramIsZero(t *testing.T) {
	var h load.Histogram
	if h.Quantile(0.5) != 0 || h.Mean() != 0 || h.Max() != 0 {
		t.Error("not zero")
	}
}

// A server that stops for a second delays everybody who came meanwhile: the
// latencies must show it, though one operation alone was slow.
func TestAStallIsSeenByAllWhoCameMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := load.Run(t.Context(), load.Config{Rate: 100, Duration: 10 * time.Second, Workers: 1}, func(_ context.Context, i uint64, _ time.Time) error {
			if i == 200 {
				time.Sleep(time.Second)
			} else {
				time.Sleep(time.Millisecond)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if r.Sent != 1000 || r.Unsent != 0 || r.Latency.Count() != 1000 {
			t.Errorf("%d sent, %d not, %d counted", r.Sent, r.Unsent, r.Latency.Count())
		}
		if p := r.Latency.Quantile(0.95); p < 400*time.Millisecond {
			t.Errorf("p95 %v: the wait of those behind the stall is not counted", p)
		}
		if p := r.Latency.Quantile(0.5); p > 2*time.Millisecond {
			t.Errorf("p50 %v", p)
		}
	})
}

func TestWhatCouldNotBeBegunIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := load.Run(t.Context(), load.Config{Rate: 100, Duration: 2 * time.Second, Workers: 1}, func(context.Context, uint64, time.Time) error {
			time.Sleep(100 * time.Millisecond)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if r.Sent+r.Unsent != 200 || r.Unsent < 170 {
			t.Errorf("%d sent, %d not", r.Sent, r.Unsent)
		}
	})
}

func TestACountIsDoneHoweverLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := load.Run(t.Context(), load.Config{Rate: 100, Count: 50, Workers: 1}, func(context.Context, uint64, time.Time) error {
			time.Sleep(100 * time.Millisecond)
			return nil
		})
		if err != nil || r.Sent != 50 || r.Unsent != 0 || r.Latency.Max() < 4*time.Second {
			t.Errorf("%v: %d sent, %d not, longest %v", err, r.Sent, r.Unsent, r.Latency.Max())
		}
	})
}

func TestFailuresAreCountedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		told := 0
		r, err := load.Run(t.Context(), load.Config{
			Rate: 10, Duration: time.Second, Each: func(time.Duration, error) { told++ },
		}, func(_ context.Context, i uint64, _ time.Time) error {
			if i%2 == 0 {
				return broken
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if r.Failed != 5 || r.Latency.Count() != 5 || !errors.Is(r.First, broken) || told != 10 {
			t.Errorf("%+v, told of %d", r.Failed, told)
		}
	})
}

func TestEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := load.Run(ctx, load.Config{Rate: 10}, func(context.Context, uint64, time.Time) error { return nil })
		if err != nil || r.Sent < 9 || r.Sent > 11 {
			t.Errorf("%v, %v", r, err)
		}
	})
}

func TestBadRateIsRefused(t *testing.T) {
	for _, rate := range []float64{0, -1, 1e9} {
		if _, err := load.Run(t.Context(), load.Config{Rate: rate}, nil); err == nil {
			t.Errorf("rate %v was taken", rate)
		}
	}
}
