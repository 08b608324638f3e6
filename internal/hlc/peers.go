package hlc

import (
	"slices"
	"time"
)

// MaxDrift is how far clocks of one cluster may differ: beyond it, what a node
// stamps is not shown at once by others.
const MaxDrift = 500 * time.Millisecond

// MinPeers is how many peers must have told their time before a node believes
// them more than its own clock: with fewer, one bad clock of theirs could be
// the median.
const MinPeers = 3

// Reading is what a peer's clock showed, less this node's: somewhere between,
// as the answer took its time.
type Reading struct{ Low, High time.Duration }

// ReadingOf makes a reading of a peer's wall that was asked for and had arrived
// after took, when this node's wall was arrived.
func ReadingOf(theirs, arrived time.Time, took time.Duration) Reading {
	low := saturated(theirs, arrived)
	return Reading{Low: low, High: low + max(0, took)}
}

// saturated is a.Sub(b) with room for a sum: clocks may be centuries apart.
func saturated(a, b time.Time) time.Duration {
	const most = 100 * 365 * 24 * time.Hour
	return min(max(a.Round(0).Sub(b.Round(0)), -most), most)
}

// within reports whether the clocks may be within MaxDrift of one another.
func (r Reading) within() bool { return r.Low <= MaxDrift && r.High >= -MaxDrift }

// Verdict is what readings of all peers that answered say of this node's clock.
type Verdict struct {
	Peers  int
	Median Reading // of the peers' clocks, less this node's; zero without peers
	Agrees bool    // with the median, within MaxDrift
	Close  bool    // to every peer, and there is one
}

// Judge compares this node's clock with its peers'. The readings' uncertainty
// is in its favour: a slow answer makes no clock wrong.
func Judge(readings []Reading) Verdict {
	v := Verdict{Peers: len(readings), Agrees: true, Close: len(readings) > 0}
	if len(readings) == 0 {
		return v
	}
	lows, highs := make([]time.Duration, len(readings)), make([]time.Duration, len(readings))
	for i, r := range readings {
		lows[i], highs[i] = r.Low, r.High
		v.Close = v.Close && r.within()
	}
	slices.Sort(lows)
	slices.Sort(highs)
	// Of an even number the two in the middle: half of the peers are not most.
	v.Median = Reading{Low: lows[(len(lows)-1)/2], High: highs[len(highs)/2]}
	v.Agrees = v.Median.within()
	return v
}

// Refuses reports whether this node must not stamp shared writes.
func (v Verdict) Refuses() bool { return v.Peers >= MinPeers && !v.Agrees }

// Apart is how far this node's clock surely is from the median: positive if it
// is behind, zero if it may agree.
func (v Verdict) Apart() time.Duration {
	switch {
	case v.Agrees:
		return 0
	case v.Median.Low > 0:
		return v.Median.Low
	}
	return v.Median.High
}
