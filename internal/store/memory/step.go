package memory

import (
	"maps"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// step is one commit in the making: what it changes, for its feed entry.
type step struct {
	st       *state
	writers  map[record.Writer]bool
	nodes    map[record.Node]bool // whose boots changed
	changes  []store.Change
	gone     []record.Writer
	withheld int
	quiet    bool
	local    bool // written here
	join     bool // rows may have been dropped and come again
}

func newStep(st *state) *step {
	return &step{st: st, writers: map[record.Writer]bool{}, nodes: map[record.Node]bool{}}
}

func (s *step) touched(w record.Writer) { s.writers[w] = true }

// count adds a record to its writer's fingerprint, or takes it out.
func (s *step) count(h held, in bool) {
	if h.rec.Deleted {
		return
	}
	fp := &s.st.of(h.at.Writer).Fingerprints[h.rec.Kind-record.Owned]
	if hash := s.st.hasher.Hash(h.rec, h.at); in {
		*fp = fp.Add(hash)
	} else {
		*fp = fp.Sub(hash)
	}
	s.touched(h.at.Writer)
}

// take merges one record.
func (s *step) take(h held, now time.Time) {
	if s.st.over(h.rec, h.at) {
		return
	}
	if h.rec.ForeignOwner(h.at.Writer) {
		if s.st.hasForeign(h) {
			return // a listing has brought it
		}
		h.reason, h.detail, h.since = store.ReasonOwner, "its owner is not its writer's node", now
		s.st.foreign = append(s.st.foreign, h)
		s.count(h, true)
		s.withheld++
		return
	}
	p := place{h.rec.Table, h.rec.Key}
	old, ok := s.st.slots[p]
	if ok && !record.Wins(h.rec.Rank(h.at), old.top.rec.Rank(old.top.at)) {
		s.below(p, old, h, now)
		return
	}
	if h.reason, h.detail = s.st.judge(h.rec, h.at, now); h.reason != "" {
		h.since = now
		s.withheld++
	}
	if ok {
		s.count(old.top, false)
	}
	s.count(h, true)
	s.place(p, h, now)
	s.evict(h)
	s.void(h)
}

// below shows a record that ranks under a withheld one and above what is
// shown: what is visible must not depend on the order of arrival.
func (s *step) below(p place, old slot, h held, now time.Time) {
	if old.top.reason == "" || old.shown != nil && !record.Wins(h.rec.Rank(h.at), old.shown.rec.Rank(old.shown.at)) {
		return
	}
	if reason, _ := s.st.judge(h.rec, h.at, now); reason != "" {
		return
	}
	before, after := s.st.row(p, old.shown), s.st.row(p, &h)
	old.shown = &h
	s.st.slots[p] = old
	s.change(p, before, after, h)
	s.st.stamp = max(s.st.stamp, h.rec.Stamp())
	s.evict(h)
}

// place makes h the received record of a row, and the visible one unless it is
// withheld.
func (s *step) place(p place, h held, now time.Time) {
	sl := s.st.slots[p]
	sl.top = h
	if h.reason == "" {
		before, after := s.st.row(p, sl.shown), s.st.row(p, &h)
		sl.shown = &h
		s.change(p, before, after, h)
		s.st.stamp = max(s.st.stamp, h.rec.Stamp())
	}
	s.st.slots[p] = sl
	if p.table == closed.ID && h.reason == "" {
		s.st.closers[h.at.Writer] = h.at.Version
	}
}

func (s *step) change(p place, before, after store.Row, h held) {
	if before == nil && after == nil || s.quiet || p.table == closed.ID || p.table == voids.ID {
		return
	}
	if h.rec.Kind == record.Owned && before != nil && after != nil && slices.EqualFunc(before, after, record.Value.Equal) {
		return // written again as it was: only its record is another
	}
	s.changes = append(s.changes, store.Change{
		Table: s.st.tables[p.table].Name, Key: p.key, Old: before, New: after, OldKnown: true, Point: h.at, Wall: h.wall,
	})
}

// evict drops the owned records that a row of an evicting table is about.
func (s *step) evict(h held) {
	t, ok := s.st.tables[h.rec.Table]
	row := s.st.row(place{h.rec.Table, h.rec.Key}, &h)
	if !ok || !t.Evicts || row == nil || h.reason != "" {
		return
	}
	node, boot := record.Node(row[0].Data), uint64(max(0, row[t.Index("boot")].Int))
	n := s.st.nodes[node]
	if boot <= n.Evicted {
		return
	}
	n.Node, n.Evicted = node, boot
	s.setNode(n)
	s.dropOver(node, h)
}

// publish adds the step to the feed.
func (s *step) publish(at record.Point, local *record.Changeset) {
	if s.join {
		s.changes = joinChanges(s.changes)
	}
	e := store.Entry{Point: at, Local: local, Changes: s.changes, Forgotten: s.gone}
	for _, w := range slices.SortedFunc(maps.Keys(s.writers), record.Writer.Compare) {
		if ws := s.st.writers[w]; ws != nil {
			e.States = append(e.States, *ws)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(s.nodes)) {
		e.Nodes = append(e.Nodes, s.st.nodes[n])
	}
	s.st.feed = append(s.st.feed, e)
	s.st.feed[len(s.st.feed)-1].Position = s.st.position()
}

// position is the end of the feed.
func (st *state) position() store.Position {
	w := st.line[len(st.line)-1].writer
	return store.Position{Node: w.Node, Boot: w.Boot, Bits: w.Bits, Sequence: uint64(len(st.feed))}
}
