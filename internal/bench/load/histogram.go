package load

import (
	"math"
	"math/bits"
	"time"
)

// sub is how many buckets each power of two has: a value is kept to 1.6 %.
const sub = 64

// Histogram counts durations in buckets that grow with them, in constant
// space. The zero value is empty. Not safe for concurrent use.
type Histogram struct {
	buckets [64 * sub]uint64
	n       uint64
	sum     float64
	max     time.Duration
}

// Add counts d; one below zero counts as zero.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.buckets[bucket(uint64(d))]++
	h.n++
	h.sum += float64(d)
	h.max = max(h.max, d)
}

// Merge adds all that o counted.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
	h.n, h.sum, h.max = h.n+o.n, h.sum+o.sum, max(h.max, o.max)
}

func bucket(v uint64) int {
	if v < sub {
		return int(v)
	}
	shift := bits.Len64(v) - 7 // v>>shift is in sub..2*sub-1
	return (shift+1)*sub + int(v>>shift) - sub
}

// middle is the value that stands for a bucket.
func middle(i int) time.Duration {
	if i < 2*sub {
		return time.Duration(i)
	}
	shift := i/sub - 1
	return time.Duration((float64(i%sub+sub) + 0.5) * math.Pow(2, float64(shift)))
}

// Count is how many durations were added.
func (h *Histogram) Count() uint64 { return h.n }

// Max is the largest of them, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Mean is their mean, zero of none.
func (h *Histogram) Mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return time.Duration(h.sum / float64(h.n))
}

// Quantile returns the q-quantile, zero of none.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := max(uint64(math.Ceil(q*float64(h.n))), 1)
	for i, n := range h.buckets {
		if n >= rank {
			return min(middle(i), h.max)
		}
		rank -= n
	}
	return h.max
}
