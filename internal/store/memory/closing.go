package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// closed is the engine's table of closings.
var closed = store.ClosedSchema()

// closedBy refuses a closing in the name of another writer than the one that
// brought it.
func closedBy(row store.Row, w record.Writer) error {
	if row[0].Data != string(w.Node) || row[1].Int != int64(w.Boot) || row[2].Int != int64(w.Bits) {
		return fmt.Errorf("closing %v/%d/%016x brought by %v", row[0].Data, row[1].Int, uint64(row[2].Int), w)
	}
	return nil
}

// closing returns what w has closed, if that is in effect: all its parts are
// here, and no gap is below it.
func (st *state) closing(w record.Writer) (record.Closing, bool) {
	v, ok := st.closers[w]
	if !ok || !st.cfg.Mutant.is(CloseOverGap) && len(st.received(w).Missing(record.Range{From: 1, To: v})) > 0 {
		return record.Closing{}, false
	}
	var rows []store.Row
	for part := 0; ; part++ {
		k, err := record.EncodeKey(record.Of(string(w.Node)), record.Of(int64(w.Boot)), record.Of(int64(w.Bits)), record.Of(part))
		if err != nil {
			return record.Closing{}, false
		}
		p := place{closed.ID, k}
		row := st.row(p, st.slots[p].shown)
		if row == nil {
			break
		}
		rows = append(rows, row)
	}
	c, err := store.ClosingOf(rows, w)
	return c, err == nil
}

// closes returns the boot up to which c closes.
func (st *state) closes(c record.Closing) uint64 {
	if !st.cfg.Mutant.is(CloseKnown) {
		return c.Up()
	}
	up := c.Base
	for _, l := range c.Writers {
		up = max(up, l.Writer.Boot)
	}
	return up
}

// settle brings closings into effect, and raises complete boots.
func (s *step) settle() {
	of := map[record.Node]bool{}
	for w := range s.writers {
		of[w.Node] = true
	}
	for _, n := range slices.Sorted(maps.Keys(of)) {
		s.settleNode(n)
	}
}

func (s *step) settleNode(node record.Node) {
	var closers []record.Writer
	for w := range s.st.closers {
		if w.Node == node {
			closers = append(closers, w)
		}
	}
	if len(closers) == 0 {
		return
	}
	slices.SortFunc(closers, record.Writer.Compare)
	n := s.st.nodes[node]
	n.Node = node
	before := n
	var last held
	for _, w := range closers {
		c, ok := s.st.closing(w)
		if !ok {
			continue
		}
		up := s.st.closes(c)
		if up > n.Closed {
			n.Closed, last = up, held{at: record.Point{Writer: w, Version: s.st.closers[w]}}
		}
		if s.st.fulfils(c, n.Complete) {
			n.Complete = max(n.Complete, up)
		}
	}
	if n == before {
		return
	}
	s.setNode(n)
	if n.Closed > before.Closed {
		s.dropOver(node, last)
	}
}

// fulfils reports whether whoever is complete up to a boot has all that c lists.
func (st *state) fulfils(c record.Closing, complete uint64) bool {
	if complete < c.Base && !st.cfg.Mutant.is(CloseBaseless) {
		return false
	}
	for _, l := range c.Writers {
		if l.Writer.Boot > complete && len(st.received(l.Writer).Minus(l.Received)) > 0 {
			return false
		}
	}
	return true
}

func (s *step) setNode(n store.NodeState) {
	s.st.nodes[n.Node] = n
	s.nodes[n.Node] = true
}

// dropOver drops the owned records of a node that are over, by the word of why.
func (s *step) dropOver(node record.Node, why held) {
	for _, p := range slices.SortedFunc(maps.Keys(s.st.slots), place.compare) {
		sl := s.st.slots[p]
		gone := func(h held) bool { return h.at.Writer.Node == node && s.st.over(h.rec, h.at) }
		switch {
		case gone(sl.top):
			s.drop(p, why)
		case sl.shown != nil && gone(*sl.shown): // below one that is withheld and is not over
			s.change(p, s.st.row(p, sl.shown), nil, why)
			sl.shown = nil
			s.st.slots[p] = sl
		}
	}
	for _, f := range s.st.foreign {
		if f.at.Writer.Node == node && s.st.over(f.rec, f.at) {
			s.count(f, false)
		}
	}
	s.st.foreign = slices.DeleteFunc(s.st.foreign, func(f held) bool {
		return f.at.Writer.Node == node && s.st.over(f.rec, f.at)
	})
}

// drop takes away a row and its record.
func (s *step) drop(p place, why held) {
	sl := s.st.slots[p]
	s.count(sl.top, false)
	s.touched(sl.top.at.Writer)
	s.change(p, s.st.row(p, sl.shown), nil, why)
	delete(s.st.slots, p)
	if p.table == closed.ID {
		delete(s.st.closers, sl.top.at.Writer)
	}
}

// unstamped lists the live owned records of this node that earlier writers
// than the present one have written.
func (s *Store) unstamped() ([]record.Record, error) {
	var out []record.Record
	for _, p := range slices.SortedFunc(maps.Keys(s.st.slots), place.compare) {
		top := s.st.slots[p].top
		if top.rec.Kind != record.Owned || top.at.Writer.Node != s.cfg.Node || top.at.Writer == s.writer ||
			top.rec.Deleted || top.rec.Stub != nil || p.table == closed.ID {
			continue
		}
		if top.at.Writer.Boot >= s.writer.Boot {
			return nil, fmt.Errorf("rows of %v rank above %v: take a higher boot first: %w", top.at.Writer, s.writer, store.ErrOvertaken)
		}
		out = append(out, top.rec)
	}
	if s.cfg.Mutant.is(CloseUnstamped) {
		return nil, nil
	}
	return out, nil
}

// Restamp implements store.Store.
func (s *Store) Restamp(ctx context.Context, limit int) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return 0, store.ErrClosed
	}
	records, err := s.unstamped()
	if err != nil || len(records) == 0 {
		return 0, err
	}
	n := fitting(records, max(1, limit))
	if _, err := s.commit(records[:n], true); err != nil {
		return 0, err
	}
	return len(records) - n, nil
}

// CloseEarlier implements store.Store.
func (s *Store) CloseEarlier(ctx context.Context, w record.Writer) (store.Commit, error) {
	if err := ctx.Err(); err != nil {
		return store.Commit{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return store.Commit{}, store.ErrClosed
	}
	if w != s.writer {
		return store.Commit{}, fmt.Errorf("close as %v: the writer is %v by now: %w", w, s.writer, store.ErrOvertaken)
	}
	if v, ok := s.st.closers[s.writer]; ok {
		return store.Commit{Standing: []record.Point{{Writer: s.writer, Version: v}}}, nil
	}
	left, err := s.unstamped()
	if err != nil {
		return store.Commit{}, err
	}
	if len(left) > 0 {
		return store.Commit{}, fmt.Errorf("%d rows: %w", len(left), store.ErrUnstamped)
	}
	c := record.Closing{Writer: s.writer, Base: s.st.nodes[s.cfg.Node].Complete}
	for _, w := range s.st.ownWriters(s.cfg.Node) {
		if r := s.st.received(w); r.Head > 0 && w.Boot > c.Base && w.Boot < s.writer.Boot {
			c.Writers = append(c.Writers, record.Closed{Writer: w, Received: r})
		}
	}
	rows, err := store.ClosedRows(c)
	if err != nil {
		return store.Commit{}, err
	}
	var records []record.Record
	for _, row := range rows {
		r, err := closed.Record(row, "")
		if err != nil {
			return store.Commit{}, err
		}
		records = append(records, r)
	}
	cs, err := s.commit(records, true)
	return store.Commit{Point: cs.Point(), Records: len(records)}, err
}

// onlyEvicted reports whether nothing but an eviction is above the writers of a
// start, the last of which is the present one, and asks for a boot: it leaves
// their shared and ranked records as they are.
func (st *state) onlyEvicted(start []record.Writer, boot uint64) bool {
	self := start[len(start)-1]
	n := st.nodes[self.Node]
	if n.Evicted < self.Boot || n.Evicted+1 < boot || n.Closed >= self.Boot {
		return false
	}
	for w := range st.writers {
		if w.Node == self.Node && w.Boot >= self.Boot && !slices.Contains(start, w) {
			return false
		}
	}
	return true
}

// othersOf lists the shared and ranked records of some writers that stand.
func (st *state) othersOf(writers []record.Writer) []record.Record {
	var out []record.Record
	for _, p := range slices.SortedFunc(maps.Keys(st.slots), place.compare) {
		if top := st.slots[p].top; top.rec.Kind != record.Owned && slices.Contains(writers, top.at.Writer) {
			out = append(out, top.rec)
		}
	}
	return out
}
