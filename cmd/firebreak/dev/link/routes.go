package link

import (
	"hash/fnv"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// State is all that a node's port goes by.
type State struct {
	Seed  uint64           `json:"seed"`
	Node  Node             `json:"node"`
	Home  string           `json:"home,omitempty"` // the IP address from which it dials; empty for any
	Names map[string]Node  `json:"names"`          // by host:port of a listener, and by home
	To    map[Node]Quality `json:"to,omitempty"`   // the links from it that are not perfect
}

// routes is the state of a port, looked up at each sending.
type routes struct {
	perfect atomic.Bool // nothing has to be done to anything
	dropped atomic.Uint64

	mu      sync.Mutex
	state   State
	changed chan struct{}    // closed and replaced when the state changes
	chance  map[Node]*source // of the links from here
}

func newRoutes(s State) *routes {
	r := &routes{changed: make(chan struct{}), chance: map[Node]*source{}}
	r.set(s)
	return r
}

func (r *routes) set(s State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = s
	r.perfect.Store(len(s.To) == 0)
	close(r.changed)
	r.changed = make(chan struct{})
}

// find returns the link to an address, and when to ask again. Found is false
// for an address that nobody has.
func (r *routes) find(addr string) (q Quality, chance *source, changed <-chan struct{}, found bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	to, found := r.state.Names[addr]
	if !found {
		return q, nil, r.changed, false
	}
	chance = r.chance[to]
	if chance == nil {
		chance = newSource(r.state.Seed, r.state.Node, to)
		r.chance[to] = chance
	}
	return r.state.To[to], chance, r.changed, true
}

func (r *routes) home() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Home
}

// source is the chance of one link.
type source struct {
	mu  sync.Mutex
	rnd *rand.Rand
}

func newSource(seed uint64, from, to Node) *source {
	h := fnv.New64a()
	_, _ = io.WriteString(h, string(from)+"\n"+string(to)) // a hash takes everything
	return &source{rnd: rand.New(rand.NewPCG(seed, h.Sum64()))}
}

// hit reports whether something of this probability happens.
func (s *source) hit(p float64) bool {
	if p <= 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rnd.Float64() < p
}
