package propagation

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// maxKept bounds the samples of one tier. Beyond it each new one replaces an
// old one by chance, so that what is kept stays an even sample of all.
const maxKept = 20_000

type histogram struct {
	rnd  *rand.Rand
	kept []time.Duration
	seen int
	max  time.Duration
}

func newHistogram(seed uint64) *histogram {
	return &histogram{rnd: rand.New(rand.NewPCG(seed, 1))}
}

func (h *histogram) add(d time.Duration) {
	h.seen++
	h.max = max(h.max, d)
	if len(h.kept) < maxKept {
		h.kept = append(h.kept, d)
	} else if i := h.rnd.IntN(h.seen); i < maxKept {
		h.kept[i] = d
	}
}

// summary takes the nearest rank: p99 of 100 samples is the 99th.
func (h *histogram) summary() Summary {
	if h.seen == 0 {
		return Summary{}
	}
	sorted := slices.Sorted(slices.Values(h.kept))
	at := func(q float64) *float64 {
		i := int(math.Ceil(q*float64(len(sorted)))) - 1
		return millis(sorted[max(i, 0)])
	}
	return Summary{P50: at(0.50), P99: at(0.99), Max: millis(h.max), Count: h.seen}
}

// millis rounds to microseconds: the clocks and goroutines in between are no
// better.
func millis(d time.Duration) *float64 {
	ms := float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
	return &ms
}
