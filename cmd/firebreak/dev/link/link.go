// Package link is the network between the nodes of a federation, with the
// latency, loss and cuts that it is told to have; no privilege is needed.
// Everything is done at the sender: a packet is dropped or sent later, the
// bytes of a connection are sent later and in order.
//
// Links know what every link is like. A node reaches the others by its Port,
// which goes by that: in this process directly, in a process of its own over
// a socket to it (Serve and Join).
//
// A cut loses packets and holds the bytes of connections until it is mended,
// as a network that swallows everything does. Loss delays the bytes of a
// connection by a retransmission. The same seed drops the same packets of a
// link, counted from the start of its sender.
package link

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Node names an end of a link.
type Node string

// Quality is what a link does to what is sent over it, one way.
type Quality struct {
	Delay time.Duration `json:"delay,omitempty"`
	Loss  float64       `json:"loss,omitempty"` // share of packets that are lost, 0..1
	Cut   bool          `json:"cut,omitempty"`  // nothing arrives
}

// and returns what two causes do together.
func (q Quality) and(o Quality) Quality {
	return Quality{Delay: q.Delay + o.Delay, Loss: 1 - (1-q.Loss)*(1-o.Loss), Cut: q.Cut || o.Cut}
}

// Rule makes the links of some nodes worse.
type Rule struct {
	Nodes  []Node
	Across bool // only those to and from all others, else also those between them
	Quality
}

// Holds reports whether a link is worse for it.
func (r Rule) Holds(from, to Node) bool {
	a, b := slices.Contains(r.Nodes, from), slices.Contains(r.Nodes, to)
	return a != b || a && !r.Across
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

	mu      sync.Mutex
	rules   []Rule
	number  uint64              // of what is so now; rises with every change
	changed chan struct{}       // closed and replaced at every change
	names   map[string]Node     // by host:port of a listener, and by home
	homes   map[Node]netip.Addr // from where each node dials
	ports   map[*Port]bool      // of the nodes in this process
	remotes map[*remote]bool    // of those in others
}

// New makes links.
func New(cfg Config) *Links {
	return &Links{
		cfg: cfg, changed: make(chan struct{}), names: map[string]Node{}, homes: map[Node]netip.Addr{},
		ports: map[*Port]bool{}, remotes: map[*remote]bool{},
	}
}

// Name says on which host:port a node listens. An address that nobody has is
// not slowed.
func (l *Links) Name(addr string, n Node) {
	l.change(func() {
		l.names[addr] = n
		if _, ok := l.homes[n]; !ok {
			home := homeOf(len(l.homes))
			l.homes[n], l.names[home.String()] = home, n
		}
	})
}

// homeOf returns the loopback address from which the i-th node dials, so that
// the other end of a connection knows whose it is.
func homeOf(i int) netip.Addr {
	i++
	return netip.AddrFrom4([4]byte{127, 32, byte(i >> 8), byte(i)})
}

// Add adds a rule. It returns when every node goes by it, also those in other
// processes.
func (l *Links) Add(ctx context.Context, r Rule) error {
	return await(ctx, l.change(func() { l.rules = append(l.rules, r) }))
}

// Mend removes every rule, in the same way.
func (l *Links) Mend(ctx context.Context) error {
	return await(ctx, l.change(func() { l.rules = nil }))
}

// change makes one change and tells everybody. It returns what to wait for.
func (l *Links) change(do func()) (waiting []<-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do()
	l.number++
	close(l.changed)
	l.changed = make(chan struct{})
	for p := range l.ports {
		p.routes.set(l.state(p.node))
	}
	for r := range l.remotes {
		waiting = append(waiting, r.await(l.number))
	}
	return waiting
}

// state is what a node must know. Called with mu held.
func (l *Links) state(from Node) State {
	s := State{Seed: l.cfg.Seed, Node: from, Names: maps.Clone(l.names), To: map[Node]Quality{}}
	if home, ok := l.homes[from]; ok {
		s.Home = home.String()
	}
	for to := range l.homes {
		q := Quality{}
		if l.cfg.Quality != nil {
			q = l.cfg.Quality(from, to)
		}
		for _, r := range l.rules {
			if r.Holds(from, to) {
				q = q.and(r.Quality)
			}
		}
		if q != (Quality{}) {
			s.To[to] = q
		}
	}
	return s
}
