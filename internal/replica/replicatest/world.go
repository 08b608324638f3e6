// Package replicatest is a cluster of replica cores over memory stores in
// virtual time: one goroutine, one seed, one order of events. Equal seeds give
// equal traces. Tests use it to lose, delay, repeat and reorder frames, to cut
// links, and to stop, crash and restore nodes.
package replicatest

import (
	"container/heap"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

// Config of a world.
type Config struct {
	Seed      uint64
	Tables    []schema.Table
	Packing   *replica.Packing // of pushes; nil sends them as they are
	Loss      float64          // of frames
	Duplicate float64          // of frames
	Delay     time.Duration    // of a frame: from half of it to one and a half, each on its own, so frames overtake
	Close     bool             // nodes close their earlier writers
	Continue  bool             // break the rule: a clean stop's writer goes on
}

// World is a cluster. Not safe for concurrent use.
type World struct {
	cfg    Config
	now    time.Duration
	random *rand.Rand
	events events
	order  uint64
	nodes  []*Node // in the order they were added
	cut    map[[2]record.Node]bool
	trace  hash.Hash64

	Frames, Bytes int // sent, by class: see Pushes
	Pushes        int
	Closings      int
	Sent          map[string]Traffic // by replica.KindOf
}

// Traffic is what was sent of one kind.
type Traffic struct {
	Frames, Bytes int
}

// epoch is the wall time at which every world begins.
var epoch = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// New returns a world without nodes.
func New(cfg Config) *World {
	return &World{cfg: cfg, random: rand.New(rand.NewPCG(cfg.Seed, 1)), cut: map[[2]record.Node]bool{}, trace: fnv.New64a(), Sent: map[string]Traffic{}}
}

// Trace returns a hash over all that has happened.
func (w *World) Trace() uint64 { return w.trace.Sum64() }

// Now returns the time since the world began.
func (w *World) Now() time.Duration { return w.now }

// Random is the world's source of chance.
func (w *World) Random() *rand.Rand { return w.random }

// Nodes lists the nodes, in the order they were added.
func (w *World) Nodes() []*Node { return w.nodes }

// Add makes a node on an empty disk, not started.
func (w *World) Add(name record.Node) *Node {
	n := newNode(w, name)
	w.nodes = append(w.nodes, n)
	return n
}

func (w *World) names() []record.Node {
	out := make([]record.Node, len(w.nodes))
	for i, n := range w.nodes {
		out[i] = n.Name
	}
	return out
}

// Cut stops frames from one node to another, silently; Join lets them pass.
func (w *World) Cut(from, to *Node)  { w.cut[[2]record.Node{from.Name, to.Name}] = true }
func (w *World) Join(from, to *Node) { delete(w.cut, [2]record.Node{from.Name, to.Name}) }

// Heal lets all frames pass again, none lost and none repeated.
func (w *World) Heal() {
	clear(w.cut)
	w.cfg.Loss, w.cfg.Duplicate = 0, 0
}

// Run lets time pass until d from now.
func (w *World) Run(d time.Duration) { w.until(w.now+d, func() bool { return false }) }

// RunUntil lets time pass until done, or d from now, and reports done.
func (w *World) RunUntil(d time.Duration, done func() bool) bool {
	return w.until(w.now+d, done)
}

func (w *World) until(end time.Duration, done func() bool) bool {
	if done() {
		return true
	}
	for len(w.events) > 0 && w.events[0].at <= end {
		e := heap.Pop(&w.events).(event)
		w.now = max(w.now, e.at)
		if e.node.life != e.life {
			continue // meant for a start that is over
		}
		e.do()
		if done() {
			return true
		}
	}
	w.now = max(w.now, end)
	return done()
}

// at has something happen to the present start of n.
func (w *World) at(when time.Duration, n *Node, do func()) {
	w.order++
	heap.Push(&w.events, event{when, w.order, n, n.life, do})
}

// log adds to the trace.
func (w *World) log(what byte, from, to *Node, b []byte) {
	head := [16]byte{what, byte(from.index), byte(to.index)}
	for i := range 8 {
		head[8+i] = byte(w.now >> (8 * i))
	}
	_, _ = w.trace.Write(head[:])
	_, _ = w.trace.Write(b)
}

// event is something that happens to one start of a node.
type event struct {
	at    time.Duration
	order uint64 // of those of one moment
	node  *Node
	life  int
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
	*e = (*e)[:last]
	return x
}
