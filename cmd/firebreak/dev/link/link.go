// Package link is the network between the nodes of a federation in one
// process, with the latency, loss and cuts that it is told to have; no
// privilege is needed. Everything is done at the sender: a packet is dropped
// or sent later, the bytes of a connection are sent later and in order.
//
// A cut loses packets and holds the bytes of connections until it is mended,
// as a network that swallows everything does. Loss delays the bytes of a
// connection by a retransmission. The same seed drops the same packets of a
// link, counted from its first.
package link

import (
	"hash/fnv"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Node names an end of a link.
type Node string

// Quality is what a link does to what is sent over it, one way.
type Quality struct {
	Delay time.Duration
	Loss  float64 // share of packets that are lost, 0..1
	Cut   bool    // nothing arrives
}

// and returns what two causes do together.
func (q Quality) and(o Quality) Quality {
	return Quality{Delay: q.Delay + o.Delay, Loss: 1 - (1-q.Loss)*(1-o.Loss), Cut: q.Cut || o.Cut}
}

// Rule makes some links worse.
type Rule struct {
	Between func(from, to Node) bool
	Quality
}

// Config of Links.
type Config struct {
	Seed    uint64
	Quality func(from, to Node) Quality // of a link without rules; nil means perfect ones
}

// Links are all links of a federation. Safe for concurrent use.
type Links struct {
	// Set by New, then constant.
	cfg Config

	perfect atomic.Bool // nothing has to be done to anything
	dropped atomic.Uint64

	mu      sync.Mutex
	rules   []Rule
	changed chan struct{}       // closed and replaced when the rules change
	names   map[string]Node     // by address
	pairs   map[[2]Node]*source // of chance
}

// New makes links.
func New(cfg Config) *Links {
	l := &Links{cfg: cfg, changed: make(chan struct{}), names: map[string]Node{}, pairs: map[[2]Node]*source{}}
	l.perfect.Store(cfg.Quality == nil)
	return l
}

// Name says whose address this is. An address that nobody has is not slowed.
func (l *Links) Name(addr string, n Node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names[addr] = n
}

func (l *Links) forget(addr string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.names, addr)
}

// Add adds a rule.
func (l *Links) Add(r Rule) { l.set(func(rules []Rule) []Rule { return append(rules, r) }) }

// Mend removes every rule.
func (l *Links) Mend() { l.set(func([]Rule) []Rule { return nil }) }

func (l *Links) set(change func([]Rule) []Rule) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rules = change(l.rules)
	l.perfect.Store(l.cfg.Quality == nil && len(l.rules) == 0)
	close(l.changed)
	l.changed = make(chan struct{})
}

// Dropped returns how many packets were lost on purpose.
func (l *Links) Dropped() uint64 { return l.dropped.Load() }

// find returns the link from a node to an address, and when to ask again.
// Found is false for an address that nobody has.
func (l *Links) find(from Node, addr string) (q Quality, pair *source, changed <-chan struct{}, found bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	to, found := l.names[addr]
	if !found {
		return q, nil, l.changed, false
	}
	if l.cfg.Quality != nil {
		q = l.cfg.Quality(from, to)
	}
	for _, r := range l.rules {
		if r.Between(from, to) {
			q = q.and(r.Quality)
		}
	}
	pair = l.pairs[[2]Node{from, to}]
	if pair == nil {
		pair = newSource(l.cfg.Seed, from, to)
		l.pairs[[2]Node{from, to}] = pair
	}
	return q, pair, l.changed, true
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
