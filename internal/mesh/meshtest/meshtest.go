// Package meshtest is the conformance suite of mesh.Mesh: what a node may rely
// on, whichever mesh it runs on. Both implementations pass it.
package meshtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// Cluster makes the nodes of one cluster for one test.
type Cluster interface {
	// Open makes a node's mesh, not yet running. All nodes of the cluster find
	// each other once they run. A node may be opened again after it ended.
	Open(t *testing.T, node record.Node, boot, bits uint64) mesh.Mesh
	// Kill makes a running node fall silent without a word; its Run may return
	// any error.
	Kill(m mesh.Mesh)
}

// patience is how long a condition may take to come true. Tests wait for
// conditions and never for a time.
const patience = 15 * time.Second

// Run runs the suite; each test gets a cluster of its own.
func Run(t *testing.T, cluster func(t *testing.T) Cluster) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Cluster)
	}{
		{"FramesOfAFlowArriveInOrder", framesArriveInOrder},
		{"FramesCarryTheProvenSender", framesCarrySender},
		{"LargeFramesArriveWhole", largeFramesArrive},
		{"WhatCannotBeSentIsRefused", refusedSends},
		{"SendNeverWaitsForASlowHandler", sendNeverWaits},
		{"ASlowFlowHoldsUpNoOther", slowFlowAlone},
		{"AnswersComeBack", answersComeBack},
		{"AskEndsWithItsContext", askEnds},
		{"PeersAreToldBeforeTheirFrames", toldBeforeFrames},
		{"FarewellsAreHeard", farewells},
		{"AKilledPeerIsDeadAndItsSuccessorAlive", killed},
		{"RunEndsWithItsContext", runEnds},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, cluster(t)) })
	}
}

// Node is a running mesh and what its handler has seen. Its fields that are
// functions are set before it is started.
type Node struct {
	mesh.Mesh
	Name     record.Node
	OnFrame  func(from mesh.Peer, f mesh.Flow, frame []byte)
	OnAnswer func(ctx context.Context, from mesh.Peer, question []byte) ([]byte, error)

	stop context.CancelFunc
	done chan struct{}

	mu    sync.Mutex
	err   error
	peers map[record.Node]Seen
	log   []string
}

// Seen is what a handler was last told of a peer.
type Seen struct {
	Peer      mesh.Peer
	Connected bool
}

// Frame implements mesh.Handler.
func (n *Node) Frame(from mesh.Peer, f mesh.Flow, frame []byte) {
	n.mu.Lock()
	if !n.peers[from.Node].Connected {
		n.log = append(n.log, fmt.Sprintf("frame of %s, of which nothing was told", from.Node))
	}
	n.mu.Unlock()
	if n.OnFrame != nil {
		n.OnFrame(from, f, frame)
	}
}

// PeerChanged implements mesh.Handler.
func (n *Node) PeerChanged(p mesh.Peer, connected bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.peers[p.Node] = Seen{p, connected}
}

// Answer implements mesh.Handler.
func (n *Node) Answer(ctx context.Context, from mesh.Peer, question []byte) ([]byte, error) {
	if n.OnAnswer == nil {
		return nil, fmt.Errorf("no answers here")
	}
	return n.OnAnswer(ctx, from, question)
}

// Start runs n until the test ends.
func (n *Node) Start(t *testing.T, m mesh.Mesh) *Node {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	n.Mesh, n.stop, n.done, n.peers = m, cancel, make(chan struct{}), make(map[record.Node]Seen)
	go func() {
		defer close(n.done)
		err := m.Run(ctx, n)
		n.mu.Lock()
		n.err = err
		n.mu.Unlock()
	}()
	t.Cleanup(func() { n.Stop() })
	return n
}

// Stop ends Run and returns its error.
func (n *Node) Stop() error {
	n.stop()
	<-n.done
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// Done is closed when Run has returned.
func (n *Node) Done() <-chan struct{} { return n.done }

// Peer returns what the handler was last told of a peer.
func (n *Node) Peer(name record.Node) Seen {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.peers[name]
}

// Complaints returns what the handler found wrong.
func (n *Node) Complaints() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log
}

// Until waits for a condition.
func Until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	end := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		<-tick.C
	}
}

// Meet waits until all nodes are connected with each other and told so.
func Meet(t *testing.T, nodes ...*Node) {
	t.Helper()
	for _, a := range nodes {
		for _, b := range nodes {
			if a != b {
				Until(t, fmt.Sprintf("%s is connected to %s", a.Name, b.Name), func() bool {
					s := a.Peer(b.Name)
					return s.Connected && s.Peer.State == mesh.Alive
				})
			}
		}
	}
}

// pair starts two nodes that have met.
func pair(t *testing.T, c Cluster, a, b *Node) {
	t.Helper()
	a.Name, b.Name = "a", "b"
	a.Start(t, c.Open(t, "a", 10, 1))
	b.Start(t, c.Open(t, "b", 20, 2))
	Meet(t, a, b)
}

// send sends, waiting while the queue is full.
func send(t *testing.T, n *Node, to record.Node, f mesh.Flow, frame []byte) {
	t.Helper()
	var err error
	Until(t, fmt.Sprintf("%s takes a frame for %s: %v", n.Name, to, err), func() bool {
		err = n.Send(to, f, frame)
		return err == nil
	})
}
