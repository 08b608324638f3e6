package fedsim

import (
	"fmt"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/sim"
)

const saysS11 = "what happens in a region or lane leaves no trace in another"

// containedEvery is how many seeds have one that is played without a region.
const containedEvery = 8

// theRegion is the one that is left out.
const theRegion = "r0"

// contained plays a script with all that happens in one region and its lanes,
// and without, and compares what every other replica did, when, and with which
// bytes.
func contained(o Options, script sim.Script) error {
	with, err := tracesOf(o, script)
	if err != nil {
		return err
	}
	without, err := tracesOf(o, without(o, script))
	if err != nil {
		return err
	}
	for _, t := range with {
		if other := without[t.id]; t.subject != theRegion && other.trace != t.trace {
			return &sim.Violation{ID: "S11", Says: saysS11, Err: fmt.Errorf("%s takes another course if nothing happens in region %s", t.id, theRegion)}
		}
	}
	return nil
}

// without returns a script without what happens in the region: to its nodes,
// and what is written in its lanes.
func without(o Options, script sim.Script) sim.Script {
	out := sim.Script{}
	for _, a := range script {
		inLane := !strings.HasPrefix(a.Who, "r") && isWork(a.Kind) && laneOf(a, o.Regions) == 0
		if !strings.HasPrefix(a.Who, theRegion+"-") && !inLane {
			out = append(out, a)
		}
	}
	return out
}

// course is what one replica did.
type course struct {
	id      string
	subject string // whose records it has
	trace   sim.Trace
}

// tracesOf performs a script, without the end of its faults: how long that
// takes is for all together.
func tracesOf(o Options, script sim.Script) (map[string]course, error) {
	o.Script = script
	f, err := newFederation(o)
	if err != nil {
		return nil, err
	}
	defer f.close()
	f.script = script
	if err := f.play(); err != nil {
		return nil, err
	}
	out := map[string]course{}
	_ = f.each(func(r *replica) error {
		subject := r.realm.lane
		if subject == "" {
			subject = r.proc.cluster
		}
		out[r.id()] = course{r.id(), subject, r.trace}
		return nil
	})
	if f.router != nil {
		for _, c := range f.router.regions {
			id := routerName + "/" + string(c.name)
			out[id] = course{id, string(c.name), c.trace}
		}
	}
	return out, nil
}
