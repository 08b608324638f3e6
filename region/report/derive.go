package report

import (
	"slices"

	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
)

// derive sends the ingress what differs there from what the region's rows say,
// as far as it is time for it.
func (c *Core) derive(now Instant, m mode) {
	g := &c.globals[c.ingress]
	lower := m == full && !c.disputed()
	c.deriveRegion(now, g, lower)
	var up, down []*app
	for _, a := range c.order {
		held, ours := c.held(g, a)
		switch {
		case !c.settle(now, a, held, ours):
		case a.want == 0 && lower:
			down = append(down, a)
		case a.want > held || a.want > 0 && (lower || !ours):
			up = append(up, a)
		}
	}
	slices.SortFunc(down, func(x, y *app) int {
		return presence.CompareOrder(x.term, y.term, string(x.name), string(y.name))
	})
	for _, a := range down {
		if a.offer == 0 {
			a.offer = c.drawStamp(now)
		}
	}
	c.send(now, g, append(up, down...))
}

// held returns the class that g shows, and whether its record is of this
// generation.
func (c *Core) held(g *global, a *app) (class presence.Class, ours bool) {
	r := g.own[a.name]
	return r.Class, r.Rank.Generation == c.cfg.Generation
}

// settle reports whether it is time to send what is wanted of a in place of
// what is held.
func (c *Core) settle(now Instant, a *app, held presence.Class, ours bool) bool {
	if a.want == held && (ours || held == 0) {
		a.differs, a.offer, a.sent = -1, 0, sent{}
		return false
	}
	if a.differs < 0 {
		a.differs = now.Mono
	}
	if a.want > 0 {
		a.offer = 0
	}
	if now.Mono < a.wait {
		return false
	}
	if s := a.sent; s.live && s.record.Class == a.want {
		wait := Resend
		if a.want == 0 {
			wait = Sweep
		}
		return now.Mono-s.at >= wait
	}
	if held == 0 || !ours && a.want > 0 || now.Mono-a.since >= Hold {
		return true
	}
	return a.want > 0 && now.Mono-a.differs >= Sweep
}

// send puts the wanted records of apps into batches, as many as the ingress
// may have unanswered. The rest keeps its turn.
func (c *Core) send(now Instant, g *global, apps []*app) {
	for batch := range slices.Chunk(apps, Batch) {
		if g.inFlight >= maxInFlight {
			return
		}
		m := Message{Global: c.ingress}
		for _, a := range batch {
			m.Presence = append(m.Presence, c.record(now, g, a))
		}
		c.emit(now, g, m)
	}
}

// record returns the record to send of a: the one sent before if it says the
// same, else one stamped above every stamp seen.
func (c *Core) record(now Instant, g *global, a *app) presence.Record {
	if s := &a.sent; s.live && s.record.Class == a.want && s.record.Rank.Stamp > g.own[a.name].Rank.Stamp {
		s.at = now.Mono
		return s.record
	}
	r := presence.Record{Region: c.cfg.Region, App: a.name, Class: a.want, Rank: c.rank(now)}
	if a.want == 0 {
		r.Since = int64(a.offer)
	}
	a.sent = sent{record: r, at: now.Mono, live: true}
	a.differs = now.Mono // the sweep counts from here
	return r
}

func (c *Core) rank(now Instant) presence.Rank {
	return presence.Rank{Generation: c.cfg.Generation, Stamp: c.drawStamp(now), Reporter: c.cfg.Node}
}

// emit sends what g answers.
func (c *Core) emit(now Instant, g *global, m Message) {
	if g.inFlight == 0 {
		g.answered = now.Mono
	}
	g.inFlight++
	c.out = append(c.out, m)
}

// deriveRegion sends what the region says of itself. Two reporters with
// different configuration must not outbid each other: only a missing record is
// sent while it is disputed.
func (c *Core) deriveRegion(now Instant, g *global, sure bool) {
	want := c.region()
	if g.region != nil && g.region.Rank.Generation == c.cfg.Generation && (want.SameContent(*g.region) || !sure) {
		g.recSent = nil
		return
	}
	if now.Mono < g.recWait && (g.recSent == nil || want.SameContent(*g.recSent)) || g.inFlight >= maxInFlight {
		return
	}
	want.Rank = c.rank(now)
	g.recSent, g.recWait = &want, now.Mono+Resend
	c.emit(now, g, Message{Global: c.ingress, Region: &want})
}

// region returns what the region says of itself, without a rank.
func (c *Core) region() presence.Region {
	return presence.Region{
		Name: c.cfg.Region, Gateways: c.members.Gateways, Locality: c.members.Locality, SchemaHash: c.members.SchemaHash,
	}
}

// confirm answers a token, if this node reports and knows what that global
// node holds.
func (c *Core) confirm(now Instant, in Token) {
	g := c.global(in.Global)
	if g == nil || !g.up || !g.whole || !c.counted || c.mode(now) != full {
		return
	}
	digest, offered := c.digest(g)
	c.out = append(c.out, Message{Global: in.Global, Confirmation: &Confirmation{
		Region: c.cfg.Region, Generation: c.cfg.Generation, Reporter: c.cfg.Node, Boot: c.cfg.Boot,
		Token: in.Token, Digest: digest, Offered: offered, Withheld: in.Withheld, AgeMs: in.AgeMs,
	}})
}

// digest sums every app that has a claim, and every one that g shows present:
// it is inside its hold, or its withdrawal is offered and not admitted. So a
// router with an equal sum lacks no app that this region has.
func (c *Core) digest(g *global) (sum presence.Digest, offered int) {
	sum = c.hasher.Region(c.region())
	for _, a := range c.order {
		held, _ := c.held(g, a)
		if a.want > 0 || held > 0 {
			sum = sum.Add(a.term)
		}
		if held > 0 && a.offer > 0 {
			offered++
		}
	}
	return sum, offered
}
