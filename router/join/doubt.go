package join

import (
	"maps"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Doubts is where watched apps are not proven to be absent, though the directory
// does not have them there.
type Doubts struct {
	regions map[fleet.Region]*doubtful
}

type doubtful struct {
	apps map[fleet.App]*doubt
	line []fleet.App // that are not subscribed, in the order in which to try; some may be resolved
}

type doubt struct {
	told bool // the client was told so
	line bool
}

func newDoubts() *Doubts { return &Doubts{regions: map[fleet.Region]*doubtful{}} }

func (d *Doubts) put(app fleet.App, region fleet.Region) *doubt {
	r := d.regions[region]
	if r == nil {
		r = &doubtful{apps: map[fleet.App]*doubt{}}
		d.regions[region] = r
	}
	if r.apps[app] == nil {
		r.apps[app] = &doubt{}
	}
	return r.apps[app]
}

// wait puts an app in line, once.
func (d *Doubts) wait(app fleet.App, region fleet.Region) {
	if one := d.put(app, region); !one.line {
		one.line = true
		d.regions[region].line = append(d.regions[region].line, app)
	}
}

// drop reports whether the client was told that there is a doubt.
func (d *Doubts) drop(app fleet.App, region fleet.Region) (told bool) {
	r := d.regions[region]
	if r == nil || r.apps[app] == nil {
		return false
	}
	told = r.apps[app].told
	if delete(r.apps, app); len(r.apps) == 0 {
		delete(d.regions, region)
	}
	return told
}

// Regions lists the regions, in order.
func (d *Doubts) Regions() []fleet.Region { return slices.Sorted(maps.Keys(d.regions)) }

// Apps lists the apps of a region, in order.
func (d *Doubts) Apps(region fleet.Region) []fleet.App {
	if r := d.regions[region]; r != nil {
		return slices.Sorted(maps.Keys(r.apps))
	}
	return nil
}

// Next takes the next app that waits to be subscribed in a region.
func (d *Doubts) Next(region fleet.Region) (fleet.App, bool) {
	r := d.regions[region]
	for r != nil && len(r.line) > 0 {
		app := r.line[0]
		r.line = r.line[1:]
		if one := r.apps[app]; one != nil && one.line {
			one.line = false
			return app, true
		}
	}
	return "", false
}
