package machine

import "time"

// loopTime is how long one calibration should take.
const loopTime = 50 * time.Millisecond

// Calibration is a loop of fixed work. How long it takes says how much of the
// machine others have at that moment.
type Calibration struct {
	rounds int
	sink   uint64
}

// NewCalibration sizes the loop to about 50 ms of a quiet machine: the best of
// several tries counts.
func NewCalibration() *Calibration {
	c := &Calibration{rounds: 1 << 20}
	best := time.Hour
	for range 10 {
		best = min(best, c.Loop())
	}
	c.rounds = max(1, int(float64(c.rounds)*float64(loopTime)/float64(best)))
	return c
}

// Loop does the work once and returns how long it took.
func (c *Calibration) Loop() time.Duration {
	start := time.Now()
	x := c.sink | 1
	for range c.rounds {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	c.sink = x
	return time.Since(start)
}
