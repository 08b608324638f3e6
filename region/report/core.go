package report

import (
	"math"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
)

// Core decides. It is a value driven by Step and Tick; Ready hands over what
// is to be sent. Not safe for concurrent use.
type Core struct {
	cfg    Config
	hasher *presence.Hasher

	// The region, as last told.
	apps    map[fleet.App]*app
	order   []*app // by name
	round   uint64 // of the last Counts
	members Members
	counted bool // Counts were told
	manned  bool // Members were

	// The global nodes.
	globals []global
	ingress int // -1 for none

	// This node's part.
	acting     bool // took over and was not relieved
	emptySince time.Duration
	empty      bool // global shows no confirmed reporter, since emptySince
	stamp      uint64
	drawn      bool   // stamp is of this Tick
	seen       uint64 // the highest stamp known of this region
	refusals   []int  // global nodes that refused since the last acceptance
	yields     int    // in a row: each is twice as long as the one before
	yieldUntil time.Duration
	alarm      string

	out []Message
}

// app is what is known of one app in this region. Apps that global has a
// record of, and nothing else, are among them.
type app struct {
	name    fleet.App
	term    presence.Digest
	count   int
	round   uint64 // of the Counts that named it
	want    presence.Class
	since   time.Duration // when want became what it is
	differs time.Duration // when want began to differ from what the ingress holds; -1 while it does not
	offer   uint64        // stamp with which its withdrawal was first offered; zero for none
	wait    time.Duration // do not send before
	sent    sent
}

// sent is what the ingress was last sent and does not show yet.
type sent struct {
	record presence.Record
	at     time.Duration
	live   bool
}

// global is one global node as seen from here.
type global struct {
	up, whole bool // connected; told everything
	own       map[fleet.App]presence.Record
	region    *presence.Region
	next      map[fleet.App]presence.Record // a full report that is not complete yet
	nextRec   *presence.Region
	confirmed []fleet.Worker
	inFlight  int           // messages without answer
	answered  time.Duration // the last answer, or the first message that waits for one
	avoid     time.Duration // do not use as ingress before
	recSent   *presence.Region
	recWait   time.Duration // do not send it again before
}

// New returns the Core of a gateway that knows nothing yet.
func New(cfg Config) *Core {
	return &Core{
		cfg:     cfg,
		hasher:  presence.NewHasher(cfg.Fleet, cfg.Region),
		apps:    map[fleet.App]*app{},
		globals: make([]global, cfg.Globals),
		ingress: -1,
	}
}

// Step takes one input.
func (c *Core) Step(now Instant, in Input) {
	switch in := in.(type) {
	case Counts:
		c.setCounts(now, in)
	case Members:
		if in.Fit && !c.members.Fit {
			c.holdAgain(now)
		}
		c.members, c.manned = in, true
		c.members.Gateways = slices.Clone(in.Gateways)
		slices.SortFunc(c.members.Gateways, compareGateways)
		c.members.Gateways = c.members.Gateways[:min(len(c.members.Gateways), presence.MaxGateways)]
	case Connected:
		if g := c.global(in.Global); g != nil {
			*g = global{up: in.Up, avoid: g.avoid}
			if in.Global == c.ingress {
				c.leaveIngress()
			}
		}
	case Own:
		c.setOwn(now, in)
	case Accepted:
		if g := c.global(in.Global); g != nil {
			g.inFlight, g.answered = max(0, g.inFlight-1), now.Mono
			if in.N > 0 {
				c.refusals, c.yields, c.alarm = nil, 0, ""
			}
		}
	case Refused:
		c.refused(now, in)
	case Token:
		c.Tick(now) // who reports is judged first
		c.confirm(now, in)
		return
	}
	c.Tick(now)
}

// Tick lets time pass. Call it at least four times a second.
func (c *Core) Tick(now Instant) {
	c.watchConfirmed(now)
	mode := c.mode(now)
	if mode == standby || !c.counted || !c.chooseIngress(now) {
		return
	}
	c.drawn = false
	c.derive(now, mode)
}

// Ready returns what is to be sent, in order, and forgets it.
func (c *Core) Ready() []Message {
	out := c.out
	c.out = nil
	return out
}

// Active reports whether this node reports for its region.
func (c *Core) Active(now Instant) bool { return c.mode(now) == full }

// Alarm says why nothing is taken from this node; empty if it is.
func (c *Core) Alarm() string { return c.alarm }

func (c *Core) global(i int) *global {
	if i < 0 || i >= len(c.globals) {
		return nil
	}
	return &c.globals[i]
}

// holdAgain begins every hold anew: what a node that was not fit lacked may
// only have been on its way.
func (c *Core) holdAgain(now Instant) {
	for _, a := range c.order {
		a.since = now.Mono
	}
}

func (c *Core) setCounts(now Instant, counts Counts) {
	c.counted = true
	c.round++
	for _, n := range counts {
		if n.N <= 0 {
			continue
		}
		if a := c.app(now, n.App); a.round != c.round {
			a.round, a.count = c.round, n.N
		}
	}
	for _, a := range c.order {
		if a.round != c.round {
			a.count = 0
		}
		if want := presence.ClassOf(a.count); want != a.want {
			a.want, a.since = want, now.Mono
		}
	}
}

// app returns the entry of a name, a new one if need be. That the region has
// none of a new one is known from now on: a core that starts holds too.
func (c *Core) app(now Instant, name fleet.App) *app {
	if a := c.apps[name]; a != nil {
		return a
	}
	a := &app{name: name, term: c.hasher.App(name), since: now.Mono, differs: -1}
	c.apps[name] = a
	i, _ := slices.BinarySearchFunc(c.order, name, func(a *app, name fleet.App) int {
		if a.name < name {
			return -1
		}
		return 1
	})
	c.order = slices.Insert(c.order, i, a)
	return a
}

// setOwn takes what a global node holds. A node that says nonsense of another
// region is not believed in that.
func (c *Core) setOwn(now Instant, in Own) {
	g := c.global(in.Global)
	if g == nil || !g.up {
		return
	}
	if in.Full && g.next == nil {
		g.next, g.nextRec = map[fleet.App]presence.Record{}, nil
	}
	rows, rec := g.own, &g.region
	if g.next != nil {
		rows, rec = g.next, &g.nextRec
	}
	if rows == nil {
		return // changes before the whole
	}
	for _, r := range in.Presence {
		if r.Check() != nil || r.Region != c.cfg.Region {
			continue
		}
		rows[r.App] = r
		c.app(now, r.App)
		c.noteStamp(r.Rank.Generation, r.Rank.Stamp)
	}
	if in.Region != nil && in.Region.Check() == nil && in.Region.Name == c.cfg.Region {
		*rec = in.Region
		c.noteStamp(in.Region.Rank.Generation, in.Region.Rank.Stamp)
	}
	if !in.Last {
		return
	}
	if g.next != nil {
		g.own, g.region, g.next, g.nextRec, g.whole = g.next, g.nextRec, nil, nil, true
	}
	g.confirmed = in.Confirmed
}

// noteStamp keeps stamps above every one seen in this generation. What no
// honest count ever reaches is not counted on from.
func (c *Core) noteStamp(g presence.Generation, stamp uint64) {
	if g == c.cfg.Generation && stamp < math.MaxInt64>>8 {
		c.seen = max(c.seen, stamp)
	}
}

// drawStamp returns a stamp above every one given or seen, and at least the
// wall. Records derived together share it, so that many of them do not run
// ahead of the wall.
func (c *Core) drawStamp(now Instant) uint64 {
	if !c.drawn {
		c.stamp, c.drawn = max(uint64(max(now.Wall, 1)), c.stamp+1, c.seen+1), true
	}
	return c.stamp
}
