package watch

import "github.com/firebreak-dev/firebreak/internal/record"

// queue holds the keys that a reader has yet to be told of, each once however
// often it changed. It is bounded: beyond the limit it forgets everything and
// is lost, and the reader starts from a snapshot again.
type queue struct {
	order []record.Key
	has   map[record.Key]struct{}
	limit int
	lost  bool
}

func newQueue(limit int) *queue { return &queue{has: map[record.Key]struct{}{}, limit: limit} }

// add queues k; it reports whether that lost the queue.
func (q *queue) add(k record.Key) bool {
	if _, ok := q.has[k]; ok || q.lost {
		return false
	}
	if len(q.order) >= q.limit {
		q.order, q.has, q.lost = nil, map[record.Key]struct{}{}, true
		return true
	}
	q.order = append(q.order, k)
	q.has[k] = struct{}{}
	return false
}

// fill starts the queue anew with keys, whatever their number, and leaves as
// much room for changes as before.
func (q *queue) fill(keys []record.Key, limit int) {
	waiting := q.order
	*q = *newQueue(limit + len(keys))
	for _, k := range keys {
		q.add(k)
	}
	for _, k := range waiting {
		q.add(k)
	}
}

// take removes and returns the first n keys.
func (q *queue) take(n int) []record.Key {
	n = min(n, len(q.order))
	out := append([]record.Key(nil), q.order[:n]...)
	for _, k := range out {
		delete(q.has, k)
	}
	if q.order = q.order[n:]; len(q.order) == 0 {
		q.order = nil
	}
	return out
}
