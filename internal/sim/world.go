// Package sim is the kernel of the seeded simulation: virtual time, one
// goroutine, links and servers that can be made to fail, and properties that
// are checked while it runs. It knows nothing of what it simulates.
//
// Everything random comes from streams that are named: a stream depends on the
// seed and its name alone, so what happens on one link changes nothing on
// another. Equal seeds give equal traces, on any number of processors.
package sim

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// World is the scheduler. Not safe for concurrent use.
type World struct {
	seed    uint64
	now     time.Duration
	order   uint64
	events  events
	streams map[string]*rand.Rand
	trace   Trace
	done    uint64
	after   []func() error
}

// New returns a world in which nothing happens yet.
func New(seed uint64) *World {
	return &World{seed: seed, streams: map[string]*rand.Rand{}}
}

// Now returns the time since the world began.
func (w *World) Now() time.Duration { return w.now }

// Events returns how many things have happened.
func (w *World) Events() uint64 { return w.done }

// Stream returns the source of chance of a name.
func (w *World) Stream(name string) *rand.Rand {
	r := w.streams[name]
	if r == nil {
		h := fnv.New64a()
		_, _ = h.Write([]byte(name))
		r = rand.New(rand.NewPCG(w.seed, h.Sum64()))
		w.streams[name] = r
	}
	return r
}

// Life is one start of a process. What is to happen in it does not once it is
// over.
type Life struct{ over bool }

// End ends l.
func (l *Life) End() { l.over = true }

// At has something happen to a life, or to the world itself if that is nil.
// A time that has passed means now.
func (w *World) At(when time.Duration, l *Life, do func()) {
	w.order++
	heap.Push(&w.events, event{max(when, w.now), w.order, l, do})
}

// AfterEach has check judge the world after everything that happens. The first
// error ends the run.
func (w *World) AfterEach(check func() error) { w.after = append(w.after, check) }

// Run lets time pass until end. It returns the first error of a check.
func (w *World) Run(end time.Duration) error {
	_, err := w.RunUntil(end, func() bool { return false })
	return err
}

// RunUntil lets time pass until done or until end, and reports done.
func (w *World) RunUntil(end time.Duration, done func() bool) (bool, error) {
	for len(w.events) > 0 && w.events[0].at <= end {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		if e.life != nil && e.life.over {
			continue
		}
		w.done++
		e.do()
		for _, check := range w.after {
			if err := check(); err != nil {
				return false, fmt.Errorf("at %v: %w", w.now, err)
			}
		}
		if done() {
			return true, nil
		}
	}
	w.now = max(w.now, end)
	return done(), nil
}

// Note adds to the trace: what happened now, to whom, with which bytes.
func (w *World) Note(what, who string, b []byte) { w.trace.Note(w.now, what, who, b) }

// Trace returns a hash over all that was noted.
func (w *World) Trace() Trace { return w.trace }

// event is something that happens to a life.
type event struct {
	at    time.Duration
	order uint64 // of those of one moment
	life  *Life
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = event{}
	*e = (*e)[:last]
	return x
}
