package live

import (
	"context"
	"sync"
)

// queue holds watches until an evaluator takes them, in order, each once: a
// watch is in it only while it says that it is running.
type queue struct {
	mu      sync.Mutex
	waiting []*Watch
	more    chan struct{} // one token while there may be some
}

func newQueue() *queue { return &queue{more: make(chan struct{}, 1)} }

func (q *queue) push(w *Watch) {
	q.mu.Lock()
	q.waiting = append(q.waiting, w)
	q.mu.Unlock()
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

func (q *queue) pop() *Watch {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil
	}
	w := q.waiting[0]
	q.waiting[0] = nil
	if q.waiting = q.waiting[1:]; len(q.waiting) > 0 {
		q.signal() // for the next evaluator
	} else {
		q.waiting = nil
	}
	return w
}

// serve looks at what waits until ctx ends.
func (q *queue) serve(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-q.more:
		}
		for w := q.pop(); w != nil && ctx.Err() == nil; w = q.pop() {
			if to := w.belongs(); to != q {
				to.push(w) // more is to be looked at than when it was put here
				continue
			}
			w.look(ctx)
		}
	}
}
