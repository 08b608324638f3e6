package replica

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// closing is how far this node has come in closing its earlier writers. It
// surveys every known node twice (see Passes), has the rows of earlier writers
// written again, and then the closing. A node that is down is waited for:
// start it, or evict it.
type closing struct {
	passes      Passes
	stage       closingStage
	due         time.Duration // when something is tried next
	out         bool          // the store is at it
	members     []record.Node // of the mesh
	unconfirmed bool
	surveys     []survey // that are out, or that wait for what they told of
}

type closingStage byte

const (
	surveying closingStage = iota
	stamping
	finishing
	closedAll
)

// survey is one node's answer in the present pass.
type survey struct {
	node     record.Node
	id       uint64
	until    time.Duration // it is asked again then
	answered bool
	start    Start
	sets     []State
	boots    []Boots
}

const (
	kindSurvey   = 0x0a // id (8 bytes), then the question of a survey
	kindSurveyed = 0x0b // id, boot and bits (8 bytes each), then the reply

	closingEvery  = time.Second
	surveyTimeout = 15 * time.Second
	maxSurveys    = 4
)

// ClosingStats tells what holds the closing up.
type ClosingStats struct {
	Done        bool
	Pass        int           // 1 or 2; zero once both are done
	Waiting     []record.Node // nodes of which this pass lacks the word, by name
	Unconfirmed bool          // rows of this node wait for the word of who writes them
	Asked       bool          // somebody is known, or the node is configured to be alone
}

func (c *Core) closes() bool { return c.cfg.Close && c.closing.stage != closedAll && !c.closing.out }

// resetClosing begins anew, under another writer.
func (c *Core) resetClosing() {
	c.closing = closing{members: c.closing.members, unconfirmed: c.closing.unconfirmed, due: c.now + closingEvery}
}

// known lists all other nodes of which anything is known, evicted ones aside.
func (c *Core) known() []record.Node {
	var out []record.Node
	for _, l := range c.book.leaves {
		if l.boots.Closed > l.boots.Evicted || slices.ContainsFunc(l.writers, func(e *entry) bool { return e.Writer.Boot > l.boots.Evicted }) {
			out = append(out, l.node)
		}
	}
	for _, p := range c.peers {
		out = append(out, p.node)
	}
	for _, n := range c.closing.members {
		if c.book.boots(n).Evicted == 0 {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(n record.Node) bool { return n == c.self.Node })
}

// advanceClosing does what is next.
func (c *Core) advanceClosing() {
	cl := &c.closing
	if !c.closes() || c.now < cl.due {
		return
	}
	cl.due = c.now + c.random.jitter(closingEvery)
	known := c.known()
	c.heardSurveys()
	missing := cl.passes.Missing(known)
	switch {
	case len(missing) > 0:
		cl.stage = surveying // somebody came to be known: look again when it matters
		c.survey(missing)
	case len(known) == 0 && !c.cfg.Alone, cl.unconfirmed:
	case cl.stage == finishing:
		cl.out, c.out.Close = true, c.self
	default:
		cl.stage = stamping
		cl.out, c.out.Restamp = true, true
	}
}

// heardSurveys notes those of whom all that they told of is received by now.
func (c *Core) heardSurveys() {
	c.closing.surveys = slices.DeleteFunc(c.closing.surveys, func(s survey) bool {
		if s.answered && c.haveAll(s) {
			c.closing.passes.Took(s.node, s.start)
			return true
		}
		return c.now >= s.until
	})
}

// haveAll reports whether everything that a node had as it answered is here.
func (c *Core) haveAll(s survey) bool {
	for _, b := range s.boots {
		mine := c.book.boots(b.Node)
		if b.Closed > mine.Closed || b.Evicted > mine.Evicted || b.Complete > mine.Complete {
			return false
		}
	}
	for _, st := range s.sets {
		if st.Writer.Boot <= c.book.boots(st.Writer.Node).Complete {
			continue
		}
		if len(c.book.state(st.Writer).Received.Minus(st.Received)) > 0 {
			return false
		}
	}
	return true
}

// survey asks connected ones of those that are missing, a few at a time.
func (c *Core) survey(missing []record.Node) {
	cl := &c.closing
	for _, n := range missing {
		if len(cl.surveys) >= maxSurveys {
			return
		}
		if c.peer(n) == nil || slices.ContainsFunc(cl.surveys, func(s survey) bool { return s.node == n }) {
			continue
		}
		c.nextID++
		cl.surveys = append(cl.surveys, survey{node: n, id: c.nextID, until: c.now + surveyTimeout})
		question, _ := c.Question()
		c.send(n, false, append(binary.BigEndian.AppendUint64([]byte{kindSurvey}, c.nextID), question...))
	}
}

func (c *Core) gotSurvey(p *peer, r *reader) {
	id := r.fixed()
	if r.err != nil {
		return
	}
	// What an earlier start of p has pushed here may be nowhere else any more.
	reply, err := c.reply(r.b, p.node)
	if err != nil {
		r.fail(err)
		return
	}
	b := binary.BigEndian.AppendUint64([]byte{kindSurveyed}, id)
	b = binary.BigEndian.AppendUint64(b, c.self.Boot)
	b = binary.BigEndian.AppendUint64(b, c.self.Bits)
	c.send(p.node, false, append(b, reply...))
}

func (c *Core) gotSurveyed(p *peer, r *reader) {
	id, start := r.fixed(), Start{r.fixed(), r.fixed()}
	if r.err != nil {
		return
	}
	i := slices.IndexFunc(c.closing.surveys, func(s survey) bool { return s.node == p.node && s.id == id })
	if i < 0 || c.closing.surveys[i].answered {
		c.unasked(p)
		return
	}
	_, states, boots := r.reply()
	if r.err != nil {
		return
	}
	s := &c.closing.surveys[i]
	s.answered, s.start, s.sets, s.boots = true, start, states, boots
	c.closing.due = c.now
}

func (c *Core) restamped(e Restamped) {
	cl := &c.closing
	if !cl.out || cl.stage != stamping {
		return // asked by an earlier writer
	}
	cl.out = false
	switch {
	case e.Unsupported:
		cl.stage, cl.surveys = closedAll, nil
	case !e.Failed && e.Left == 0:
		cl.stage, cl.due = finishing, c.now
	}
}

func (c *Core) closedEarlier(e ClosedEarlier) {
	cl := &c.closing
	if !cl.out || cl.stage != finishing {
		return // asked by an earlier writer
	}
	cl.out = false
	if e.Failed {
		cl.stage = surveying
		return
	}
	cl.stage, cl.surveys = closedAll, nil
}

func (c *Core) closingStats() ClosingStats {
	cl := &c.closing
	s := ClosingStats{Done: cl.stage == closedAll, Unconfirmed: cl.unconfirmed}
	if s.Done || !c.cfg.Close {
		return s
	}
	known := c.known()
	s.Asked = len(known) > 0 || c.cfg.Alone
	if s.Waiting = cl.passes.Missing(known); len(s.Waiting) > 0 {
		s.Pass = 1
		if cl.passes.Second() {
			s.Pass = 2
		}
	}
	slices.SortFunc(s.Waiting, func(a, b record.Node) int { return cmp.Compare(a, b) })
	return s
}
