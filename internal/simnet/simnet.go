// Package simnet is a small simulated network: packets between endpoints, with
// delay, jitter (and so reordering), loss and cuts, from one seed. It works in
// testing/synctest bubbles. Package memory asks it for the fate of frames
// between nodes by name; a real QUIC mesh can run over its packet connections.
//
// Equal seeds give equal fates per pair of endpoints and order of packets
// between them; what goes on between other pairs changes nothing.
package simnet

import (
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"
)

// Link is how packets fare between two endpoints, one way.
type Link struct {
	Delay  time.Duration // of every packet
	Jitter time.Duration // up to so much more
	Loss   float64       // share of packets that vanish, 0 to 1
}

// Network is the set of links. Safe for concurrent use.
type Network struct {
	seed uint64

	mu    sync.Mutex
	all   Link
	links map[pair]Link
	cut   map[pair]bool
	group map[string]int // of names in a partition; zero is everybody else
	rand  map[pair]*rand.Rand
	conns map[string]*Conn // by address
}

type pair struct{ from, to string }

// New returns a network where every packet arrives at once.
func New(seed uint64) *Network {
	return &Network{
		seed:  seed,
		links: make(map[pair]Link),
		cut:   make(map[pair]bool),
		group: make(map[string]int),
		rand:  make(map[pair]*rand.Rand),
		conns: make(map[string]*Conn),
	}
}

// SetAll sets the link of every pair that has none of its own.
func (n *Network) SetAll(l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = l
}

// Set sets the link from one endpoint to another, one way.
func (n *Network) Set(from, to string, l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[pair{from, to}] = l
}

// Cut lets nothing pass from one endpoint to another, one way.
func (n *Network) Cut(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[pair{from, to}] = true
}

// Partition lets nothing pass between the groups, nor between them and the
// rest. It replaces an earlier partition; none heals it.
func (n *Network) Partition(groups ...[]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.group)
	for i, g := range groups {
		for _, name := range g {
			n.group[name] = i + 1
		}
	}
}

// Heal undoes every cut and partition.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
	clear(n.group)
}

// Open reports whether anything can pass from one endpoint to another.
func (n *Network) Open(from, to string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.open(from, to)
}

func (n *Network) open(from, to string) bool {
	return !n.cut[pair{from, to}] && n.group[from] == n.group[to]
}

// Pass decides the fate of one packet: after which delay it arrives, or that
// it does not.
func (n *Network) Pass(from, to string) (time.Duration, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := pair{from, to}
	l, ok := n.links[p]
	if !ok {
		l = n.all
	}
	r := n.rand[p]
	if r == nil {
		r = rand.New(rand.NewPCG(n.seed, hash(p)))
		n.rand[p] = r
	}
	lost := r.Float64() < l.Loss // drawn even if cut, so that a cut shifts no other fate
	d := l.Delay
	if l.Jitter > 0 {
		d += time.Duration(r.Int64N(int64(l.Jitter) + 1))
	}
	return d, !lost && n.open(from, to)
}

func hash(p pair) uint64 {
	h := fnv.New64a()
	h.Write([]byte(p.from + "\x00" + p.to))
	return h.Sum64()
}
