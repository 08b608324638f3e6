package main

import (
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/bench/suite"
	"github.com/firebreak-dev/firebreak/internal/bench"
)

// What a set's benches ask for may be a little more than there is, for those
// that are clear early leave some; twice as much would halve every comparison.
func TestTheBenchesOfASetAskForWhatThereIs(t *testing.T) {
	for _, s := range []bench.Set{bench.Quick, bench.Full} {
		var sum time.Duration
		for _, b := range bench.In(suite.All(), s) {
			if b.Run != nil {
				sum += b.Time(s)
			}
		}
		if sum > s.Total()*5/4 {
			t.Errorf("%s: %v, and there are %v", names[s], sum, s.Total())
		}
		t.Logf("%s: %v of %v", names[s], sum, s.Total())
	}
}
