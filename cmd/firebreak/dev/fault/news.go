package fault

import (
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// recovery is how long after a fault news may still be late: connections are
// dialed again and lists compared.
const recovery = 5 * time.Second

// Heard returns the time up to which news of a region must have reached
// everybody: now, or when something broke that is on its way. Before that, all
// must be found that runs; what came later may not be known.
func (e *Engine) Heard(r fleet.Region, now time.Time) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	heard := now
	for _, f := range slices.Concat(e.upkeep, e.faults) {
		end := f.healed
		if !f.over.IsZero() {
			end = f.over
		}
		late := end.IsZero() || now.Before(end.Add(f.recovery))
		if late && f.holdsUp(r) && f.began.Before(heard) {
			heard = f.began
		}
	}
	return heard
}

// maxUpkeep bounds what is remembered of it: far more than is recent.
const maxUpkeep = 100

// upkeepRecovery is recovery after upkeep: the other nodes were there.
const upkeepRecovery = time.Second

// Upkeep notes that something is done to a node that is no fault, and holds up
// news all the same until the returned function is called.
func (e *Engine) Upkeep(n federation.Node) (over func()) {
	f := &Fault{Command: Command{Kind: Upgrade}, began: time.Now(), recovery: upkeepRecovery}
	f.Regions, f.Tiers = scope([]federation.Node{n})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.upkeep = append(e.upkeep, f)
	if len(e.upkeep) > maxUpkeep {
		e.upkeep = slices.Delete(e.upkeep, 0, 1)
	}
	return func() { e.finished(f) }
}

// holdsUp reports whether news of a region may be late for a fault.
func (f *Fault) holdsUp(r fleet.Region) bool {
	if f.Command.Kind == Storm || f.Command.Kind == MassDelete {
		return false
	}
	return len(f.Tiers) > 0 || r == federation.FlatRegion || slices.Contains(f.Regions, r)
}
