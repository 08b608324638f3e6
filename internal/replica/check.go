package replica

import (
	"errors"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// Nodes that received the same and differ in shared or ranked rows exchange
// them only if both are sound: what a disk has turned has the rank of what it
// was, and would stay on one side or spread to the other. The answering side
// sums its rows as it lists them, the asking side before it asks.

var errUnsound = errors.New("shared or ranked rows here do not sum to their fingerprints")

// Summing reads all rows. What differs from every peer is not looked into anew
// for each of them.
const (
	soundFor   = time.Minute      // a node whose rows summed is taken for sound
	checkAgain = 10 * time.Second // after it was not, or could not be told
)

// check has this node's rows summed, once for all peers that wait for it.
func (c *Core) check(p *peer) {
	switch {
	case c.checking:
	case c.now < c.checkAt:
		p.session = session{} // looked at again with the damage
		return
	default:
		c.checking, c.out.Check = true, true
	}
	p.session.phase = checking
}

// checked goes on with those that waited. A sound node exchanges. A damaged
// one is made what the writer has, or, with that gone, what most have.
func (c *Core) checked(e Checked) {
	c.checking, c.checkAt = false, c.now+checkAgain
	if !e.Failed && !e.Damaged {
		c.soundUntil = c.now + soundFor
	}
	var damaged record.Writer
	for _, p := range c.peers {
		s := &p.session
		if s.phase != checking {
			continue
		}
		switch {
		case e.Failed:
			*s = session{}
			continue
		case !e.Damaged:
		case c.hasSay(p, s.differ):
			damaged, s.list = s.differ.writer, ListingWant{Mode: Repair}
		default: // looked at again with the damage
			damaged, *s = s.differ.writer, session{}
			continue
		}
		c.fetch(p)
	}
	if !damaged.IsZero() {
		c.report(Report{Kind: ReportDamage, Writer: damaged, Err: errUnsound})
	}
}

// hasSay reports whether damaged rows here are to be made what p has: it is
// the node that wrote what differs, or that is gone and most agree with p.
func (c *Core) hasSay(p *peer, d damage) bool {
	return d.node == p.node || c.peer(d.node) == nil && c.outvoted(d)
}
