package fedsim

import (
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/sim"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// reportedWithin is how long it may take, once all are equal, until the router
// knows everything: reporters give way one after another, those that were
// refused wait, and a class stands for its hold.
const reportedWithin = 90 * time.Second

const saysL3 = "the router knows where every app is, and has proof where it is not"

// reports tells whether the report path is played: in every fourth seed, and in
// those that are played without a region too.
func (o Options) reports() bool {
	return o.Path && o.Globals > 0 && (o.Seed%4 == 2 || o.Seed%containedEvery == 3)
}

// globals lists the global nodes.
func (f *federation) globals() []*process { return f.tier }

// startPath begins the report path of a start.
func (p *process) startPath() {
	if !p.fed.opts.reports() {
		return
	}
	if p.cluster != "global" {
		p.reporter = newReporter(p)
		p.reporter.tick()
		return
	}
	for _, r := range p.lanes {
		r.directory.tick()
	}
}

// openLedger reads what a lane's store shows into a directory of its own.
func (r *replica) openLedger(snap store.Snapshot) error {
	r.directory = nil
	if !r.fed().opts.reports() || r.proc.cluster != "global" {
		return nil
	}
	r.directory = newLedger(r)
	for _, table := range []string{presences, selves} {
		err := snap.Scan(table, nil, func(row store.Row, p record.Point, _ int64) error {
			k, err := record.EncodeKey(row[0])
			r.directory.put(place{r.realm.ids[table], k}, row, p)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// routed demands that the router comes to know everything.
func (f *federation) routed() error {
	if f.router == nil || f.opts.Seed%4 != 2 {
		return nil
	}
	began := f.world.Now()
	for f.world.Now() < began+reportedWithin {
		if err := f.world.Run(f.world.Now() + time.Second); err != nil {
			return err
		}
		if f.misrouted() == nil {
			return nil
		}
	}
	return &sim.Violation{ID: "L3", Says: saysL3, Err: fmt.Errorf("%v after all were equal: %w", reportedWithin, f.misrouted())}
}

// misrouted says what the router has wrong, if anything.
func (f *federation) misrouted() error {
	machines := f.machines()
	for _, m := range f.order {
		for at := range m.rows {
			app := m.appOf(at)
			if app == "" || m.lane != "" {
				continue
			}
			if err := f.router.wrong(app, func(r fleet.Region) int { return machines[r][app] }); err != nil {
				return err
			}
		}
	}
	return nil
}

// machines counts those of each region's apps, as its reporter shows them. If
// that withholds rows which others show, its confirmations say so.
func (f *federation) machines() map[fleet.Region]map[fleet.App]int {
	out := map[fleet.Region]map[fleet.App]int{}
	for _, p := range f.all {
		if p.reporter == nil || !p.reporter.core.Active(p.reporter.now()) {
			continue
		}
		of := map[fleet.App]int{}
		for _, c := range p.reporter.counts() {
			of[c.App] = c.N
		}
		out[fleet.Region(p.cluster)] = of
	}
	return out
}

// braked reports whether some global node holds the withdrawal of an app.
func (f *federation) braked(region fleet.Region, app fleet.App) bool {
	return slices.ContainsFunc(f.globals(), func(g *process) bool {
		d := g.lane(string(region)).directory
		return d != nil && slices.Contains(d.core.HeldApps(), app)
	})
}
