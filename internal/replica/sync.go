package replica

import (
	"cmp"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// session is how far the comparison with one peer has come. What the peer
// claims is kept only here, and goes with it.
type session struct {
	phase phase
	due   time.Duration // when the phase ends: a wait is over, or a request has timed out
	tries int           // asking: how often it was repeated

	leaves []nodeLeaf // differing, asking: leaves of the peer that were never mine
	sets   []State    // settling and later: what the peer has of those nodes
	over   []Boots    // so too, of those of whom anything is over
	behind uint64     // versions missing here at the last look

	id     uint64 // fetching: of the request
	asked  []Want
	partly bool          // not all that is missing was: it is too much for one request
	number byte          // of the next frame of the answer
	end    time.Duration // whatever it brings
	room   int           // bytes that the answer may still bring
	taken  bool          // it brought something new

	list   ListingWant // fetching: a listing that was asked for beside ranges
	differ damage      // of an exchange: what it is to end
	page   int         // of a listing, the next one to come
	listed int         // bytes of it
	taking bool        // a page is with the store
	last   bool        // it is the last
}

type phase byte

const (
	idle     phase = iota
	differs        // leaves differ; looked at again when due
	asking         // received sets were asked for
	settling       // they came; what is on its way gets its time to arrive
	blocked        // something is missing; waits for room or for others to finish
	checking       // rows here are being summed, see Checked
	fetching       // it was asked for
)

func (c *Core) gotRoot(p *peer, r *reader) {
	d := r.digest()
	if r.err != nil || d == c.book.root || c.book.roots.has(d, c.now) {
		return
	}
	if c.now < p.leavesAt+owesEvery {
		return // it just got them
	}
	p.leavesAt = c.now
	all := c.book.nodeLeaves()
	c.send(p.node, false, leavesFrame(false, all[:min(len(all), maxNodes)]))
}

func (c *Core) gotLeaves(p *peer, r *reader) {
	reply, theirs := r.leaves()
	if r.err != nil {
		return
	}
	if !reply {
		c.replyLeaves(p, theirs)
	}
	if p.session.phase != idle && p.session.phase != differs || c.now < p.benched {
		return
	}
	if differ := c.differing(p, theirs); len(differ) == 0 {
		p.session = session{}
	} else if p.session.phase == idle {
		p.session = session{phase: differs, due: c.now + differFor, leaves: differ}
	}
}

// replyLeaves sends those leaves of mine that a peer lacks or has otherwise,
// so that it can fetch too.
func (c *Core) replyLeaves(p *peer, theirs []nodeLeaf) {
	theirs = slices.Clone(theirs)
	slices.SortFunc(theirs, func(a, b nodeLeaf) int { return cmp.Compare(a.node, b.node) })
	var out []nodeLeaf
	for _, l := range c.book.leaves {
		i, ok := slices.BinarySearchFunc(theirs, l.node, func(t nodeLeaf, n record.Node) int { return cmp.Compare(t.node, n) })
		if l.digest != (Digest{}) && (!ok || theirs[i].digest != l.digest) {
			out = append(out, nodeLeaf{l.node, l.digest})
		}
	}
	if len(out) > 0 && c.now >= p.leavesAt+owesEvery {
		p.leavesAt = c.now
		c.send(p.node, false, leavesFrame(true, out[:min(len(out), maxNodes)]))
	}
}

// differing returns those leaves of a peer that are not mine, were not mine a
// moment ago, and are no damage that is known.
func (c *Core) differing(p *peer, theirs []nodeLeaf) []nodeLeaf {
	var out []nodeLeaf
	for _, t := range theirs {
		if c.book.isOrWas(t.node, t.digest, c.now) || p.knownDamage(t.node, c.book.digest(t.node), t.digest, c.now) {
			continue
		}
		out = append(out, t)
	}
	return out
}

// advance moves the session of p on when its phase is over.
func (c *Core) advance(p *peer) {
	s := &p.session
	switch {
	case s.phase == idle, s.phase == blocked, s.phase == checking, c.now < s.due:
	case s.phase == differs:
		s.leaves = c.differing(p, s.leaves)
		if len(s.leaves) == 0 {
			*s = session{}
			return
		}
		c.ask(p)
	case s.phase == settling:
		c.fetch(p)
	case s.phase == asking && s.tries < maxTries:
		// A frame that was lost looks like a peer that is silent. What is wanted
		// of it is not asked twice: others may have it.
		c.stats.Timeouts++
		if s.tries++; s.tries == 1 {
			c.askAnother(p)
		}
		c.ask(p)
	default: // asking, fetching: timed out
		if c.listing == p {
			c.listing = nil
		}
		c.stats.Timeouts++
		c.report(Report{Kind: ReportTimeout, Peer: p.node})
		*s = session{}
		p.fellSilent(c.now)
		c.askAnother(p)
		c.unblock()
	}
}

// ask asks p for the received sets of the nodes whose leaves differ.
func (c *Core) ask(p *peer) {
	s := &p.session
	nodes := make([]record.Node, len(s.leaves))
	for i, l := range s.leaves {
		nodes[i] = l.node
	}
	s.phase, s.due = asking, c.now+requestTimeout
	c.send(p.node, false, askFrame(nodes))
}

// askAnother starts a comparison with another peer at once, after one did not
// answer.
func (c *Core) askAnother(silent *peer) {
	if len(c.peers) < 2 {
		return
	}
	i := c.random.below(len(c.peers))
	if c.peers[i] == silent {
		i = (i + 1) % len(c.peers)
	}
	c.sendRoot(c.peers[i])
}

func (c *Core) gotAsk(p *peer, r *reader) {
	nodes := r.ask()
	if r.err != nil {
		return
	}
	slices.Sort(nodes)
	nodes = slices.Compact(nodes)
	rest := c.book.root
	var states []State
	var boots []Boots
	size := 0
	for _, n := range nodes {
		l := c.book.leaf(n)
		if l == nil {
			continue
		}
		of := l.states()
		for _, s := range of {
			size += len(s.Writer.Node) + 80 + 6*len(s.Received.Gaps)
		}
		if len(states) > 0 && size > MaxFrame/2 {
			break // the rest differs again next time
		}
		rest = minus(rest, l.digest)
		states = append(states, of...)
		boots = append(boots, l.boots)
	}
	c.send(p.node, false, trailBoots(setsFrame(rest, states), boots))
}

func (c *Core) gotSets(p *peer, r *reader) {
	rest, states, boots := r.digest(), r.states(), r.boots()
	if r.err != nil {
		return
	}
	s := &p.session
	if s.phase != asking || !s.askedFor(states) {
		c.unasked(p)
		return
	}
	slices.SortFunc(states, func(a, b State) int { return a.Writer.Compare(b.Writer) })
	p.bench = 0
	s.over = boots
	c.checkDamage(p, rest, states)
	s.phase, s.due, s.sets, s.leaves = settling, c.now+gapAge, states, nil
}

// askedFor reports whether all states are of nodes that s asked about.
func (s *session) askedFor(states []State) bool {
	for _, st := range states {
		if !slices.ContainsFunc(s.leaves, func(l nodeLeaf) bool { return l.node == st.Writer.Node }) {
			return false
		}
	}
	return true
}

func (c *Core) unasked(p *peer) {
	c.stats.Unasked++
	c.report(Report{Kind: ReportUnasked, Peer: p.node})
}

// checkDamage looks for what no exchange of records can explain: equal
// received sets with different fingerprints. Owned rows depend on the sets of
// their node alone, others on those of all nodes.
func (c *Core) checkDamage(p *peer, rest Digest, theirs []State) {
	restEqual := c.book.root
	allEqual := true
	for _, l := range p.session.leaves {
		restEqual = minus(restEqual, c.book.digest(l.node))
		allEqual = allEqual && c.book.sameSets(l.node, of(theirs, l.node), bootsOf(p.session.over, l.node))
	}
	allEqual = allEqual && restEqual == rest
	for _, l := range p.session.leaves {
		states := of(theirs, l.node)
		boots := bootsOf(p.session.over, l.node)
		if !c.book.sameSets(l.node, states, boots) {
			continue
		}
		if w, kinds := c.differ(l.node, states, allEqual); kinds > 0 {
			d := damage{node: l.node, writer: w, mine: c.book.digest(l.node), theirs: RootOf(states, boots)}
			c.suspect(p, d, kinds == onlyOwned || kinds == ownedToo)
		}
	}
}

// differing says in which kinds fingerprints differ.
type differing byte

const (
	onlyOthers differing = iota + 1
	onlyOwned
	ownedToo
)

// differ compares the fingerprints of a node's writers, of which both sides
// have received the same, and names the first that differs. Shared and ranked
// ones count only if both have received the same of all nodes.
func (c *Core) differ(n record.Node, theirs []State, all bool) (at record.Writer, what differing) {
	var mine []State
	if l := c.book.leaf(n); l != nil {
		mine = l.states()
	}
	for len(mine)+len(theirs) > 0 {
		var a, b State // whoever lacks a writer has forgotten it: nothing of it is live there
		switch {
		case len(theirs) == 0 || len(mine) > 0 && mine[0].Writer.Compare(theirs[0].Writer) < 0:
			a, mine = mine[0], mine[1:]
		case len(mine) == 0 || mine[0].Writer.Compare(theirs[0].Writer) > 0:
			b, theirs = theirs[0], theirs[1:]
		default:
			a, b, mine, theirs = mine[0], theirs[0], mine[1:], theirs[1:]
		}
		owned := a.Fingerprints[0] != b.Fingerprints[0]
		others := all && [2]record.Fingerprint(a.Fingerprints[1:]) != [2]record.Fingerprint(b.Fingerprints[1:])
		if !owned && !others {
			continue
		}
		if at.IsZero() {
			if at = a.Writer; at.IsZero() {
				at = b.Writer
			}
		}
		if owned && others || owned && what == onlyOthers || others && what == onlyOwned {
			what = ownedToo
		} else if what == 0 && owned {
			what = onlyOwned
		} else if what == 0 {
			what = onlyOthers
		}
	}
	return at, what
}

// suspect acts on a difference that has lasted. It need not be any before: a
// range leaves out what was overtaken, so a row may be missing while what
// overtook it is on its way from another writer. Then that pair of leaves is
// left alone for a while.
//
// Owned rows are made what their owner has, by whoever is not it; if the owner
// is gone, what most of the members have. Shared and
// ranked ones are taken by rank, from both sides: a late write met a delete
// that was collected. A side whose rows do not sum to its own fingerprints
// serves no listing and takes none by rank, see Checked.
func (c *Core) suspect(p *peer, d damage, owned bool) {
	i := slices.IndexFunc(p.damaged, func(o damage) bool { return o.node == d.node && o.mine == d.mine && o.theirs == d.theirs })
	if i < 0 {
		d.since = c.now
		p.addDamage(d)
		return
	}
	known := &p.damaged[i]
	if c.now < known.since+damageAge || c.now < known.again {
		return
	}
	if !known.told {
		c.stats.Damaged++
		c.report(Report{Kind: ReportDamage, Peer: p.node, Writer: d.writer})
	}
	known.told, known.again = true, c.now+repairEvery
	switch list := &p.session.list; {
	case !owned:
		*list, p.session.differ = ListingWant{Mode: Exchange}, d
	case d.node == p.node, c.peer(d.node) == nil && d.node != c.self.Node && c.outvoted(d):
		*list = ListingWant{Mode: Repair, Nodes: []record.Node{d.node}}
	}
}

// outvoted reports whether at least two peers agree on what differs here, and
// they are most of all that are connected, this node included.
func (c *Core) outvoted(d damage) bool {
	agree := 0
	for _, p := range c.peers {
		if slices.ContainsFunc(p.damaged, func(o damage) bool { return o.node == d.node && o.mine == d.mine && o.theirs == d.theirs }) {
			agree++
		}
	}
	return agree >= 2 && 2*agree > len(c.peers)+1
}

// of returns the states of one node's writers.
func of(states []State, n record.Node) []State {
	i, _ := slices.BinarySearchFunc(states, n, func(s State, n record.Node) int { return cmp.Compare(s.Writer.Node, n) })
	j := i
	for j < len(states) && states[j].Writer.Node == n {
		j++
	}
	return states[i:j]
}
