package hlc_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/firebreak-dev/firebreak/internal/hlc"
)

func TestStampsRiseWhateverTheWallDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c hlc.Clock
		wall := time.UnixMilli(1_764_000_000_000)
		last := hlc.Timestamp(0)
		for range 50 {
			wall = wall.Add(time.Duration(rapid.IntRange(-300, 300).Draw(t, "step")) * time.Millisecond)
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				seen := hlc.At(wall.Add(time.Duration(rapid.IntRange(-500, 500).Draw(t, "seen")) * time.Millisecond))
				c.Observe(seen)
				last = max(last, seen)
			default:
				before := c.Last()
				got, err := c.Now(wall)
				if err != nil {
					if !errors.Is(err, hlc.ErrAhead) || c.Last() != before {
						t.Fatalf("error %v, clock moved from %v to %v", err, before, c.Last())
					}
					continue
				}
				if got <= last {
					t.Fatalf("stamp %v after %v", got, last)
				}
				if got > hlc.At(wall.Add(hlc.MaxAhead)) {
					t.Fatalf("stamp %v is ahead of wall %v", got, hlc.At(wall))
				}
				last = got
			}
		}
	})
}

func TestFrozenWallCounts(t *testing.T) {
	var c hlc.Clock
	wall := time.UnixMilli(1_764_000_000_000)
	for i := range 10_000 {
		got, err := c.Now(wall)
		if err != nil {
			t.Fatal(err)
		}
		if got.Counter() != uint16(i) || !got.Wall().Equal(wall) {
			t.Fatalf("stamp %d is %v", i, got)
		}
	}
}

func TestTimesOutsideTheRangeAreClamped(t *testing.T) {
	if got := hlc.At(time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC)); got != 0 {
		t.Errorf("1960 is %v", got)
	}
	if a, b := hlc.At(time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)), hlc.At(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)); a <= b {
		t.Errorf("year 12000 is %v, 2026 %v", a, b)
	}
}

func TestRestoreNeverGoesBack(t *testing.T) {
	var c hlc.Clock
	c.Restore(100)
	c.Restore(50)
	if c.Last() != 100 {
		t.Errorf("last is %v", c.Last())
	}
}
