package sqlite

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// maxQueued bounds the deliveries that wait; whoever offers more waits too.
const maxQueued = 4096

// delivery is one delivery on its way through the loop.
type delivery struct {
	record.Delivery
	done chan struct{} // closed when out or err is set

	// Owned by the loop.
	careful bool           // to be merged record by record: a record of it, or beside it, made a merge fail
	next    int            // changesets before it are merged
	from    record.Version // versions below it are received
	out     store.Outcome
	err     error
}

// remoteQueue holds what peers sent, a queue per writer, served in turn.
type remoteQueue struct {
	wake  chan struct{} // of size 1: there is something
	slots chan struct{} // one per delivery that waits

	mu     sync.Mutex
	byFrom map[record.Writer][]*delivery
	turn   []record.Writer // writers with a queue, the next first
	spent  buckets
	late   int // deliveries that others' were merged before, for their writer's budget
	closed error
}

func newRemoteQueue(budget Budget) *remoteQueue {
	return &remoteQueue{
		wake: make(chan struct{}, 1), slots: make(chan struct{}, maxQueued),
		byFrom: map[record.Writer][]*delivery{}, spent: buckets{budget, map[record.Writer]*bucket{}},
	}
}

func (q *remoteQueue) push(ctx context.Context, d *delivery) error {
	select {
	case q.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	q.mu.Lock()
	err := q.closed
	if err == nil {
		if len(q.byFrom[d.Writer]) == 0 {
			q.turn = append(q.turn, d.Writer)
		}
		q.byFrom[d.Writer] = append(q.byFrom[d.Writer], d)
	}
	q.mu.Unlock()
	if err != nil {
		q.leave()
		return err
	}
	q.kick()
	return nil
}

// kick wakes the loop.
func (q *remoteQueue) kick() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// pop takes the next delivery of the next writer, nil if there is none.
func (q *remoteQueue) pop() *delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.turn) == 0 {
		return nil
	}
	at := q.next(time.Now())
	w := q.turn[at]
	d := q.byFrom[w][0]
	q.turn = slices.Delete(q.turn, at, at+1)
	if rest := q.byFrom[w][1:]; len(rest) > 0 {
		q.byFrom[w] = rest
		q.turn = append(q.turn, w)
	} else {
		delete(q.byFrom, w)
	}
	return d
}

// next is the place of the first writer that keeps to its budget; if there is
// none, the first: nobody waits for it then.
func (q *remoteQueue) next(now time.Time) int {
	for i, w := range q.turn {
		if !q.spent.over(w, now) {
			q.late += i
			return i
		}
	}
	return 0
}

// spend counts what was merged of a writer.
func (q *remoteQueue) spend(w record.Writer, records int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.spent.spend(w, time.Now(), records)
}

// passed is how often a delivery was passed over for its writer's budget.
func (q *remoteQueue) passed() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.late
}

// unpop puts back a delivery that is half done: first of its writer.
func (q *remoteQueue) unpop(d *delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.byFrom[d.Writer]) == 0 {
		q.turn = append(q.turn, d.Writer)
	}
	q.byFrom[d.Writer] = append([]*delivery{d}, q.byFrom[d.Writer]...)
}

func (q *remoteQueue) length() int { return len(q.slots) }

// leave gives back the slot of a delivery that is done with.
func (q *remoteQueue) leave() { <-q.slots }

// fail ends deliveries without an outcome; a half-done one is taken out.
func (q *remoteQueue) fail(ds []*delivery, err error) {
	failed := map[*delivery]bool{}
	for _, d := range ds {
		if !failed[d] {
			failed[d] = true
			q.remove(d)
			d.err = err
			close(d.done)
			q.leave()
		}
	}
}

func (q *remoteQueue) remove(d *delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.byFrom[d.Writer]
	if len(l) == 0 || l[0] != d {
		return
	}
	if len(l) > 1 {
		q.byFrom[d.Writer] = l[1:]
		return
	}
	delete(q.byFrom, d.Writer)
	for i, w := range q.turn {
		if w == d.Writer {
			q.turn = append(q.turn[:i], q.turn[i+1:]...)
			return
		}
	}
}

func (q *remoteQueue) failAll(err error) {
	for d := q.pop(); d != nil; d = q.pop() {
		q.fail([]*delivery{d}, err)
	}
}

// close ends all that waits, and all that comes.
func (q *remoteQueue) close(err error) {
	q.mu.Lock()
	q.closed = err
	q.mu.Unlock()
	q.failAll(err)
}

// peek calls fn for the writers that have a queue.
func (q *remoteQueue) peek(fn func(record.Writer)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, w := range q.turn {
		fn(w)
	}
}
