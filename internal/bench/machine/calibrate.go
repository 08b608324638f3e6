package machine

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// loopTime is how long one calibration should take.
const loopTime = 50 * time.Millisecond

// Spin is what one loop of fixed work took.
type Spin struct {
	Wall time.Duration // longer if others run on this CPU
	CPU  time.Duration // longer if the CPU itself is slower: its caches, its clock, its other half
}

// Calibration is a loop of fixed work. How long it takes says how much of the
// machine others have at that moment. Not safe for concurrent use.
type Calibration struct {
	rounds int
	sink   uint64
}

// NewCalibration sizes the loop to about 50 ms of CPU: the best of several
// tries counts.
func NewCalibration() *Calibration {
	c := &Calibration{rounds: 1 << 20}
	best := time.Hour
	for range 10 {
		best = min(best, c.Loop().CPU)
	}
	c.rounds = max(1, int(float64(c.rounds)*float64(loopTime)/float64(max(best, 1))))
	return c
}

// Loop does the work once.
func (c *Calibration) Loop() Spin {
	runtime.LockOSThread() // its CPU time is that of the thread
	defer runtime.UnlockOSThread()
	start, used := time.Now(), threadTime()
	x := c.sink | 1
	for range c.rounds {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	c.sink = x
	return Spin{Wall: time.Since(start), CPU: threadTime() - used}
}

// threadTime is the CPU time of this thread; zero where the kernel has none.
func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
