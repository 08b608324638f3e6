package memory

import (
	"context"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/store"
)

// feed implements store.Feed: a place in the store's list of entries.
type feed struct {
	s    *Store
	next uint64
}

// Feed implements store.Store.
func (s *Store) Feed(from store.Position) (store.Feed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, store.ErrClosed
	}
	if !s.st.onLine(from) {
		return nil, store.ErrResync
	}
	return &feed{s: s, next: from.Sequence}, nil
}

// onLine reports whether a position is one that this disk gave.
func (st *state) onLine(p store.Position) bool {
	end := uint64(len(st.feed))
	for _, m := range slices.Backward(st.line) {
		if p.Sequence >= m.from && p.Sequence <= end && p.Node == m.writer.Node && p.Boot == m.writer.Boot && p.Bits == m.writer.Bits {
			return true
		}
		end = m.from
	}
	return false
}

// Next implements store.Feed.
func (f *feed) Next(ctx context.Context) ([]store.Entry, error) {
	for {
		f.s.mu.Lock()
		wake, ended := f.s.wake, f.s.ended
		entries := slices.Clone(f.s.st.feed[f.next:])
		f.s.mu.Unlock()
		switch {
		case len(entries) > 0:
			f.next += uint64(len(entries))
			return entries, nil
		case ended:
			return nil, store.ErrClosed
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close implements store.Feed.
func (f *feed) Close() error { return nil }
