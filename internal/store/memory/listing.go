package memory

import (
	"cmp"
	"context"
	"io"
	"maps"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

func (s *snapshot) Nodes() ([]store.NodeState, error) {
	var out []store.NodeState
	for _, n := range slices.Sorted(maps.Keys(s.st.nodes)) {
		out = append(out, s.st.nodes[n])
	}
	return out, nil
}

// listing implements store.Listing.
type listing struct {
	rest []record.Changeset
	err  error // at the end
}

// List implements store.Snapshot.
func (s *snapshot) List(scopes []store.Scope) (store.Listing, error) {
	var all []held
	for _, sl := range s.st.slots {
		all = append(all, sl.top)
	}
	all = append(all, s.st.foreign...)
	all = slices.DeleteFunc(all, func(h held) bool {
		return !slices.Contains(scopes, store.ScopeOf(h.at.Writer, h.rec.Kind))
	})
	l := &listing{err: io.EOF}
	if !s.st.sums(all, scopes) {
		l.err = store.ErrDamaged
	}
	if s.st.cfg.Mutant.is(LiveOnly) {
		all = slices.DeleteFunc(all, func(h held) bool { return h.rec.Deleted })
	}
	l.rest = group(all)
	return l, nil
}

// sums reports whether records are what the fingerprints of scopes say.
func (st *state) sums(all []held, scopes []store.Scope) bool {
	type part struct {
		w record.Writer
		k record.Kind
	}
	sums := map[part]record.Fingerprint{}
	for _, h := range all {
		if p := (part{h.at.Writer, h.rec.Kind}); !h.rec.Deleted {
			sums[p] = sums[p].Add(st.hasher.Hash(h.rec, h.at))
		}
	}
	for w, ws := range st.writers {
		for i, k := range record.Kinds {
			if slices.Contains(scopes, store.ScopeOf(w, k)) && sums[part{w, k}] != ws.Fingerprints[i] {
				return false
			}
		}
	}
	return true
}

// group makes changesets of records.
func group(all []held) []record.Changeset {
	slices.SortStableFunc(all, func(a, b held) int {
		return cmp.Or(a.at.Writer.Compare(b.at.Writer), cmp.Compare(a.at.Version, b.at.Version),
			cmp.Compare(a.rec.Table, b.rec.Table), cmp.Compare(a.rec.Key, b.rec.Key))
	})
	var out []record.Changeset
	for _, h := range all {
		if n := len(out); n == 0 || out[n-1].Point() != h.at {
			out = append(out, record.Changeset{Writer: h.at.Writer, Version: h.at.Version, Wall: h.wall})
		}
		last := &out[len(out)-1]
		last.Records = append(last.Records, h.rec)
	}
	return out
}

// Next implements store.Listing.
func (l *listing) Next(limit int) ([]record.Changeset, error) {
	n := 0
	for size := 0; n < len(l.rest) && (n == 0 || size < limit); n++ {
		size += len(record.AppendDelivery(nil, record.Pushed(l.rest[n])))
	}
	if n == 0 {
		return nil, l.err
	}
	out := l.rest[:n]
	l.rest = l.rest[n:]
	return out, nil
}

// TakeListing implements store.Store.
func (s *Store) TakeListing(ctx context.Context, p store.ListingPage) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return store.ErrClosed
	}
	if p.First {
		s.staged = store.ListingPage{First: true}
	}
	if !s.staged.First {
		return store.ErrNoListing
	}
	mine := s.disk.startsSince(s.since)
	if err := p.CheckOwn(func(w record.Writer) (record.Version, bool) {
		over := w.Boot <= s.st.nodes[w.Node].Complete // it may be forgotten, and nothing of it is taken
		return s.st.received(w).Head, slices.Contains(mine, w) && !over
	}); err != nil {
		s.staged = store.ListingPage{}
		return err
	}
	for _, c := range slices.Concat(p.Listed, p.Rest) {
		for _, r := range c.Records {
			if err := r.Check(); err != nil {
				s.staged = store.ListingPage{}
				return err
			}
		}
	}
	s.staged.Listed = append(s.staged.Listed, p.Listed...)
	s.staged.Rest = append(s.staged.Rest, p.Rest...)
	if p.End == nil {
		return nil
	}
	whole := s.staged
	whole.End, s.staged = p.End, store.ListingPage{}
	s.log(entry{listing: &whole, mine: mine, wall: s.cfg.Now()})
	s.clock.Restore(s.st.stamp)
	return nil
}

// Collect implements store.Store.
func (s *Store) Collect(ctx context.Context, ages store.Ages, limit int) (store.Collected, error) {
	if err := ctx.Err(); err != nil {
		return store.Collected{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return store.Collected{}, store.ErrClosed
	}
	e := entry{collect: &collection{ages, limit}, wall: s.cfg.Now()}
	if due, over := s.st.due(*e.collect, e.wall), s.st.forgettable(); len(due)+len(over) == 0 {
		return store.Collected{}, nil
	}
	return s.log(e).collected, nil
}
