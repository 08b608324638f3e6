package memory

import (
	"maps"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// responder is what a listing says of the one who made it.
type responder struct {
	received map[record.Writer]record.Received
	nodes    map[record.Node]store.NodeState
	mine     []record.Writer // of the start that takes it
	mutant   Mutant
}

func responderOf(end store.ListingEnd, mine []record.Writer, m Mutant) responder {
	r := responder{map[record.Writer]record.Received{}, map[record.Node]store.NodeState{}, mine, m}
	for _, w := range end.Writers {
		r.received[w.Writer] = w.Received
	}
	for _, n := range end.Nodes {
		r.nodes[n.Node] = n
	}
	return r
}

// accounts reports whether the responder has received a record, or its owner
// is known there to be over: then it is in the listing, or is gone. Of what
// this start has written only a shared row can be gone by another's word.
func (r responder) accounts(h held) bool {
	if h.rec.Kind != record.Shared && slices.Contains(r.mine, h.at.Writer) {
		return false
	}
	n := r.nodes[h.at.Writer.Node]
	if r.mutant.is(ByHeads) && h.at.Version <= r.received[h.at.Writer].Head {
		return true
	}
	return h.at.Writer.Boot <= n.Complete || r.received[h.at.Writer].Has(h.at.Version) ||
		h.rec.Kind == record.Owned && h.at.Writer.Boot <= n.Over()
}

// listed takes a whole listing.
func (st *state) listed(l store.ListingPage, mine []record.Writer, now time.Time) applied {
	step := newStep(st)
	end := *l.End
	switch end.Mode {
	case store.CatchUp:
		step.catchUp(l, mine, now)
	case store.Exchange:
		step.takeAll(l.Listed, now)
	case store.Repair:
		step.repair(l, mine, now)
	}
	step.settle()
	step.publish(record.Point{}, nil)
	return applied{withheld: step.withheld}
}

func (s *step) takeAll(list []record.Changeset, now time.Time) {
	for _, c := range list {
		for _, r := range c.Records {
			s.take(held{rec: r, at: c.Point(), wall: c.Wall}, now)
		}
	}
}

func (s *step) catchUp(l store.ListingPage, mine []record.Writer, now time.Time) {
	end := *l.End
	top := map[place]record.Rank{}
	foreign := map[record.Rank]bool{}
	for _, c := range l.Listed {
		for _, r := range c.Records {
			if r.ForeignOwner(c.Writer) {
				foreign[foreignID(r, c.Point())] = true
				continue
			}
			top[place{r.Table, r.Key}] = r.Rank(c.Point())
		}
	}
	resp := responderOf(end, mine, s.st.cfg.Mutant)
	gone := func(h held) bool {
		return end.Covers(h.at.Writer, h.rec.Kind) && resp.accounts(h) && top[place{h.rec.Table, h.rec.Key}] < h.rec.Rank(h.at)
	}
	dropped := s.dropGone(gone, l.Listed)
	s.dropForeign(func(h held) bool {
		return end.Covers(h.at.Writer, record.Owned) && resp.accounts(h) && !foreign[foreignID(h.rec, h.at)]
	})
	var take []held
	for _, c := range l.Listed {
		for _, r := range c.Records {
			if p := (place{r.Table, r.Key}); !s.st.has(c.Point()) || dropped[p] || s.st.cfg.Mutant.is(ByRankAlone) {
				take = append(take, held{rec: r, at: c.Point(), wall: c.Wall})
			}
		}
	}
	for _, c := range l.Rest {
		for _, r := range c.Records {
			if !s.st.has(c.Point()) && !end.Covers(c.Writer, r.Kind) {
				take = append(take, held{rec: r, at: c.Point(), wall: c.Wall})
			}
		}
	}
	for _, h := range take {
		s.take(h, now)
	}
	s.takeOver(end)
}

// foreignID tells records in another node's name apart.
func foreignID(r record.Record, at record.Point) record.Rank {
	return record.Rank(at.String()+" "+place{r.Table, r.Key}.String()) + r.Rank(at)
}

// hasForeign reports whether a record in another node's name is here.
func (st *state) hasForeign(h held) bool {
	return slices.ContainsFunc(st.foreign, func(f held) bool { return foreignID(f.rec, f.at) == foreignID(h.rec, h.at) })
}

// dropGone drops the rows that the responder knows to be gone, and returns
// their places. What is shown below a withheld record is judged as if it were
// the row.
func (s *step) dropGone(gone func(held) bool, listed []record.Changeset) map[place]bool {
	dropped := map[place]bool{}
	var why held
	if len(listed) > 0 {
		why.at = listed[0].Point()
	}
	s.dropAll(gone, why, dropped)
	return dropped
}

// dropAll drops the rows that are gone by the word of why, and notes their
// places.
func (s *step) dropAll(gone func(held) bool, why held, dropped map[place]bool) {
	for _, p := range slices.SortedFunc(maps.Keys(s.st.slots), place.compare) {
		sl := s.st.slots[p]
		switch {
		case gone(sl.top) && sl.shown != nil && sl.shown.at != sl.top.at && !gone(*sl.shown):
			s.count(sl.top, false)
			sl.top = *sl.shown
			s.count(sl.top, true)
			s.st.slots[p] = sl
		case gone(sl.top):
			s.drop(p, why)
			dropped[p] = true
		case sl.shown != nil && sl.shown.at != sl.top.at && gone(*sl.shown):
			s.change(p, s.st.row(p, sl.shown), nil, why)
			sl.shown = nil
			s.st.slots[p] = sl
		}
	}
}

func (s *step) dropForeign(gone func(held) bool) {
	for _, f := range s.st.foreign {
		if gone(f) {
			s.count(f, false)
		}
	}
	s.st.foreign = slices.DeleteFunc(s.st.foreign, gone)
}

// takeOver takes floors, received sets and boots.
func (s *step) takeOver(end store.ListingEnd) {
	for _, w := range end.Writers {
		for i, k := range record.Kinds {
			if end.Covers(w.Writer, k) && w.Floors[i] > s.st.floors(w.Writer)[i] {
				s.st.of(w.Writer).Floors[i] = w.Floors[i]
				s.touched(w.Writer)
			}
		}
	}
	for _, t := range end.Takes {
		if t.Received.Head > 0 {
			ws := s.st.of(t.Writer)
			ws.Received = ws.Received.Union(t.Received)
			s.touched(t.Writer)
		}
	}
	for w, ws := range s.st.writers {
		for i, k := range record.Kinds {
			if end.Forgot(w, k) && ws.Floors[i] < ws.Received.Head {
				ws.Floors[i] = ws.Received.Head
				s.touched(w)
			}
		}
	}
	for _, theirs := range end.Nodes {
		mine := s.st.nodes[theirs.Node]
		mine.Node = theirs.Node
		old := mine
		if end.Covers(record.Writer{Node: theirs.Node}, record.Owned) {
			mine.Closed, mine.Evicted = max(mine.Closed, theirs.Closed), max(mine.Evicted, theirs.Evicted)
		}
		if end.Whole(theirs.Node) {
			mine.Complete = max(mine.Complete, theirs.Complete)
		}
		if mine != old {
			s.setNode(mine)
			s.dropOver(theirs.Node, held{})
		}
	}
}

// repair makes scopes what the responder has, and sums them anew.
func (s *step) repair(l store.ListingPage, mine []record.Writer, now time.Time) {
	end := *l.End
	same := map[record.Hash]bool{} // of key, rank and cells
	for _, c := range l.Listed {
		for _, r := range c.Records {
			same[s.st.hasher.Hash(r, c.Point())] = true
		}
	}
	resp := responderOf(end, mine, "")
	gone := func(h held) bool {
		return end.Covers(h.at.Writer, h.rec.Kind) && resp.accounts(h) && !same[s.st.hasher.Hash(h.rec, h.at)]
	}
	s.dropGone(gone, l.Listed)
	s.dropForeign(gone)
	s.takeAll(l.Listed, now)
	for w, ws := range s.st.writers {
		for i, k := range record.Kinds {
			if end.Covers(w, k) {
				ws.Fingerprints[i] = record.Fingerprint{}
				s.touched(w)
			}
		}
	}
	recount := func(h held) {
		if end.Covers(h.at.Writer, h.rec.Kind) {
			s.count(h, true)
		}
	}
	for _, sl := range s.st.slots {
		recount(sl.top)
	}
	for _, f := range s.st.foreign {
		recount(f)
	}
}

func (st *state) floors(w record.Writer) (f [len(record.Kinds)]record.Version) {
	if ws := st.writers[w]; ws != nil {
		f = ws.Floors
	}
	return f
}
