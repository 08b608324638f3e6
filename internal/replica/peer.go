package replica

import (
	"cmp"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// peer is what a core keeps of a connected peer.
type peer struct {
	node     record.Node
	owes     bool          // a push to it was dropped: it must hear the root
	rootAt   time.Duration // when it last was sent the root
	leavesAt time.Duration // when it last was sent leaves

	session session
	benched time.Duration // until when it is not asked: it did not answer, or its listing cannot be taken yet
	bench   time.Duration // the last bench; the next one is twice as long
	damaged []damage
	shunned []shun

	blame    float64       // what it did wrong lately, see blames
	blamedAt time.Duration // when that was summed
	dropped  bool          // it is being disconnected: nothing of it counts

	serving bool   // a Serve for it is out
	waiting *Serve // the next one; a newer want takes its place
}

// damage is a difference that no exchange can end.
type damage struct {
	node         record.Node
	writer       record.Writer // of it, the first that differs
	mine, theirs Digest
	since        time.Duration
	told         bool          // it lasted, and was reported
	again        time.Duration // when it is looked into next
}

// shun is a range that this peer served malformed.
type shun struct {
	writer record.Writer
	rang   record.Range
	until  time.Duration
}

const (
	maxDamaged = 64
	maxShunned = 256
)

func (c *Core) findPeer(n record.Node) (int, bool) {
	return slices.BinarySearchFunc(c.peers, n, func(p *peer, n record.Node) int { return cmp.Compare(p.node, n) })
}

func (c *Core) peer(n record.Node) *peer {
	if i, ok := c.findPeer(n); ok {
		return c.peers[i]
	}
	return nil
}

func (c *Core) connected(n record.Node) {
	if n == c.self.Node {
		return
	}
	i, ok := c.findPeer(n)
	if !ok {
		c.peers = slices.Insert(c.peers, i, nil)
	}
	if ok && c.listing == c.peers[i] {
		c.listing = nil
	}
	c.peers[i] = &peer{node: n, rootAt: c.now - owesEvery, leavesAt: c.now - owesEvery}
	c.sendRoot(c.peers[i])
	c.unblock()
}

func (c *Core) lost(n record.Node) {
	if i, ok := c.findPeer(n); ok {
		if c.listing == c.peers[i] {
			c.listing = nil
		}
		c.peers = slices.Delete(c.peers, i, i+1)
		c.unblock()
	}
}

func (c *Core) sendRoot(p *peer) {
	p.owes, p.rootAt = false, c.now
	c.send(p.node, false, rootFrame(c.book.root))
}

func (c *Core) refused(e Refused) {
	if p := c.peer(e.To); p != nil {
		if !p.owes {
			c.stats.Owed++
		}
		p.owes = true
	}
	if e.Push {
		c.stats.PushDropped++
	}
}

func (c *Core) malformed(n record.Node, err error) {
	c.stats.Malformed++
	c.report(Report{Kind: ReportMalformed, Peer: n, Err: err})
}

// fellSilent leaves p alone for a while, longer each time.
func (p *peer) fellSilent(now time.Duration) {
	p.bench = min(max(2*p.bench, benchFirst), benchFor)
	p.benched = now + p.bench
}

func (p *peer) knownDamage(n record.Node, mine, theirs Digest, now time.Duration) bool {
	return slices.ContainsFunc(p.damaged, func(d damage) bool {
		return d.told && now < d.again && d.node == n && d.mine == mine && d.theirs == theirs
	})
}

func (p *peer) addDamage(d damage) {
	p.damaged = slices.DeleteFunc(p.damaged, func(o damage) bool { return o.node == d.node })
	if len(p.damaged) >= maxDamaged {
		p.damaged = p.damaged[1:]
	}
	p.damaged = append(p.damaged, d)
}

func (p *peer) addShun(s shun, now time.Duration) {
	p.shunned = slices.DeleteFunc(p.shunned, func(o shun) bool { return o.until < now })
	if len(p.shunned) >= maxShunned {
		p.shunned = p.shunned[1:]
	}
	p.shunned = append(p.shunned, s)
}
