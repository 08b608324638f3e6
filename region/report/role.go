package report

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
)

// mode is what this node may tell.
type mode int

const (
	standby mode = iota // nothing
	raise               // that there is more: no gateway of the region is fit, and an index without false negatives must not wait for one
	full                // everything
)

// mode says which part is this node's now.
func (c *Core) mode(now Instant) mode {
	if now.Mono < c.yieldUntil || !c.manned {
		return standby
	}
	if len(c.members.Candidates) == 0 {
		return raise
	}
	place := slices.Index(c.turn(), c.cfg.Node)
	switch {
	case place < 0 || !c.members.Fit:
		return standby
	case place == 0 || c.acting:
		return full
	}
	return standby
}

// turn returns the candidates in the order in which they report.
func (c *Core) turn() []fleet.Worker {
	return presence.Rendezvous(c.cfg.Region, c.members.Candidates)
}

// watchConfirmed decides on taking over and on being relieved, by what global
// shows.
func (c *Core) watchConfirmed(now Instant) {
	connected, confirmed := c.confirmed()
	others := slices.DeleteFunc(confirmed, func(w fleet.Worker) bool { return w == c.cfg.Node })
	if !connected || len(others) > 0 {
		c.empty = false
	} else if !c.empty {
		c.empty, c.emptySince = true, now.Mono
	}
	turn := c.turn()
	place := slices.Index(turn, c.cfg.Node)
	if place < 0 || !c.members.Fit || now.Mono < c.yieldUntil {
		c.acting = false
		return
	}
	if slices.ContainsFunc(turn[:place], func(w fleet.Worker) bool { return slices.Contains(others, w) }) {
		c.acting = false // a better placed one is confirmed
		return
	}
	if c.empty && len(others) == 0 && now.Mono-c.emptySince >= Takeover*time.Duration(place) {
		c.acting = true
	}
}

// confirmed returns which reporters any connected global node shows confirmed.
func (c *Core) confirmed() (connected bool, all []fleet.Worker) {
	for i := range c.globals {
		if g := &c.globals[i]; g.up && g.whole {
			connected = true
			all = append(all, g.confirmed...)
		}
	}
	slices.Sort(all)
	return connected, slices.Compact(all)
}

// disputed reports whether another reporter than this one is confirmed.
func (c *Core) disputed() bool {
	_, all := c.confirmed()
	return slices.ContainsFunc(all, func(w fleet.Worker) bool { return w != c.cfg.Node })
}

// chooseIngress stays with the global node that takes the reports, or finds
// the next that is connected and has not refused lately. Regions begin at
// different nodes.
func (c *Core) chooseIngress(now Instant) bool {
	good := func(i int) bool {
		g := &c.globals[i]
		if g.inFlight > 0 && now.Mono-g.answered > patience {
			g.inFlight, g.avoid = 0, now.Mono+Penalty
		}
		return g.up && g.whole && now.Mono >= g.avoid
	}
	if c.ingress >= 0 && good(c.ingress) {
		return true
	}
	c.leaveIngress()
	n := len(c.globals)
	for i := range n {
		if at := (int(c.hasher.App("ingress").Lo%uint64(n)) + i) % n; good(at) {
			c.ingress = at
			return true
		}
	}
	return false
}

// leaveIngress forgets what was sent and not shown.
func (c *Core) leaveIngress() {
	if c.ingress < 0 {
		return
	}
	c.ingress = -1
	for _, a := range c.order {
		a.sent, a.differs = sent{}, -1
	}
}

// refused notes what became of a report.
func (c *Core) refused(now Instant, in Refused) {
	g := c.global(in.Global)
	if g == nil {
		return
	}
	switch a := c.apps[in.App]; in.Code {
	case Lost:
		c.noteStamp(c.cfg.Generation, in.Winning)
		if a != nil {
			a.sent, a.wait = sent{}, now.Mono+again
		}
		if in.App == "" {
			g.recSent, g.recWait = nil, now.Mono+again
		}
	case BadRecord:
		c.alarm = fmt.Sprintf("global refuses the report of app %q: %s", in.App, in.Reason)
		if a != nil {
			a.sent, a.wait = sent{}, now.Mono+2*Yield
		}
	default:
		c.refusedBy(now, in)
	}
}

// refusedBy leaves a node that refuses, and yields once two did (or all).
func (c *Core) refusedBy(now Instant, in Refused) {
	c.globals[in.Global].avoid = now.Mono + Penalty
	if !slices.Contains(c.refusals, in.Global) {
		c.refusals = append(c.refusals, in.Global)
	}
	c.alarm = "global refuses the region's reports: " + in.Reason
	if len(c.refusals) >= min(2, len(c.globals)) {
		c.refusals, c.yieldUntil = nil, now.Mono+Yield<<min(c.yields, 4)
		c.yields++
	}
}

func compareGateways(a, b presence.Gateway) int {
	return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Address, b.Address))
}
