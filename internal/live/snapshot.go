package live

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
)

// Bounds of one page of a snapshot.
const (
	pageRows = 256
	pageSize = 256 << 10 // bytes; a row that is larger is a page of its own
)

// Snapshot is a watch's result as of one change, for one reader. Rows come in
// pages: a reader keeps a page, and never the result, however slow it is.
// Readers share the result. One that changed since is kept for those who are
// still reading it only as long as there is room: see shelf. Not safe for
// concurrent use.
type Snapshot struct {
	Change uint64 // the last that it includes

	shelf  *shelf
	result *result
	at     int
}

// result is the rows of a watch, by id, as of one change.
type result struct {
	change uint64
	weight int // of the rows in memory

	// Guarded by the shelf.
	rows    []Row // nil once it is taken away
	readers int
	old     bool // the watch has another result now
	kept    bool // it is among those that the shelf counts
}

// shelf bounds the memory of results that only slow readers still need: when it
// is full the oldest goes, and its readers begin anew.
type shelf struct {
	limit int // bytes

	mu    sync.Mutex
	old   []*result // with readers; the oldest first
	bytes int
}

// Snapshot waits for the watch's first look at its result. The caller closes
// what it returns.
func (w *Watch) Snapshot(ctx context.Context) (*Snapshot, error) {
	if err := w.wait(ctx, func() bool { return w.ready }); err != nil {
		return nil, err
	}
	w.mu.Lock()
	if w.snap == nil {
		w.snap = &result{change: w.progress.last, weight: w.bytes, rows: make([]Row, 0, len(w.rows))}
		for _, r := range w.rows {
			w.snap.rows = append(w.snap.rows, *r)
		}
		slices.SortFunc(w.snap.rows, func(a, b Row) int { return cmp.Compare(a.ID, b.ID) })
	}
	r := w.snap
	w.mu.Unlock()
	w.e.shelf.take(r)
	return &Snapshot{Change: r.change, shelf: w.e.shelf, result: r}, nil
}

// Next returns the next rows, none at the end. They are not to be changed.
// ErrBehind says that the result changed, and this reader was too slow for the
// old one to be kept.
func (s *Snapshot) Next() ([]Row, error) {
	page, err := s.shelf.page(s.result, s.at)
	s.at += len(page)
	return page, err
}

// Close ends the reading.
func (s *Snapshot) Close() { s.shelf.release(s.result) }

func (s *shelf) take(r *result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.readers++
	s.keep(r)
}

// outdate says that a watch has another result now. R may be nil.
func (s *shelf) outdate(r *result) {
	if r == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.old = true
	s.keep(r)
}

// keep counts a result that only its readers need. The newest is kept, however
// large: else nobody could read it. Called with s.mu held.
func (s *shelf) keep(r *result) {
	if !r.old || r.readers == 0 || r.kept {
		return
	}
	r.kept = true
	s.old = append(s.old, r)
	for s.bytes += r.weight; s.bytes > s.limit && len(s.old) > 1; {
		gone := s.old[0]
		gone.rows = nil
		s.drop(0)
	}
}

// drop no longer counts a result. Called with s.mu held.
func (s *shelf) drop(i int) {
	s.bytes -= s.old[i].weight
	s.old = slices.Delete(s.old, i, i+1)
}

func (s *shelf) release(r *result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.readers--; r.readers > 0 {
		return
	}
	if i := slices.Index(s.old, r); i >= 0 {
		s.drop(i)
		r.kept = false
	}
}

func (s *shelf) page(r *result, at int) ([]Row, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.rows == nil {
		return nil, fmt.Errorf("%w: the rows changed, and the old ones were read too slowly", ErrBehind)
	}
	end, size := at, 0
	for ; end < len(r.rows) && end-at < pageRows && size < pageSize; end++ {
		size += sizeOf(r.rows[end].Cells)
	}
	return slices.Clone(r.rows[at:end]), nil
}
