// Package memory is the in-memory twin of the mesh between nodes: whole
// clusters in one process over a simulated network, without sockets, also in
// testing/synctest bubbles.
//
// It is harsher than the real one: where the network loses packets, single
// frames vanish, as they do in the real one only with their connection. Frames
// of a flow that arrive are in order.
package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/simnet"
)

// How nodes find each other and lose each other.
const (
	look         = 50 * time.Millisecond // between two looks at the others
	suspectAfter = 500 * time.Millisecond
	deadAfter    = 2 * time.Second
)

// Limits, as of the real mesh.
const (
	queueFrames = 4096
	queueBytes  = 8 << 20
	maxAnswers  = 16
)

// Network is one cluster. Its links are between node names.
type Network struct {
	*simnet.Network

	mu      sync.Mutex
	running map[record.Node]*Mesh
}

// NewNetwork returns an empty cluster on a perfect network.
func NewNetwork(seed uint64) *Network {
	return &Network{Network: simnet.New(seed), running: make(map[record.Node]*Mesh)}
}

// Join makes the endpoint of a node. It takes part while it runs. Self's state
// is not used.
func (n *Network) Join(self mesh.Peer) *Mesh {
	self.State = mesh.Alive
	m := &Mesh{net: n, dead: make(chan struct{}), over: make(chan struct{}), remotes: make(map[record.Node]*remote), inbox: make(map[source]chan []byte)}
	m.self.Store(&self)
	m.leaveAs.Store(int32(mesh.Restarting))
	return m
}

// members lists who runs, by name.
func (n *Network) members() []*Mesh {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]*Mesh, 0, len(n.running))
	for _, m := range n.running {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *Mesh) int { return strings.Compare(string(a.name()), string(b.name())) })
	return out
}

// Mesh is one node's endpoint. Safe for concurrent use.
type Mesh struct {
	net     *Network
	dead    chan struct{} // closed by Kill
	over    chan struct{} // closed at the end of Run
	killing sync.Once

	self      atomic.Pointer[mesh.Peer]
	leaveAs   atomic.Int32 // a mesh.State
	left      atomic.Int32 // the state that it left as; zero while it has not
	answering atomic.Int32

	// Set by Run before it takes part.
	handler mesh.Handler

	mu      sync.Mutex
	ended   bool
	remotes map[record.Node]*remote
	inbox   map[source]chan []byte
	wg      sync.WaitGroup
}

// source is where the frames of one inbox come from.
type source struct {
	from *Mesh
	flow mesh.Flow
}

var _ mesh.Mesh = (*Mesh)(nil)

// ErrKilled is what Run returns after Kill.
var ErrKilled = errors.New("killed")

func (m *Mesh) name() record.Node { return m.self.Load().Node }

// Run takes part until ctx ends or Kill; see mesh.Mesh.
func (m *Mesh) Run(ctx context.Context, h mesh.Handler) error {
	m.handler = h
	m.net.mu.Lock()
	if m.net.running[m.name()] != nil {
		m.net.mu.Unlock()
		return fmt.Errorf("join: node name %s is in use", m.name())
	}
	m.net.running[m.name()] = m
	m.net.mu.Unlock()

	err := m.watch(ctx)
	if err == nil {
		m.left.Store(m.leaveAs.Load())
	}
	m.net.mu.Lock()
	delete(m.net.running, m.name())
	m.net.mu.Unlock()
	m.mu.Lock()
	m.ended = true
	m.mu.Unlock()
	close(m.over)
	m.wg.Wait()
	return err
}

// Kill ends Run without a farewell, as if the process had died.
func (m *Mesh) Kill() { m.killing.Do(func() { close(m.dead) }) }

// Leave sets how the end of Run is announced.
func (m *Mesh) Leave(as mesh.State) {
	if as == mesh.Restarting || as == mesh.Draining {
		m.leaveAs.Store(int32(as))
	}
}

// SetWriter says that this node writes as another writer from now on.
func (m *Mesh) SetWriter(boot, bits uint64) {
	self := *m.self.Load()
	self.Boot, self.Bits = boot, bits
	m.self.Store(&self)
}

// Peers lists the other nodes that are known, by name.
func (m *Mesh) Peers() []mesh.Peer {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]mesh.Peer, 0, len(m.remotes))
	for _, r := range m.remotes {
		out = append(out, r.peer)
	}
	slices.SortFunc(out, func(a, b mesh.Peer) int { return strings.Compare(string(a.Node), string(b.Node)) })
	return out
}

// enter starts a goroutine of m unless it has ended.
func (m *Mesh) enter(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.start(f)
}

// start is enter for who holds mu.
func (m *Mesh) start(f func()) bool {
	if m.ended {
		return false
	}
	m.wg.Go(f)
	return true
}
