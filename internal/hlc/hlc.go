// Package hlc is the hybrid logical clock of shared tables: 48 bits of Unix
// milliseconds and 16 bits of counter in one uint64, so that stamps compare as
// numbers. A Clock never stamps more than MaxAhead in front of the wall; time
// is an argument, so it is deterministic.
//
// Source: Kulkarni et al., "Logical Physical Clocks", OPODIS 2014.
package hlc

import (
	"errors"
	"fmt"
	"time"
)

// MaxAhead is how far in front of its own wall clock a node may stamp.
const MaxAhead = 250 * time.Millisecond

// ErrAhead says that the clock would have to stamp more than MaxAhead in front
// of the wall. The caller waits, or refuses the write with "clock ahead".
var ErrAhead = errors.New("clock ahead")

// Timestamp is one stamp. Zero is before every other.
type Timestamp uint64

// At returns the first timestamp of a wall time. Times before 1970 are zero,
// times beyond 48 bits of milliseconds (year 10889) are the largest.
func At(wall time.Time) Timestamp {
	ms := wall.UnixMilli()
	switch {
	case ms < 0:
		return 0
	case ms >= 1<<48:
		return Timestamp(uint64(1<<48-1) << 16)
	}
	return Timestamp(uint64(ms) << 16)
}

// Wall returns the wall time of t, in milliseconds.
func (t Timestamp) Wall() time.Time { return time.UnixMilli(int64(t >> 16)) }

// Counter returns the logical part of t.
func (t Timestamp) Counter() uint16 { return uint16(t) }

// String gives milliseconds and counter, for logs.
func (t Timestamp) String() string { return fmt.Sprintf("%d.%d", uint64(t)>>16, t.Counter()) }

// Clock makes stamps that rise, whatever the wall does. The zero value is
// ready. Not safe for concurrent use: it belongs to the store's writer.
type Clock struct {
	last Timestamp
}

// Restore continues from a persisted stamp.
func (c *Clock) Restore(last Timestamp) { c.last = max(c.last, last) }

// Last returns the largest stamp given or observed.
func (c *Clock) Last() Timestamp { return c.last }

// Now returns a stamp above every earlier one. If that would lie more than
// MaxAhead in front of the wall it returns ErrAhead and the clock stays as it
// was.
func (c *Clock) Now(wall time.Time) (Timestamp, error) {
	next := max(At(wall), c.last+1)
	if next > At(wall.Add(MaxAhead)) {
		return 0, fmt.Errorf("stamp %v at wall %v: %w", next, At(wall), ErrAhead)
	}
	c.last = next
	return next, nil
}

// Observe takes note of a stamp that was received and made visible, so that
// later local writes of the row win.
func (c *Clock) Observe(t Timestamp) { c.last = max(c.last, t) }
