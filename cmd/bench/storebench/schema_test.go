package storebench

import (
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/schema/plan"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// A commit that a pause has kept waiting is the pause's, and not beside it.
func TestCommitsOfThePauseAreNotBesideIt(t *testing.T) {
	start := time.Now()
	at := func(from, to int) stretch {
		return stretch{start.Add(time.Duration(from) * time.Millisecond), start.Add(time.Duration(to) * time.Millisecond)}
	}
	commits := []stretch{at(0, 2), at(10, 12), at(50, 150), at(101, 151), at(160, 164)}
	p := sqlite.SchemaPlan{Plan: plan.Plan{}, Costs: []sqlite.SchemaCost{{Pause: 40 * time.Millisecond}}}
	v := change{name: "x", previewed: true}.values(p, []stretch{at(100, 150)}, commits, start.Add(40*time.Millisecond))
	for figure, want := range map[string]float64{figurePause: 50, figureOff: 25, figureBeside: 2} {
		if got := v["x"+figure]; got < want-0.01 || got > want+0.01 {
			t.Errorf("%s: %v, want %v", figure, got, want)
		}
	}
}
