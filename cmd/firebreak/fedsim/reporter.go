package fedsim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/sim"
	"github.com/firebreak-dev/firebreak/region/report"
)

// Times of the report path.
const (
	pathEvery  = 250 * time.Millisecond // cores are ticked so often
	tokenEvery = 8                      // of those ticks
	fitAfter   = 3 * time.Second        // of a start
)

// generation is every region's.
var generation = presence.Generation{Number: 1, Bits: 1}

// reporter drives the report core of one start of a region's node, which is a
// gateway as all are. What it counts as machines are the rows of things that its
// store shows: their id is the app.
type reporter struct {
	proc  *process
	core  *report.Core
	began time.Duration
	links []*sim.Session // by global node; nil: none
}

func newReporter(p *process) *reporter {
	n := len(p.fed.globals())
	return &reporter{
		proc: p, began: p.fed.world.Now(), links: make([]*sim.Session, n),
		core: report.New(report.Config{
			Fleet: fleetName, Region: fleet.Region(p.cluster), Node: fleet.Worker(p.name), Boot: p.lanes[0].known.Boot, Generation: generation, Globals: n,
		}),
	}
}

func (o *reporter) now() report.Instant {
	return report.Instant{Mono: o.proc.fed.world.Now(), Wall: o.proc.wall().UnixMilli()}
}

// tick is one turn: sessions, what the region has, and what follows.
func (o *reporter) tick() {
	w := o.proc.fed.world
	for i, g := range o.proc.fed.globals() {
		o.link(i, g)
	}
	o.look()
	o.flush()
	w.At(w.Now()+pathEvery, o.proc.life, o.tick)
}

// link keeps a session with a global node that can be reached.
func (o *reporter) link(i int, g *process) {
	if s := o.links[i]; s != nil && s.Broken() {
		o.links[i] = nil
		o.core.Step(o.now(), report.Connected{Global: i})
	}
	if o.links[i] != nil || !g.up() {
		return
	}
	s := o.proc.fed.net.Session(string(o.proc.name), string(g.name), o.proc.life, g.life, sim.Flow{Subject: o.proc.cluster, Class: "report"})
	if s.Broken() {
		return
	}
	o.links[i] = s
	o.core.Step(o.now(), report.Connected{Global: i, Up: true})
	g.lane(o.proc.cluster).directory.welcome(o, i, s)
}

// fit reports whether this node has what others had. One that is not may lack
// rows.
func (o *reporter) fit() bool {
	r := o.proc.lanes[0]
	if o.proc.fed.world.Now() < o.began+fitAfter || r.few {
		return false
	}
	s := r.core.Stats()
	for _, p := range s.Peers {
		if p.Behind > 0 {
			return false
		}
	}
	return s.Gaps == 0
}

// look tells the core what the region has and who could report.
func (o *reporter) look() {
	m := report.Members{Fit: o.fit()}
	for _, p := range append(o.proc.peers(), o.proc) {
		if p == o.proc && m.Fit || p != o.proc && p.up() && o.proc.conns[p.name] != nil && p.reporter.fit() {
			m.Candidates = append(m.Candidates, fleet.Worker(p.name))
			m.Gateways = append(m.Gateways, gateway(string(p.name)))
		}
	}
	// Who becomes fit has the rows first; who is no longer loses its word first.
	if m.Fit {
		o.core.Step(o.now(), o.counts())
		o.core.Step(o.now(), m)
		return
	}
	o.core.Step(o.now(), m)
	o.core.Step(o.now(), o.counts())
}

func (o *reporter) counts() report.Counts {
	n := map[fleet.App]int{}
	for at := range o.proc.lanes[0].seen.shown {
		if app := o.proc.lanes[0].realm.appOf(at); app != "" {
			n[app]++
		}
	}
	out := report.Counts{}
	for _, app := range slices.Sorted(maps.Keys(n)) {
		out = append(out, report.Count{App: app, N: n[app]})
	}
	return out
}

// appOf returns the app that a row of things stands for, empty for other rows.
func (m *realm) appOf(at place) fleet.App {
	if at.table != m.ids[owned] {
		return ""
	}
	row, err := at.key.Columns()
	if err != nil || len(row) != 2 || row[1].Type != record.Text {
		return ""
	}
	return fleet.App(row[1].Data)
}

// hear takes the word of a global node.
func (o *reporter) hear(in report.Input) {
	if token, ok := in.(report.Token); ok {
		if !o.fit() {
			return
		}
		o.look()
		token.Withheld = uint64(len(o.proc.lanes[0].seen.held))
		in = token
	}
	o.core.Step(o.now(), in)
	o.flush()
}

// flush sends what the core wants sent.
func (o *reporter) flush() {
	for _, m := range o.core.Ready() {
		o.proc.lanes[0].note("report", []byte(fmt.Sprint(m.Global, m.Presence, m.Region, m.Confirmation)))
		s := o.links[m.Global]
		if s == nil {
			continue
		}
		d := o.proc.fed.globals()[m.Global].lane(o.proc.cluster).directory
		s.Send(false, func() { d.offered(o, m, s) })
	}
}
