package stat_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/bench/stat"
)

func TestMedianAndQuantiles(t *testing.T) {
	for _, c := range []struct {
		x       []float64
		q, want float64
	}{
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 1, 3, 2}, 0.5, 2.5},
		{[]float64{7}, 0.99, 7},
		{[]float64{0, 10}, 0.9, 9},
		{[]float64{1, 2, 3, 4, 5}, 1, 5},
		{[]float64{1, 2, 3, 4, 5}, 0, 1},
	} {
		if got := stat.Quantile(c.x, c.q); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("quantile %v of %v: %v, want %v", c.q, c.x, got, c.want)
		}
	}
	if !math.IsNaN(stat.Median(nil)) {
		t.Error("the median of nothing is a number")
	}
}

func TestQuantileDoesNotChangeItsInput(t *testing.T) {
	x := []float64{3, 1, 2}
	stat.Median(x)
	if x[0] != 3 || x[1] != 1 || x[2] != 2 {
		t.Errorf("%v", x)
	}
}

// Of many samples of a known distribution, the interval holds its median about
// as often as it promises. (A percentile bootstrap of few values promises a
// little too much.)
func TestIntervalCoversTheMedianAsOftenAsPromised(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	covered, rounds := 0, 200
	for round := range rounds {
		x := make([]float64, 16)
		for i := range x {
			x[i] = 1.3 + 0.1*r.NormFloat64()
		}
		if stat.MedianInterval(x, uint64(round)).Contains(1.3) {
			covered++
		}
	}
	if share := float64(covered) / float64(rounds); share < 0.88 {
		t.Errorf("%.0f %% of the intervals hold the median, want about 95", 100*share)
	}
}

func TestEqualSeedsGiveEqualIntervals(t *testing.T) {
	x := []float64{1, 2, 3, 4, 5, 6, 9}
	if a, b := stat.MedianInterval(x, 7), stat.MedianInterval(x, 7); a != b {
		t.Errorf("%v and %v", a, b)
	}
	if i := stat.MedianInterval([]float64{4}, 1); i.Low != 4 || i.High != 4 {
		t.Errorf("of one value: %v", i)
	}
}

func TestSlopeKnowsALineFromNoise(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var flat, rising []float64
	for i := range 60 {
		noise := r.Float64()
		flat, rising = append(flat, 10+noise), append(rising, 10+noise+0.5*float64(i))
	}
	if s, e := stat.Slope(rising); math.Abs(s-0.5) > 3*e || s < 10*e {
		t.Errorf("%v ± %v, want 0.5", s, e)
	}
	if s, e := stat.Slope(flat); math.Abs(s) > 3*e {
		t.Errorf("%v ± %v, want 0", s, e)
	}
	if s, e := stat.Slope([]float64{1, 2}); s != 0 || e != 0 {
		t.Errorf("%v ± %v of two values", s, e)
	}
}
