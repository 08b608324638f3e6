package hlc_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/firebreak-dev/firebreak/internal/hlc"
)

func readings(offsets ...time.Duration) (out []hlc.Reading) {
	for _, o := range offsets {
		out = append(out, hlc.Reading{Low: o, High: o + time.Millisecond})
	}
	return out
}

func TestClockIsJudgedByTheMedianOfItsPeers(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		readings               []hlc.Reading
		agrees, close, refuses bool
	}{
		"alone":                         {nil, true, false, false},
		"one peer that agrees":          {readings(0), true, true, false},
		"one peer that does not":        {readings(day), false, false, false},
		"two peers that do not":         {readings(day, day), false, false, false},
		"this node is a year behind":    {readings(365*day, 365*day, 365*day), false, false, true},
		"this node is years ahead":      {readings(-999*day, -999*day, -999*day), false, false, true},
		"one of three peers is wrong":   {readings(0, 0, day), true, false, false},
		"two of four peers are wrong":   {readings(0, 0, day, day), true, false, false},
		"two of four, each its own way": {readings(-day, 0, 0, day), true, false, false},
		"three of four are wrong":       {readings(0, day, day, day), false, false, true},
		"at the limit":                  {readings(500*time.Millisecond, 500*time.Millisecond, -501*time.Millisecond), true, true, false},
		"a slow answer says little":     {[]hlc.Reading{{Low: -2 * time.Second, High: 0}, {Low: -2 * time.Second, High: 0}, {Low: -2 * time.Second, High: 0}}, true, true, false},
	} {
		v := hlc.Judge(c.readings)
		if v.Agrees != c.agrees || v.Close != c.close || v.Refuses() != c.refuses || v.Peers != len(c.readings) {
			t.Errorf("%s: %+v, refuses %v", name, v, v.Refuses())
		}
		if (v.Apart() == 0) != c.agrees {
			t.Errorf("%s: apart %v", name, v.Apart())
		}
	}
}

// However wrong a minority of the clocks is, a node that agrees with the others
// writes, and one that does not, does not.
func TestMinorityOfBadClocksDecidesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		good := rapid.IntRange(2, 9).Draw(t, "good")
		bad := rapid.IntRange(0, good-1).Draw(t, "bad")
		own := time.Duration(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "own"))
		var all []hlc.Reading
		for range good {
			all = append(all, hlc.ReadingOf(time.Unix(0, 0), time.Unix(0, 0).Add(own), time.Millisecond))
		}
		for range bad {
			theirs := time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "theirs"), 0)
			all = append(all, hlc.ReadingOf(theirs, time.Unix(0, 0).Add(own), time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "took"))))
		}
		v := hlc.Judge(all)
		if right := own.Abs() <= hlc.MaxDrift; right && !v.Agrees {
			t.Fatalf("a clock %v off is refused: %+v", own, v)
		} else if own.Abs() > hlc.MaxDrift+2*time.Second && v.Agrees && bad == 0 {
			t.Fatalf("a clock %v off passes: %+v", own, v)
		}
	})
}
