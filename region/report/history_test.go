package report_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/global/directory"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/region/report"
)

// history is a region with three gateways and two global nodes, their cores
// alone, under restarts, lost sessions, unfit nodes and slow gossip.
type history struct {
	t    *testing.T
	seed uint64
	rand *rand.Rand
	mono time.Duration

	counts   map[fleet.App]int
	none     map[fleet.App]time.Duration // since when an app has no claim
	gateways []*gateway
	globals  []*directory.Core
	version  uint64
	gossip   []func() // rows on their way between the global nodes
	quiet    bool     // no faults any more
	sent     int      // presence and region messages, since it was last cleared
}

type gateway struct {
	name fleet.Worker
	core *report.Core
	fit  bool
	up   []bool
	seq  []uint64
	told []uint64
}

var historyApps = []fleet.App{"a", "b", "c", "d", "e", "f", "g", "h"}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{t: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), counts: map[fleet.App]int{}, none: map[fleet.App]time.Duration{}}
	for range 2 {
		c := directory.New(directory.Config{Fleet: "test", Region: "iad"})
		c.PutGeneration(generation, "1")
		h.globals = append(h.globals, c)
	}
	for i := range 3 {
		g := &gateway{name: fleet.Worker(fmt.Sprintf("n%d", i)), fit: true}
		h.gateways = append(h.gateways, g)
		h.restart(g)
	}
	return h
}

// restart gives a gateway a core that knows nothing.
func (h *history) restart(g *gateway) {
	g.core = report.New(report.Config{Fleet: "test", Region: "iad", Node: g.name, Boot: uint64(h.mono), Generation: generation, Globals: len(h.globals)})
	g.up, g.seq, g.told = make([]bool, len(h.globals)), make([]uint64, len(h.globals)), make([]uint64, len(h.globals))
}

func (h *history) now() report.Instant {
	return report.Instant{Mono: h.mono, Wall: 1_700_000_000_000 + h.mono.Milliseconds()}
}

func (h *history) there() directory.Instant { return directory.Instant(h.now()) }

func (h *history) fatalf(format string, args ...any) {
	h.t.Helper()
	h.t.Fatalf("seed %d at %v: %s", h.seed, h.mono, fmt.Sprintf(format, args...))
}

// step is a quarter of a second.
func (h *history) step() {
	h.mono += 250 * time.Millisecond
	if !h.quiet {
		h.fault()
	}
	for len(h.gossip) > 0 && (h.quiet || h.rand.IntN(3) == 0) {
		h.gossip[0]()
		h.gossip = h.gossip[1:]
	}
	for _, c := range h.globals {
		c.Tick(h.there())
	}
	for _, g := range h.gateways {
		h.drive(g)
	}
}

func (h *history) fault() {
	g := h.gateways[h.rand.IntN(len(h.gateways))]
	switch h.rand.IntN(40) {
	case 0:
		h.restart(g)
	case 1:
		g.fit = !g.fit
	case 2:
		i := h.rand.IntN(len(h.globals))
		g.up[i] = false
		g.core.Step(h.now(), report.Connected{Global: i})
	case 3, 4, 5, 6, 7, 8:
		app := historyApps[h.rand.IntN(len(historyApps))]
		n := h.rand.IntN(10) * h.rand.IntN(2)
		if n == 0 && h.counts[app] > 0 {
			h.none[app] = h.mono
		}
		h.counts[app] = n
	}
}

// drive gives a gateway its view and the global nodes' words, and carries what
// it sends.
func (h *history) drive(g *gateway) {
	var candidates []fleet.Worker
	for _, o := range h.gateways {
		if o.fit {
			candidates = append(candidates, o.name)
		}
	}
	s := self()
	counts := report.Counts{}
	for _, app := range historyApps {
		if n := h.counts[app]; n > 0 && (g.fit || app < "d") { // one that is not fit lacks rows
			counts = append(counts, report.Count{App: app, N: n})
		}
	}
	members := report.Members{Fit: g.fit, Candidates: candidates, Gateways: s.Gateways, Locality: s.Locality, SchemaHash: s.SchemaHash}
	if g.fit { // whoever becomes fit has the rows first; whoever is no longer loses its word first
		g.core.Step(h.now(), counts)
		g.core.Step(h.now(), members)
	} else {
		g.core.Step(h.now(), members)
		g.core.Step(h.now(), counts)
	}
	for i, c := range h.globals {
		if !g.up[i] {
			if h.quiet || h.rand.IntN(8) == 0 {
				g.up[i], g.seq[i], g.told[i] = true, 0, 0
				g.core.Step(h.now(), report.Connected{Global: i, Up: true})
				g.core.Step(h.now(), h.own(g, i, true))
			}
			continue
		}
		if c.Seq() != g.seq[i] || c.Told() != g.told[i] {
			g.core.Step(h.now(), h.own(g, i, false))
		}
		if h.mono%(2*time.Second) == 0 {
			g.core.Step(h.now(), report.Token{Global: i, Token: uint64(h.mono)})
		}
	}
	for _, m := range g.core.Ready() {
		h.carry(g, m)
	}
}

func (h *history) own(g *gateway, i int, whole bool) report.Own {
	c := h.globals[i]
	in := report.Own{Global: i, Full: whole, Last: true, Confirmed: c.Confirmed(h.there())}
	for _, e := range c.After(g.seq[i], 1000) {
		if e.Presence != nil {
			in.Presence = append(in.Presence, *e.Presence)
		}
		if e.Region != nil {
			in.Region = e.Region
		}
	}
	g.seq[i], g.told[i] = c.Seq(), c.Told()
	return in
}

func (h *history) carry(g *gateway, m report.Message) {
	if !g.up[m.Global] {
		return // lost with its session
	}
	c := h.globals[m.Global]
	var v directory.Verdict
	switch {
	case m.Confirmation != nil:
		h.confirm(c, *m.Confirmation)
		return
	case m.Region != nil:
		v = c.JudgeRegion(h.there(), g.name, *m.Region)
	default:
		h.checkWithdrawals(g, m.Presence)
		v = c.Judge(h.there(), g.name, m.Presence)
	}
	h.sent++
	h.version++
	for _, r := range v.Write {
		h.everywhere(m.Global, func(c *directory.Core, tail uint64) { c.Put(r, rankBytes(r.Rank, tail)) })
	}
	if v.Region != nil {
		h.everywhere(m.Global, func(c *directory.Core, tail uint64) { c.PutRegion(*v.Region, rankBytes(v.Region.Rank, tail)) })
	}
	for _, r := range v.Refused {
		g.core.Step(h.now(), report.Refused{Global: m.Global, App: r.App, Code: report.Code(r.Code), Winning: r.Winning, Reason: r.Reason})
	}
	g.core.Step(h.now(), report.Accepted{Global: m.Global, N: v.Taken()})
}

// everywhere applies a write at its ingress now, at the other later.
func (h *history) everywhere(ingress int, put func(*directory.Core, uint64)) {
	version := h.version
	for i, c := range h.globals {
		if i == ingress {
			put(c, version)
			continue
		}
		h.gossip = append(h.gossip, func() { put(c, version) })
	}
}

func rankBytes(r presence.Rank, tail uint64) string {
	b := binary.BigEndian.AppendUint64(nil, r.Generation.Number)
	b = binary.BigEndian.AppendUint64(b, r.Generation.Bits)
	b = binary.BigEndian.AppendUint64(b, r.Stamp)
	return string(b) + string(r.Reporter) + string(binary.BigEndian.AppendUint64([]byte{0}, tail))
}

// checkWithdrawals: nothing is withdrawn by a node that is not fit, nor while
// the region has it or had it within the hold.
func (h *history) checkWithdrawals(g *gateway, records []presence.Record) {
	for _, r := range records {
		if r.Class > 0 {
			continue
		}
		if !g.fit {
			h.fatalf("%s is not fit and withdraws %s", g.name, r.App)
		}
		if h.counts[r.App] > 0 {
			h.fatalf("%s withdraws %s, of which there are %d", g.name, r.App, h.counts[r.App])
		}
		if stood := h.mono - h.none[r.App]; h.none[r.App] > 0 && stood < report.Hold-500*time.Millisecond {
			h.fatalf("%s withdraws %s %v after it went", g.name, r.App, stood)
		}
	}
}

// confirm: whoever holds exactly the rows that a confirmation names lacks no
// app that the region has.
func (h *history) confirm(c *directory.Core, in report.Confirmation) {
	hasher := presence.NewHasher("test", "iad")
	sum := presence.Digest{}
	if r, ok := c.Region(); ok {
		sum = hasher.Region(r)
	}
	for _, app := range historyApps {
		if c.Class(app) > 0 {
			sum = sum.Add(hasher.App(app))
		}
	}
	if sum == in.Digest {
		for _, app := range historyApps {
			if h.counts[app] > 0 && c.Class(app) == 0 {
				h.fatalf("%s confirms a directory that lacks %s", in.Reporter, app)
			}
		}
	}
	if err := c.Confirm(h.there(), directory.Confirmation{Generation: in.Generation, Reporter: in.Reporter, Boot: in.Boot, Digest: in.Digest}); err != nil {
		h.fatalf("confirmation refused: %v", err)
	}
}

// settle ends the faults and checks that everything comes right by itself.
func (h *history) settle() {
	h.quiet = true
	for _, g := range h.gateways {
		g.fit = true
	}
	for range 4 * 90 {
		h.step()
	}
	for i, c := range h.globals {
		for _, app := range slices.Sorted(maps.Keys(h.counts)) {
			if got, want := c.Class(app), presence.ClassOf(h.counts[app]); got != want {
				h.fatalf("global %d shows %s as class %d, want %d", i, app, got, want)
			}
		}
		if got := c.Confirmed(h.there()); len(got) != 1 {
			h.fatalf("global %d shows %v confirmed, want one", i, got)
		}
	}
	active := 0
	for _, g := range h.gateways {
		if g.core.Active(h.now()) {
			active++
		}
	}
	if active != 1 {
		h.fatalf("%d reporters are active", active)
	}
	h.sent = 0
	for range 4 * 60 {
		h.step()
	}
	if h.sent > 0 {
		h.fatalf("%d messages were sent with nothing to tell", h.sent)
	}
}

// A report is a function of the region's rows and of what global holds: after
// any history of restarts, lost sessions and unfit nodes it comes out right.
func TestHistoriesEndWithTheTruthAndOneReporter(t *testing.T) {
	histories := 150
	for seed := range uint64(histories) {
		h := newHistory(t, seed)
		for range 4 * 120 {
			h.step()
		}
		h.settle()
	}
}

// What is sent is little more than what changed for longer than the hold.
func TestChurnSendsNoMoreThanWhatOutlivesTheHold(t *testing.T) {
	h := newHistory(t, 1)
	h.quiet = true // no faults: churn alone
	for range 4 * 20 {
		h.step()
	}
	h.sent = 0
	outlived, added, writes := 0, 0, 0
	held, differs := map[fleet.App]presence.Class{}, map[fleet.App]int{}
	for tick := range 4 * 600 {
		for _, app := range historyApps[:3] {
			if h.rand.IntN(30) == 0 { // a deploy: the count moves every 7.5 s or so, and back
				if h.counts[app] = h.rand.IntN(12); h.counts[app] == 0 {
					h.none[app] = h.mono
				}
			}
		}
		before := h.globals[0].Seq()
		h.step()
		writes += int(h.globals[0].Seq() - before)
		for _, app := range historyApps[:3] {
			class := presence.ClassOf(h.counts[app])
			switch {
			case class == held[app]:
				differs[app] = tick
			case held[app] == 0:
				added++
				held[app], differs[app] = class, tick
			case tick-differs[app] >= 20:
				outlived++
				held[app], differs[app] = class, tick
			}
		}
	}
	if floor := outlived + added; writes == 0 || float64(writes) > 1.05*float64(floor)+3 {
		t.Errorf("%d writes for %d transitions that outlived the hold and %d adds", writes, outlived, added)
	}
}
