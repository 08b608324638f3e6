package check

import (
	"fmt"
	"maps"
	"slices"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/edge"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Requests is what became of the requests through the edges.
type Requests interface {
	Report() edge.Report
	Mistakes() []string
	Failure() string
}

// edges checks the catalog of every edge, and where the requests went.
func (r *round) edges() []Check {
	var checks []Check
	for _, region := range slices.Sorted(maps.Keys(r.cfg.Edges)) {
		checks = append(checks, r.catalog("edge "+string(region)+" catalog", r.cfg.Edges[region]))
	}
	if r.cfg.Requests != nil {
		checks = append(checks, requests(r.cfg.Requests, r.cfg.Faults))
	}
	return checks
}

// requests checks that none went to the wrong place. While something is broken
// on purpose an edge goes on with what it knew last: then it may happen.
func requests(from Requests, faults int) Check {
	c := from.Report()
	said := fmt.Sprintf("%d, of them %d failed; %d retries, %d to the wrong machine, %d to stopped machines",
		c.Requests, c.Errors, c.Retries, c.WrongMachine, c.StoppedMachine)
	if why := from.Failure(); why != "" {
		said += "; the first that failed: " + why
	}
	if faults > 0 || c.WrongMachine == 0 && c.StoppedMachine == 0 {
		return verdict("edge requests", nil, said)
	}
	return verdict("edge requests", append([]string{said}, from.Mistakes()...), "")
}

// catalog checks the endpoints of every app in one catalog.
func (r *round) catalog(name string, from Catalog) Check {
	var differs []string
	routable := r.truth.Routable()
	want := map[fleet.App]truth.Snapshot{}
	for _, m := range routable {
		want[m.App] = append(want[m.App], m)
	}
	apps := r.apps()
	for _, app := range apps {
		from.Watch(string(app)) // one that is watched already stays so
		view, ok := from.Lookup(string(app))
		if !ok {
			differs = append(differs, fmt.Sprintf("app %s is not known yet", app))
			continue
		}
		var got []truth.Machine
		for _, e := range view.Endpoints {
			got = append(got, truth.Machine{
				Place: truth.Place{Region: fleet.Region(e.Region), Worker: fleet.Worker(e.Worker)},
				ID:    fleet.MachineID(e.Machine), App: app,
			})
			if e.Suspect || e.Contested {
				differs = append(differs, fmt.Sprintf("app %s: %s/%s/%s is suspect or contested", app, e.Region, e.Worker, e.Machine))
			}
		}
		if d := want[app].Diff(got); d != "" {
			differs = append(differs, fmt.Sprintf("app %s: %s", app, d))
		}
		if !view.Complete {
			differs = append(differs, fmt.Sprintf("app %s is not complete", app))
		}
	}
	if len(differs) > truth.MaxDifferences {
		differs = append(differs[:truth.MaxDifferences], fmt.Sprintf("and %d more", len(differs)-truth.MaxDifferences))
	}
	return verdict(name, differs, fmt.Sprintf("%d endpoints of %d apps", len(routable), len(apps)))
}
