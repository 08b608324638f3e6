package replica

import (
	"errors"
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// committed takes what the store made durable: it is received now, and what
// this node wrote goes to every peer.
func (c *Core) committed(entries []Entry) {
	var frame []byte
	for _, e := range entries {
		if e.Local != nil {
			c.writesAs(e.Local.Writer)
			frame = c.pushed(frame, *e.Local)
		}
		for _, n := range e.Boots {
			c.book.setBoots(n, c.now)
		}
		own := len(e.Boots) > 0
		for _, s := range e.States {
			c.book.set(s, c.now)
			own = own || s.Writer.Node == c.self.Node
		}
		for _, w := range e.Forgotten {
			c.book.forget(w, c.now)
		}
		if own {
			c.checkOwnTails()
		}
	}
	c.flush(frame)
	c.unblock()
}

// pushed appends a changeset to the frame in hand, and sends that first if
// both would not fit into one.
func (c *Core) pushed(frame []byte, cs record.Changeset) []byte {
	c.stats.Written++
	p := appendParcel(nil, record.Pushed(cs))
	if len(frame)+len(p) > MaxInline {
		c.flush(frame)
		frame = nil
	}
	if frame == nil {
		frame = []byte{kindPush}
	}
	return append(frame, p...)
}

// flush sends a push to every peer: encoded once, shared by all.
func (c *Core) flush(frame []byte) {
	if frame == nil {
		return
	}
	frame = c.cfg.Packing.Push(frame)
	for _, p := range c.peers {
		c.send(p.node, true, frame)
	}
}

// arrived takes a frame of a peer. Whatever is in it, the worst that follows
// is that it is dropped and counted.
func (c *Core) arrived(from record.Node, frame []byte) {
	p := c.peer(from)
	if p == nil || p.dropped {
		return // lost meanwhile
	}
	if len(frame) == 0 || len(frame) > MaxFrame {
		c.malformed(from, fmt.Errorf("frame of %d bytes", len(frame)))
		return
	}
	r := reader{}
	if frame[0] == kindPacked {
		whole, err := c.cfg.Packing.unpack(frame)
		switch {
		case errors.Is(err, errDictionary):
			c.stats.Unknown++
			return
		case err != nil:
			c.malformed(from, err)
			return
		}
		r.charge(len(frame) + len(whole))
		frame = whole
	}
	r.b = frame[1:]
	switch frame[0] {
	case kindPush:
		c.gotPush(p, &r)
	case kindRoot:
		c.gotRoot(p, &r)
	case kindLeaves:
		c.gotLeaves(p, &r)
	case kindAsk:
		c.gotAsk(p, &r)
	case kindSets:
		c.gotSets(p, &r)
	case kindWant:
		c.gotWant(p, &r)
	case kindAnswer:
		c.gotAnswer(p, &r)
	case kindListing:
		c.gotListing(p, &r)
	case kindMore:
		c.gotMore(p, &r)
	case kindSurvey:
		c.gotSurvey(p, &r)
	case kindSurveyed:
		c.gotSurveyed(p, &r)
	default:
		c.unknown(from, fmt.Errorf("frame kind %#x", frame[0]))
		return
	}
	if r.err != nil {
		c.malformed(from, fmt.Errorf("frame kind %#x: %w", frame[0], r.err))
	}
}

func (c *Core) unknown(from record.Node, err error) {
	c.stats.Unknown++
	c.report(Report{Kind: ReportUnknown, Peer: from, Err: err})
}

func (c *Core) gotPush(p *peer, r *reader) {
	for _, d := range r.parcels() {
		if d.writer.Node != p.node {
			c.stats.Foreign++
			c.report(Report{Kind: ReportForeign, Peer: p.node, Writer: d.writer})
			continue
		}
		if d.rang.From != d.rang.To {
			r.fail(fmt.Errorf("push of %d versions", d.rang.Len()))
			return
		}
		if _, err := c.take(p, r, d, false); err != nil {
			r.fail(err)
			return
		}
	}
}

// take puts a delivery on its way to the store, unless it is known, on its way
// already, not to be had from anybody, or without room. It reports whether it
// was taken; an error means that its bytes are malformed.
func (c *Core) take(p *peer, r *reader, d parcel, answer bool) (bool, error) {
	c.stats.Arrived++
	e := c.book.find(d.writer)
	switch {
	case c.book.covers(d.writer, d.rang), e != nil && e.pending.Covers(d.rang):
		c.stats.Duplicates++
		return false, nil
	case c.isOwn(d.writer):
		c.stats.Foreign++
		c.report(Report{Kind: ReportForeign, Peer: p.node, Writer: d.writer})
		return false, nil
	case c.bootAhead(d.writer):
		c.stats.Capped++
		c.report(Report{Kind: ReportBoot, Peer: p.node, Writer: d.writer})
		return false, nil
	case !c.book.room(d.writer, d.rang):
		c.stats.Capped++
		c.report(Report{Kind: ReportCap, Peer: p.node, Writer: d.writer})
		return false, nil
	}
	delivery, err := d.decode(r)
	if err != nil {
		return false, err
	}
	if !answer && len(delivery.Changesets) != 1 {
		return false, fmt.Errorf("push of %d changesets", len(delivery.Changesets))
	}
	if !c.queue.add(offer{delivery: delivery, bytes: len(d.bytes) + offerOverhead, from: p.node, answer: answer}) {
		c.stats.QueueDropped++
		return false, nil
	}
	if e == nil {
		e = c.book.make(d.writer)
	}
	e.pending = e.pending.With(d.rang)
	return true, nil
}

// offerOverhead is what a waiting delivery costs beside its bytes.
const offerOverhead = 256

func (c *Core) isOwn(w record.Writer) bool {
	for _, o := range c.own {
		if o == w {
			return true
		}
	}
	return false
}

// bootAhead reports whether the boot of w lies more than two years ahead: no
// start takes such a boot, and believing one would leave no higher ones.
func (c *Core) bootAhead(w record.Writer) bool {
	return w.Boot > uint64(max(0, c.wall.Unix()))+uint64(maxBootAhead/time.Second)
}

// applied takes the store's word on the batch that was out.
func (c *Core) applied(outcomes []Outcome) {
	for i, o := range c.queue.answered() {
		outcome := Malformed
		if i < len(outcomes) {
			outcome = outcomes[i]
		}
		w, g := o.delivery.Writer, o.delivery.Range
		switch outcome {
		case Taken:
			c.stats.Taken++ // pending until the feed tells of it
			if o.answer {
				c.stats.Filled++
			}
			continue
		case Known:
			c.stats.Duplicates++
		default:
			c.malformed(o.from, fmt.Errorf("store rejects versions %d to %d of %v", g.From, g.To, w))
			if p := c.peer(o.from); p != nil {
				p.addShun(shun{w, g, c.now + shunFor}, c.now)
			}
		}
		if e := c.book.find(w); e != nil {
			e.pending = without(e.pending, record.Received{}.With(g))
			c.book.drop(w)
		}
	}
	c.unblock()
}

// writesAs notes the writer of this node.
func (c *Core) writesAs(w record.Writer) {
	if w == c.self {
		return
	}
	c.self = w
	c.resetClosing()
	if !c.isOwn(w) {
		c.own = append(c.own, w)
	}
}

// checkOwnTail asks for a higher boot if data of an earlier writer of this
// node would outrank what it writes now: its clock went back between.
func (c *Core) checkOwnTail(w record.Writer) {
	if !c.isOwn(w) {
		c.atLeast(w.Boot)
	}
}

// atLeast asks for a boot above one that is taken, or over.
func (c *Core) atLeast(boot uint64) {
	if boot < c.self.Boot || c.renewing {
		return
	}
	c.renewing = true
	c.out.Renew = boot + 1
}

func (c *Core) renewed(w record.Writer) {
	c.renewing, c.renewAt = false, 0
	if w.IsZero() {
		c.renewAt = c.now + c.random.jitter(renewRetry)
		return
	}
	c.writesAs(w)
	c.checkOwnTails()
}

func (c *Core) checkOwnTails() {
	if l := c.book.leaf(c.self.Node); l != nil {
		c.atLeast(l.boots.over())
		for _, e := range l.writers {
			if e.Received.Head > 0 {
				c.checkOwnTail(e.Writer)
			}
		}
	}
}

// reloaded starts over from the store's states.
func (c *Core) reloaded(r Reloaded) {
	old := c.book
	c.book = book{}
	c.book.load(r.States, r.Boots, c.now)
	c.book.roots = old.roots
	c.queue.each(func(o offer) {
		e := c.book.make(o.delivery.Writer)
		e.pending = without(e.pending.With(o.delivery.Range), e.Received)
	})
	c.checkOwnTails()
	for _, p := range c.peers {
		p.owes = true
	}
}
