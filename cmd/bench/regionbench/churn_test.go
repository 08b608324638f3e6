package regionbench

import (
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
)

// The floor of B22 by hand: an addition at once, a gap within the hold not at
// all, a drop that stays once it has stood.
func TestTheFloorCountsWhatOutlivesTheHold(t *testing.T) {
	d := ideal{held: make([]presence.Class, 1), want: make([]presence.Class, 1), since: make([]time.Duration, 1)}
	for _, c := range []struct {
		second, count, writes, added int
	}{{1, 4, 1, 1}, {2, 5, 1, 0}, {3, 0, 1, 0}, {6, 4, 1, 0}, {10, 9, 1, 0}, {14, 9, 1, 0}, {15, 9, 2, 0}, {16, 0, 2, 0}, {21, 0, 3, 0}, {22, 9, 4, 1}} {
		added := d.step(time.Duration(c.second)*time.Second, []int{c.count})
		if d.writes != c.writes || len(added) != c.added {
			t.Errorf("second %d, count %d: %d writes and %d added, want %d and %d", c.second, c.count, d.writes, len(added), c.writes, c.added)
		}
	}
}
