package fedsim

import (
	"fmt"
	"slices"

	global "github.com/firebreak-dev/firebreak/global/directory"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/sim"
	"github.com/firebreak-dev/firebreak/router/directory"
	"github.com/firebreak-dev/firebreak/router/plan"
)

// router drives the copies of one router: it follows one global node, the first
// that it can reach, a session for each region.
type router struct {
	fed     *federation
	life    *sim.Life
	regions []*followed // in the order of regions
	turns   int
}

// followed is a router's copy of one region, and where it comes from.
type followed struct {
	name    fleet.Region
	region  *directory.Region
	session *sim.Session // nil: none
	from    *process
	trace   sim.Trace
}

const routerName = "router"

func newRouter(f *federation) *router {
	t := &router{fed: f, life: &sim.Life{}}
	for i := range f.opts.Regions {
		name := fleet.Region(fmt.Sprintf("r%d", i))
		t.regions = append(t.regions, &followed{name: name, region: directory.NewRegion(fleetName, name, t.now())})
	}
	return t
}

func (t *router) now() directory.Instant {
	now := t.fed.world.Now()
	return directory.Instant{Wall: epoch.Add(now + t.fed.passed).UnixNano(), Mono: now}
}

func (t *router) tick() {
	t.turns++
	for _, c := range t.regions {
		if c.session != nil && c.session.Broken() {
			c.session = nil
		}
		if c.session == nil {
			t.follow(c)
		}
		if c.session != nil && t.turns%tokenEvery == 0 {
			t.ask(c)
		}
		c.region.Trim(t.now())
	}
	w := t.fed.world
	w.At(w.Now()+pathEvery, t.life, t.tick)
}

// follow finds a global node for a region.
func (t *router) follow(c *followed) {
	for _, g := range t.fed.globals() {
		if !g.up() {
			continue
		}
		s := t.fed.net.Session(routerName, string(g.name), t.life, g.life, sim.Flow{Subject: string(c.name), Class: "directory"})
		if s.Broken() {
			continue
		}
		c.session, c.from = s, g
		d := g.lane(string(c.name)).directory
		d.watches = append(d.watches, &watch{session: s})
		return
	}
}

func (t *router) of(region string) *followed {
	for _, c := range t.regions {
		if string(c.name) == region {
			return c
		}
	}
	return nil
}

// send brings entries of a directory: all of it first.
func (t *router) send(d *ledger, w *watch, entries []global.Entry, first bool) {
	c := t.of(d.replica.realm.lane)
	source := string(d.replica.proc.name)
	w.session.Send(true, func() {
		if first {
			c.region.Begin(source, false)
		}
		for _, e := range entries {
			c.region.Merge(copied(c.name, e), t.now())
			t.note(c, "entry", fmt.Sprint(e.Presence, e.Region, []byte(e.Rank), e.Held))
		}
		if first {
			c.region.Synced(len(t.fed.globals()), t.now())
		}
	})
}

// ask asks whether what is held of a region still holds.
func (t *router) ask(c *followed) {
	sent, s := t.now(), c.session
	d := c.from.lane(string(c.name)).directory
	s.Send(false, func() {
		all := d.core.Confirmations(d.now())
		s.Send(true, func() {
			for _, a := range all {
				c.region.Confirm(directory.Confirmation{
					Region: c.name, Generation: a.Generation, Reporter: a.Reporter, Digest: a.Digest, Algorithm: presence.DigestAlgorithm,
					Withheld: a.Withheld, At: sent.Add(-a.Age),
				}, t.now())
				t.note(c, "confirmation", fmt.Sprint(a))
			}
		})
	})
}

func (t *router) note(c *followed, what, text string) {
	t.fed.world.Note(what, routerName+"/"+string(c.name), []byte(text))
	c.trace.Note(t.fed.world.Now(), what, "", []byte(text))
}

// wrong says what of an app the router would not answer as it is, if anything.
// What the brake holds is shown as there, and the region's word counts it in:
// with a mark at the global node that judged it, without one at others.
func (t *router) wrong(app fleet.App, machines func(fleet.Region) int) error {
	var all []directory.Standing
	for _, c := range t.regions {
		s := c.region.Standing(app, t.now())
		all = append(all, s)
		want := presence.ClassOf(machines(c.name))
		state, braked := s.Part.State, s.Held || t.fed.braked(c.name, app)
		switch {
		case want > 0 && s.MayPrune(), want == 0 && state == coverage.Live && !braked:
			return fmt.Errorf("%s has %s, of class %d, as %v", c.name, app, want, state)
		case braked:
		case s.Class != want:
			return fmt.Errorf("%s has %s as class %d, want %d", c.name, app, s.Class, want)
		case want > 0 && state != coverage.Live, want == 0 && !s.MayPrune():
			return fmt.Errorf("%s has %s, of class %d, as %v", c.name, app, want, state)
		}
	}
	asked := plan.ForApp(all).Ask
	for _, c := range t.regions {
		if machines(c.name) > 0 && !slices.Contains(asked, c.name) {
			return fmt.Errorf("%s runs %s and is not asked", c.name, app)
		}
	}
	return nil
}
