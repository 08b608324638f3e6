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
	changes  []store.Change
	withheld int
}

func newStep(st *state) *step { return &step{st: st, writers: map[record.Writer]bool{}} }

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
	if h.rec.Kind == record.Owned && h.at.Writer.Boot <= s.st.evicted[h.at.Writer.Node] {
		return
	}
	if h.rec.ForeignOwner(h.at.Writer) {
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
	if h.reason, h.detail = s.st.judge(h.rec, now); h.reason != "" {
		h.since = now
		s.withheld++
	}
	if ok {
		s.count(old.top, false)
	}
	s.count(h, true)
	s.place(p, h, now)
	s.evict(h)
}

// below shows a record that ranks under a withheld one and above what is
// shown: what is visible must not depend on the order of arrival.
func (s *step) below(p place, old slot, h held, now time.Time) {
	if old.top.reason == "" || old.shown != nil && !record.Wins(h.rec.Rank(h.at), old.shown.rec.Rank(old.shown.at)) {
		return
	}
	if reason, _ := s.st.judge(h.rec, now); reason != "" {
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
}

func (s *step) change(p place, before, after store.Row, h held) {
	if before == nil && after == nil {
		return
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
	if boot <= s.st.evicted[node] {
		return
	}
	s.st.evicted[node] = boot
	gone := func(at record.Point, r record.Record) bool {
		return r.Kind == record.Owned && at.Writer.Node == node && at.Writer.Boot <= boot
	}
	for _, p := range slices.SortedFunc(maps.Keys(s.st.slots), place.compare) {
		sl := s.st.slots[p]
		if !gone(sl.top.at, sl.top.rec) {
			continue
		}
		s.count(sl.top, false)
		s.change(p, s.st.row(p, sl.shown), nil, h)
		delete(s.st.slots, p)
	}
	for _, f := range s.st.foreign {
		if gone(f.at, f.rec) {
			s.count(f, false)
		}
	}
	s.st.foreign = slices.DeleteFunc(s.st.foreign, func(f held) bool { return gone(f.at, f.rec) })
}

// publish adds the step to the feed.
func (s *step) publish(at record.Point, local *record.Changeset) {
	e := store.Entry{Point: at, Local: local, Changes: s.changes}
	for _, w := range slices.SortedFunc(maps.Keys(s.writers), record.Writer.Compare) {
		e.States = append(e.States, *s.st.of(w))
	}
	s.st.feed = append(s.st.feed, e)
	s.st.feed[len(s.st.feed)-1].Position = s.st.position()
}

// position is the end of the feed.
func (st *state) position() store.Position {
	w := st.line[len(st.line)-1].writer
	return store.Position{Node: w.Node, Boot: w.Boot, Bits: w.Bits, Sequence: uint64(len(st.feed))}
}
