// Package mesh is the seam between a node and its cluster: frames to peers,
// questions to peers, and who is alive. Package quic is the real one (one UDP
// port, QUIC with mutual TLS, memberlist over the same connections), package
// memory its twin on a simulated network, and package meshtest the conformance
// suite that both pass.
//
// What a mesh keeps true: a frame is handed over with the name that the peer's
// certificate proved; frames of one flow from one start of a peer arrive in
// order or not at all, but that one above MaxInline may overtake others and be
// overtaken; sending never blocks and never waits for a receiver.
package mesh

import (
	"context"
	"errors"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// Errors of sending.
var (
	ErrNoPeer = errors.New("no connection to that peer")
	ErrFull   = errors.New("send queue of that peer is full")
)

// MaxFrame bounds one frame, in bytes. Frames above MaxInline travel on a
// stream of their own, so that they do not delay others.
const (
	MaxFrame  = 2 << 20
	MaxInline = 64 << 10
)

// Class keeps kinds of traffic from delaying each other: each has its own
// stream and queue per peer and lane.
type Class uint8

// The classes.
const (
	Push Class = 1
	Sync Class = 2
)

// String is the class's name in metrics.
func (c Class) String() string {
	switch c {
	case Push:
		return "push"
	case Sync:
		return "sync"
	}
	return "unknown"
}

// Flow is what a frame belongs to. A region has one lane, the empty one; at
// global each region's records travel in a lane of its name.
type Flow struct {
	Lane  string
	Class Class
}

// Peer is another node of the cluster.
type Peer struct {
	Node     record.Node
	Boot     uint64
	Bits     uint64
	Locality string
	Address  string // host:port of its UDP port
	Gateway  string // host:port of its gRPC, empty if it is none
	State    State
}

// State is what membership says of a peer.
type State uint8

// The states. A node is not its host: none of them takes a machine away.
const (
	Alive      State = 1 // answers; its machines are not suspect
	Suspected  State = 2 // did not answer a probe; still counts as alive
	Dead       State = 3 // did not answer for the suspicion time
	Restarting State = 4 // said that it stops and comes back
	Draining   State = 5 // said that its host is being drained
)

// Handler receives what peers send. Its methods are called from the mesh's
// goroutines, concurrently for different peers and flows; a slow Frame holds
// up only that flow of that peer.
type Handler interface {
	// Frame hands over one frame of a peer of which PeerChanged has told. The
	// slice is the handler's.
	Frame(from Peer, flow Flow, frame []byte)
	// PeerChanged says that a peer was connected, lost, or changed its state.
	// Connected is false while frames to it would fail.
	PeerChanged(p Peer, connected bool)
	// Answer answers a question that a peer asked with Ask.
	Answer(ctx context.Context, from Peer, question []byte) ([]byte, error)
}

// Mesh is one node's endpoint. Safe for concurrent use.
type Mesh interface {
	// Run joins the cluster and serves until ctx ends, then leaves as the
	// state given by Leave (Restarting if none was).
	Run(ctx context.Context, h Handler) error
	// Send queues a frame, which the caller must not change after. It never
	// blocks; ErrNoPeer or ErrFull mean that the frame was dropped and counted.
	Send(to record.Node, flow Flow, frame []byte) error
	// Ask sends a question of at most MaxFrame bytes and waits for the answer.
	Ask(ctx context.Context, to record.Node, question []byte) ([]byte, error)
	// Peers lists the other nodes that are known, dead ones included.
	Peers() []Peer
	// Leave sets how the end of Run is announced.
	Leave(as State)
}
