// Package stat is the statistics of a benchmark: medians, quantiles, and the
// bootstrap interval of a median. Pure functions; equal seeds give equal
// intervals.
package stat

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Median returns the middle of x, NaN if there is none. It does not change x.
func Median(x []float64) float64 { return Quantile(x, 0.5) }

// Quantile returns the q-quantile of x, between its two nearest values by
// their distance; NaN of nothing. It does not change x.
func Quantile(x []float64, q float64) float64 {
	if len(x) == 0 {
		return math.NaN()
	}
	return quantileSorted(slices.Sorted(slices.Values(x)), q)
}

func quantileSorted(x []float64, q float64) float64 {
	at := q * float64(len(x)-1)
	i := int(math.Floor(at))
	if i+1 >= len(x) {
		return x[len(x)-1]
	}
	return x[i] + (at-float64(i))*(x[i+1]-x[i])
}

// Interval is a range that holds a value with some confidence.
type Interval struct {
	Low, High float64
}

// Contains reports whether v is in i, its ends included.
func (i Interval) Contains(v float64) bool { return i.Low <= v && v <= i.High }

// resamples of a bootstrap: the ends of the interval then move by less than
// the values' own last digits.
const resamples = 2000

// MedianInterval returns the 95 % percentile bootstrap interval of the median
// of x (Efron, 1979). A single value is its own interval.
func MedianInterval(x []float64, seed uint64) Interval {
	if len(x) == 0 {
		return Interval{math.NaN(), math.NaN()}
	}
	r := rand.New(rand.NewPCG(seed, uint64(len(x))))
	medians := make([]float64, resamples)
	sample := make([]float64, len(x))
	for i := range medians {
		for j := range sample {
			sample[j] = x[r.IntN(len(x))]
		}
		slices.Sort(sample)
		medians[i] = quantileSorted(sample, 0.5)
	}
	slices.Sort(medians)
	return Interval{quantileSorted(medians, 0.025), quantileSorted(medians, 0.975)}
}

// Slope is that of the least-squares line through x over its indices, and its
// standard error. Fewer than three values have none.
func Slope(x []float64) (slope, err float64) {
	n := float64(len(x))
	if n < 3 {
		return 0, 0
	}
	var mx, sxx, sxy, rest float64
	mt := (n - 1) / 2
	for _, v := range x {
		mx += v / n
	}
	for i, v := range x {
		sxx += (float64(i) - mt) * (float64(i) - mt)
		sxy += (float64(i) - mt) * (v - mx)
	}
	slope = sxy / sxx
	for i, v := range x {
		d := v - mx - slope*(float64(i)-mt)
		rest += d * d
	}
	return slope, math.Sqrt(rest / (n - 2) / sxx)
}
