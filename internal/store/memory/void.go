package memory

import (
	"context"
	"maps"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// voids is the engine's table of void stamps.
var voids = store.VoidSchema()

// voidsFirst returns records with those of the table of void stamps before the
// others: what a node stamps again ranks below what it makes void.
func voidsFirst(records []record.Record) []record.Record {
	var first, rest []record.Record
	for _, r := range records {
		if r.Table == voids.ID {
			first = append(first, r)
		} else {
			rest = append(rest, r)
		}
	}
	return append(first, rest...)
}

// void drops what a row of the table of void stamps is about.
func (s *step) void(h held) {
	row := s.st.row(place{h.rec.Table, h.rec.Key}, &h)
	if h.rec.Table != voids.ID || row == nil || h.reason != "" {
		return
	}
	v, err := store.VoidOf(row, h.at.Writer)
	if err != nil {
		return // judged when it came: it is withheld
	}
	next, news := s.st.voids.With(v)
	if !news {
		return
	}
	s.st.voids, s.join = next, true
	s.dropAll(func(o held) bool { return o.rec.Kind == record.Shared && v.Covers(o.at.Writer, o.rec.Stamp()) }, h, map[place]bool{})
	if s.local {
		s.st.stamp = 0 // the clock begins at the wall, whatever others have stamped
	}
}

// joinChanges makes one change of all that a row has gone through, and none if
// it is as it was in the end.
func joinChanges(changes []store.Change) []store.Change {
	var out []store.Change
	for _, c := range changes {
		same := func(o store.Change) bool { return o.Table == c.Table && o.Key == c.Key }
		if i := slices.IndexFunc(out, same); i >= 0 {
			c.Old = out[i].Old
			out[i] = c
			continue
		}
		out = append(out, c)
	}
	return slices.DeleteFunc(out, func(c store.Change) bool { return slices.EqualFunc(c.Old, c.New, record.Value.Equal) })
}

// ResetClock implements store.Store.
func (s *Store) ResetClock(ctx context.Context) (store.ClockReset, error) {
	if err := ctx.Err(); err != nil {
		return store.ClockReset{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return store.ClockReset{}, store.ErrClosed
	}
	now := s.cfg.Now()
	v := store.Void{Node: s.cfg.Node, Boot: s.writer.Boot, Above: max(0, now.UnixMilli())}
	first, err := voids.Record(v.Row(), "")
	if err != nil {
		return store.ClockReset{}, err
	}
	again, loud := s.st.stampedIn(v)
	s.begin(s.chooseWriter(0))
	s.clock = hlc.Clock{}
	out := store.ClockReset{Writer: s.writer, Above: now, Again: len(again) + len(loud)}
	before := []record.Record{first}
	for len(before)+len(again)+len(loud) > 0 {
		from, quiet := &again, true
		if len(again) == 0 && len(before) == 0 {
			from, quiet = &loud, false
		}
		n := fitting(*from, record.MaxRecords-1)
		if err := s.stampAgain(before, (*from)[:n], quiet); err != nil {
			return store.ClockReset{}, err
		}
		before, *from = nil, (*from)[n:]
	}
	return out, nil
}

// stampAgain writes some records as they are, and shared ones under a stamp of
// now.
func (s *Store) stampAgain(as, shared []record.Record, quiet bool) error {
	stamp, err := s.clock.Now(s.cfg.Now())
	if err != nil {
		return err
	}
	records := slices.Clone(as)
	for _, r := range shared {
		r.Order = record.StampOrder(stamp)
		records = append(records, r)
	}
	_, err = s.commit(records, quiet)
	return err
}

// stampedIn lists the records that v makes void: those that are shown, and
// those that are withheld above what is shown.
func (st *state) stampedIn(v store.Void) (shown, above []record.Record) {
	for _, p := range slices.SortedFunc(maps.Keys(st.slots), place.compare) {
		sl := st.slots[p]
		void := func(h held) bool { return h.rec.Kind == record.Shared && v.Covers(h.at.Writer, h.rec.Stamp()) }
		switch {
		case void(sl.top) && sl.top.rec.Stub == nil && sl.top.reason != "":
			above = append(above, sl.top.rec)
		case sl.shown != nil && void(*sl.shown):
			shown = append(shown, sl.shown.rec)
		}
	}
	return shown, above
}
