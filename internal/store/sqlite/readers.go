package sqlite

import (
	"sync"

	"github.com/firebreak-dev/firebreak/internal/store"
)

// readers knows how to end every read in progress, so that closing the store
// waits for nobody's leisure.
type readers struct {
	mu     sync.Mutex
	closed bool
	next   uint64
	ends   map[uint64]func()
}

// add notes a reader and returns what to call when it is done by itself.
func (r *readers) add(end func()) (done func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, store.ErrClosed
	}
	if r.ends == nil {
		r.ends = map[uint64]func(){}
	}
	r.next++
	id := r.next
	r.ends[id] = end
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.ends, id)
	}, nil
}

// close ends all readers and lets no more in.
func (r *readers) close() {
	r.mu.Lock()
	r.closed = true
	var ends []func()
	for _, end := range r.ends {
		ends = append(ends, end)
	}
	r.mu.Unlock()
	for _, end := range ends {
		end()
	}
}
