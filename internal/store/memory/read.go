package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// snapshot implements store.Snapshot on a copy of the state.
type snapshot struct {
	st *state
	at store.Position
}

// Snapshot implements store.Store.
func (s *Store) Snapshot(ctx context.Context) (store.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, store.ErrClosed
	}
	return &snapshot{st: s.st.clone(), at: s.st.position()}, nil
}

func (s *snapshot) Position() store.Position { return s.at }

func (s *snapshot) Close() error { return nil }

func (s *snapshot) Writers() ([]store.WriterState, error) {
	var out []store.WriterState
	for _, w := range slices.SortedFunc(maps.Keys(s.st.writers), record.Writer.Compare) {
		out = append(out, *s.st.writers[w])
	}
	return out, nil
}

func (s *snapshot) Scan(table string, prefix []record.Value, fn func(store.Row, record.Point, int64) error) error {
	k, err := record.EncodeKey(prefix...)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(s.st.cfg.Tables, func(t schema.Table) bool { return t.Name == table })
	if i < 0 {
		return fmt.Errorf("no such table: %s", table)
	}
	id := s.st.cfg.Tables[i].ID
	for _, p := range slices.SortedFunc(maps.Keys(s.st.slots), place.compare) {
		if p.table != id || !strings.HasPrefix(string(p.key), string(k)) {
			continue
		}
		shown := s.st.slots[p].shown
		if row := s.st.row(p, shown); row != nil {
			if err := fn(row, shown.at, shown.wall); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *snapshot) Withheld() ([]store.Withheld, error) {
	var out []store.Withheld
	add := func(h held) {
		name := fmt.Sprintf("%016x", uint64(h.rec.Table))
		if t, ok := s.st.tables[h.rec.Table]; ok {
			name = t.Name
		}
		out = append(out, store.Withheld{Table: name, Key: h.rec.Key, Point: h.at, Hash: s.st.hasher.Hash(h.rec, h.at),
			Reason: h.reason, Detail: h.detail, Since: h.since})
	}
	for _, p := range slices.SortedFunc(maps.Keys(s.st.slots), place.compare) {
		if top := s.st.slots[p].top; top.reason != "" {
			add(top)
		}
	}
	for _, f := range s.st.foreign {
		add(f)
	}
	return out, nil
}

// Deliver implements store.Snapshot.
func (s *snapshot) Deliver(w record.Writer, r record.Range, limit int, without ...record.Kind) ([]record.Delivery, error) {
	ws := s.st.writers[w]
	if ws == nil {
		return nil, nil
	}
	sets := s.changesets(w, without)
	for i, k := range record.Kinds {
		if !slices.Contains(without, k) && !s.st.cfg.Mutant.is(RangesOnly) {
			r.From = max(r.From, ws.Floors[i]+1)
		}
	}
	var out []record.Delivery
	size := 0
	for _, have := range ws.Received.Ranges() {
		from, to := max(have.From, r.From), min(have.To, r.To)
		if from > to {
			continue
		}
		d := record.Delivery{Writer: w, Range: record.Range{From: from, To: to}}
		for _, c := range sets {
			if c.Version < from || c.Version > to {
				continue
			}
			n := len(record.AppendDelivery(nil, record.Pushed(c)))
			if size > 0 && size+n > limit {
				d.Range.To = c.Version - 1
				if d.Range.To >= from {
					out = append(out, d)
				}
				return out, nil
			}
			d.Changesets, size = append(d.Changesets, c), size+n
		}
		out = append(out, d)
	}
	return out, nil
}

// changesets lists what still stands of a writer, by version.
func (s *snapshot) changesets(w record.Writer, without []record.Kind) []record.Changeset {
	by := map[record.Version]*record.Changeset{}
	add := func(h held) {
		if h.at.Writer != w || slices.Contains(without, h.rec.Kind) {
			return
		}
		c := by[h.at.Version]
		if c == nil {
			c = &record.Changeset{Writer: w, Version: h.at.Version, Wall: h.wall}
			by[h.at.Version] = c
		}
		c.Records = append(c.Records, h.rec)
	}
	for _, p := range slices.SortedFunc(maps.Keys(s.st.slots), place.compare) {
		add(s.st.slots[p].top)
	}
	for _, f := range s.st.foreign {
		add(f)
	}
	var out []record.Changeset
	for _, v := range slices.Sorted(maps.Keys(by)) {
		out = append(out, *by[v])
	}
	return out
}
