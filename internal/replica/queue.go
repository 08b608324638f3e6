package replica

import (
	"cmp"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// queue holds deliveries on their way to the store. Nodes take turns, so that
// one noisy writer delays nobody; the pushes of one node beyond its share are
// dropped and heal by sync. Answers are always taken: their room was set
// aside when they were asked for.
type queue struct {
	limit, share int

	bytes   int // waiting and out
	turns   []*turn
	last    record.Node // whose turn it was
	out     []offer     // with the store
	offered bool        // out was handed over and is not answered

	retryAt time.Duration // after a failure; zero means none
	failing time.Duration // the wait before that
}

// turn is what waits of one node's writers. It goes when it is empty.
type turn struct {
	node   record.Node
	bytes  int
	offers []offer
}

type offer struct {
	delivery record.Delivery
	bytes    int
	from     record.Node
	answer   bool
}

const (
	batchBytes = 256 << 10
	batchCount = 256
	retryBase  = 100 * time.Millisecond
	retryMax   = 5 * time.Second
)

func (q *queue) init(cfg Config) { q.limit, q.share = cfg.Queue, cfg.Share }

// add takes o, or reports that there is no room for it.
func (q *queue) add(o offer) bool {
	node := o.delivery.Writer.Node
	i, ok := slices.BinarySearchFunc(q.turns, node, func(t *turn, n record.Node) int { return cmp.Compare(t.node, n) })
	held := 0
	if ok {
		held = q.turns[i].bytes
	}
	if !o.answer && (q.bytes+o.bytes > q.limit || held > 0 && held+o.bytes > q.share) {
		return false
	}
	if !ok {
		q.turns = slices.Insert(q.turns, i, &turn{node: node})
	}
	q.turns[i].offers = append(q.turns[i].offers, o)
	q.turns[i].bytes += o.bytes
	q.bytes += o.bytes
	return true
}

// batch returns the next deliveries for the store, none while some are out.
func (q *queue) batch(now time.Duration) []record.Delivery {
	if q.offered || now < q.retryAt {
		return nil
	}
	q.retryAt = 0
	if len(q.out) == 0 {
		q.fill()
	}
	if len(q.out) == 0 {
		return nil
	}
	q.offered = true
	batch := make([]record.Delivery, len(q.out))
	for i, o := range q.out {
		batch[i] = o.delivery
	}
	return batch
}

func (q *queue) fill() {
	i, _ := slices.BinarySearchFunc(q.turns, q.last, func(t *turn, n record.Node) int { return cmp.Or(cmp.Compare(t.node, n), -1) })
	for size := 0; len(q.turns) > 0 && size < batchBytes && len(q.out) < batchCount; {
		if i >= len(q.turns) {
			i = 0
		}
		t := q.turns[i]
		o := t.offers[0]
		t.offers, t.bytes = t.offers[1:], t.bytes-o.bytes
		q.out = append(q.out, o)
		size += o.bytes
		q.last = t.node
		if len(t.offers) == 0 {
			q.turns = slices.Delete(q.turns, i, i+1)
		} else {
			i++
		}
	}
}

// answered ends the batch that is out and returns it.
func (q *queue) answered() []offer {
	out := q.out
	q.out, q.offered, q.failing = nil, false, 0
	for _, o := range out {
		q.bytes -= o.bytes
	}
	return out
}

// failed keeps the batch to offer it again.
func (q *queue) failed(now time.Duration, r *random) {
	q.offered = false
	q.failing = min(max(2*q.failing, retryBase), retryMax)
	q.retryAt = now + r.jitter(q.failing)
}

func (q *queue) waiting() (n int) {
	for _, t := range q.turns {
		n += len(t.offers)
	}
	return n + len(q.out)
}

// each calls fn for every delivery that is waiting or out.
func (q *queue) each(fn func(offer)) {
	for _, o := range q.out {
		fn(o)
	}
	for _, t := range q.turns {
		for _, o := range t.offers {
			fn(o)
		}
	}
}
