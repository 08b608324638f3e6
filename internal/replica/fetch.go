package replica

import (
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
)

const (
	maxWants = 1 << 12  // writers, and ranges, of one want
	maxServe = 4 << 20  // bytes that one want may ask for
	maxOver  = MaxFrame // an answer may go so far over the bytes asked for
)

// fetch asks p for what it has and I lack, or ends the session.
func (c *Core) fetch(p *peer) {
	s := &p.session
	wants, behind, cut := c.missing(p)
	s.behind = behind
	if len(wants) > 0 {
		s.list = ListingWant{} // first what is missing
	}
	if len(wants) == 0 && s.list.Mode == 0 {
		if s.list.Nodes = c.coverable(p); len(s.list.Nodes) == 0 {
			*s = session{}
			return
		}
		s.list.Mode = CatchUp
	}
	if s.list.Mode == Exchange && c.now >= c.soundUntil {
		c.check(p)
		return
	}
	if !c.roomToFetch() {
		s.phase = blocked
		return
	}
	c.nextID++
	s.phase, s.due = fetching, c.now+requestTimeout
	s.partly = cut
	s.end, s.id, s.asked, s.number, s.room, s.taken = c.now+requestBound, c.nextID, wants, 0, c.cfg.Want+maxOver, false
	c.send(p.node, false, appendListingWant(wantFrame(s.id, c.cfg.Want, wants), s.list))
}

// roomToFetch sets aside room in the queue for what was asked for.
func (c *Core) roomToFetch() bool {
	n, bytes := 0, c.queue.bytes+c.cfg.Want
	for _, o := range c.peers {
		if o.session.phase == fetching {
			n++
			bytes += min(o.session.room, c.cfg.Want)
		}
	}
	return n < maxFetches && (bytes <= c.cfg.Queue || n == 0 && c.queue.bytes == 0)
}

// unblock lets sessions go on that waited for room.
func (c *Core) unblock() {
	for _, p := range c.peers {
		if p.session.phase == blocked {
			c.fetch(p)
		}
	}
}

// missing returns what p has and I lack, newest first: neither received, nor
// on its way to the store, nor asked of another peer, nor served malformed by
// this one. Behind counts all that is not received; cut says that some of it is
// left out of wants, for it is too much.
func (c *Core) missing(p *peer) (wants []Want, behind uint64, cut bool) {
	ranges := 0
	for i := len(p.session.sets) - 1; i >= 0; i-- {
		if ranges == maxWants {
			return wants, behind, true
		}
		theirs := p.session.sets[i]
		if c.isOwn(theirs.Writer) || c.bootAhead(theirs.Writer) || theirs.Writer.Boot <= c.book.boots(theirs.Writer.Node).Complete {
			continue
		}
		var have record.Received
		if e := c.book.find(theirs.Writer); e != nil {
			have = e.Received.Union(e.pending)
		}
		if len(have.Gaps) == 0 && have.Head >= theirs.Received.Head {
			continue
		}
		have = c.elsewhere(p, theirs.Writer, have)
		missing := have.Minus(theirs.Received)
		if len(missing) == 0 {
			continue
		}
		for _, g := range missing {
			behind += g.Len()
		}
		if last := &missing[len(missing)-1]; last.To == theirs.Received.Head {
			last.To = ^record.Version(0) // and what came since: it may overtake the others
		}
		slices.Reverse(missing)
		if most := maxWants - ranges; len(missing) > most {
			missing, cut = missing[:most], true
		}
		ranges += len(missing)
		wants = append(wants, Want{theirs.Writer, missing})
	}
	return wants, behind, cut
}

// elsewhere adds to have what is asked of other peers, and what p is shunned
// for.
func (c *Core) elsewhere(p *peer, w record.Writer, have record.Received) record.Received {
	for _, o := range c.peers {
		if o == p || o.session.phase != fetching {
			continue
		}
		for _, a := range o.session.asked {
			if a.Writer == w {
				asked := slices.Clone(a.Ranges)
				slices.Reverse(asked)
				have = have.Union(record.ReceivedOf(asked))
			}
		}
	}
	for _, s := range p.shunned {
		if s.writer == w && s.until > c.now {
			have = have.With(s.rang)
		}
	}
	return have
}

// gotAnswer takes a part of the answer to the request that is out.
func (c *Core) gotAnswer(p *peer, r *reader) {
	id, number, final := r.fixed(), r.byte(), r.byte()&1 != 0
	s := &p.session
	if r.err != nil {
		return
	}
	if s.phase != fetching || s.id != id || number < s.number {
		c.unasked(p)
		return
	}
	if number > s.number {
		// A frame before it was lost. What it brings may have been overtaken by
		// what is missing, so it must not be received yet.
		r.b, final = nil, true
	}
	s.number++
	for _, d := range r.parcels() {
		if s.room -= len(d.bytes); s.room < 0 || !s.wanted(d) {
			c.unasked(p)
			final = true
			break
		}
		taken, err := c.take(p, r, d, true)
		if err != nil {
			r.fail(err)
			p.addShun(shun{d.writer, d.rang, c.now + shunFor}, c.now)
			continue
		}
		if taken {
			s.taken, s.due = true, min(c.now+requestTimeout, s.end)
		}
	}
	if final {
		again := s.taken
		s.phase, s.asked = blocked, nil
		if c.listing == p {
			c.listing = nil
		}
		if !again {
			*s = session{} // it has nothing more for me; the next exchange tells
		}
		c.unblock()
	}
}

// wanted reports whether d lies within what was asked for.
func (s *session) wanted(d parcel) bool {
	for _, w := range s.asked {
		if w.Writer != d.writer {
			continue
		}
		for _, g := range w.Ranges {
			if g.From <= d.rang.From && d.rang.To <= g.To {
				return true
			}
		}
	}
	return false
}

// gotWant has a peer's want answered: one at a time, the newest next.
func (c *Core) gotWant(p *peer, r *reader) {
	id, limit, wants := r.want()
	if r.err != nil {
		return
	}
	list := r.listingWant()
	if r.err != nil {
		return
	}
	c.serve(p, Serve{To: p.node, ID: id, Limit: limit, Wants: wants, Listing: list})
}

// serve has a request answered: one at a time, the newest next.
func (c *Core) serve(p *peer, v Serve) {
	if p.serving {
		p.waiting = &v
		return
	}
	p.serving = true
	c.out.Serves = append(c.out.Serves, v)
}

func (c *Core) served(e Served) {
	p := c.peer(e.To)
	if p == nil {
		return
	}
	for _, f := range e.Frames {
		c.send(p.node, false, f)
	}
	p.serving = false
	if next := p.waiting; next != nil {
		p.waiting, p.serving = nil, true
		c.out.Serves = append(c.out.Serves, *next)
	}
}
