// Package runner drives a replica.Core: it moves what the core decides between
// a store and a mesh. One goroutine owns the core; reading the feed, applying
// and serving snapshots have one each, so that disk and network never hold up
// a decision.
//
// A node has one runner per lane. The owner of the mesh's handler calls Frame,
// PeerChanged and Answer of the runner of the frame's lane.
package runner

import (
	"context"
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// QuestionTag is the first byte of the questions that Answer answers. Other
// first bytes belong to the role.
const QuestionTag byte = 0x01

// Sender is what a runner needs of a mesh. If it also has
// SetWriter(boot, bits uint64), it is told of a renewed writer.
type Sender interface {
	Send(to record.Node, flow mesh.Flow, frame []byte) error
	Ask(ctx context.Context, to record.Node, question []byte) ([]byte, error)
	Peers() []mesh.Peer
}

// Config of a runner.
type Config struct {
	Node      record.Node           // required
	Lane      string                // the flow's lane; empty in a region's cluster
	Store     store.Store           // required
	Mesh      Sender                // required
	Fit       func() bool           // told to peers in answers to surveys; nil means never fit
	OnOwnTail func()                // called when an earlier writer of this node changed its own rows; may be nil, must not block
	Freeze    func() bool           // true: send nothing; nil means false
	Seed      int64                 // of the choice of peers and of jitter
	Logger    *slog.Logger          // nil discards
	Metrics   prometheus.Registerer // nil leaves metrics unregistered
	Progress  func()                // the watchdog's mark of the loop; may be nil
}

// Runner replicates one store over a mesh. Safe for concurrent use.
type Runner struct {
	cfg Config
}

// Report is what one peer answered to a survey.
type Report struct {
	Node       record.Node
	Boot, Bits uint64
	Fit        bool
	Sets       map[record.Writer]record.Received // not to be written to
	Err        error                             // why there is no answer
}

// Stats is a view of a runner.
type Stats struct {
	Writers int
	Gaps    int // versions below some head that are not received
}

var errNotYet = errors.New("not running")

// New returns a runner. Nothing happens before Run.
func New(cfg Config) (*Runner, error) { return &Runner{cfg: cfg}, nil }

// Run replicates until ctx ends. An error means that the store failed.
func (r *Runner) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Frame takes a frame of this runner's lane. It blocks while the runner is
// behind, which holds up that flow of that peer only.
func (r *Runner) Frame(from mesh.Peer, class mesh.Class, frame []byte) {}

// PeerChanged takes the mesh's word on a peer.
func (r *Runner) PeerChanged(p mesh.Peer, connected bool) {}

// Answer answers a peer's survey.
func (r *Runner) Answer(ctx context.Context, from mesh.Peer, question []byte) ([]byte, error) {
	return nil, errNotYet
}

// Survey asks peers in parallel what each has received.
func (r *Runner) Survey(ctx context.Context, peers []record.Node) []Report { return nil }

// WaitSets returns when this node has received all of sets.
func (r *Runner) WaitSets(ctx context.Context, sets map[record.Writer]record.Received) error {
	return errNotYet
}

// WaitPoint returns when this node has received p.
func (r *Runner) WaitPoint(ctx context.Context, p record.Point) error { return errNotYet }

// Received returns a copy of what this node has received, by writer.
func (r *Runner) Received() map[record.Writer]record.Received { return nil }

// Root is equal on nodes that have received the same.
func (r *Runner) Root() [16]byte { return [16]byte{} }

// Stats returns a view of the moment.
func (r *Runner) Stats() Stats { return Stats{} }
