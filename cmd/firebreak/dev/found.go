package dev

import (
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/fault"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/host"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/pulse"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// How long a machine must have served, as its node knows, for every edge to
// know it. Time in which this process did not run is no such time; whether the
// other processes of a federation ran is not known, so they have longer, which
// is half of the ten seconds that are promised.
const (
	settled         = 2 * time.Second
	settledByOthers = 5 * time.Second
)

// findable says which apps an edge must find: those with a machine that has
// served for long enough, and from before what is broken now.
type findable struct {
	hosts  host.Hosts
	engine *fault.Engine
	pulse  *pulse.Pulse
	within time.Duration // settled, or settledByOthers
}

// Found returns them, with the regions of such machines.
func (f findable) Found(at time.Time) map[fleet.App][]fleet.Region {
	return f.hosts.Serving(func(r fleet.Region) time.Time {
		heard := f.engine.Heard(r, at)
		return heard.Add(-f.within - f.pulse.Lost(heard.Add(-f.within), heard))
	})
}
