package global

import (
	"context"
	"errors"
	"fmt"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica/runner"
)

// laneTag begins a question to one lane: the tag, the length of the lane's name
// in a byte, the name, and the lane's own question.
const laneTag byte = 0x02

// switchboard takes what comes from the mesh to the lane that it is for. What
// is for a lane that is not open is dropped and counted: it is synced once the
// list names that region here.
type switchboard struct {
	lanes   *lanes
	peers   *peers
	metrics *metrics
}

var _ mesh.Handler = (*switchboard)(nil)

func (s *switchboard) ledger(lane string) *ledger {
	if lane == "" {
		return s.lanes.list
	}
	if l := s.lanes.get(fleet.Region(lane)); l != nil && l.failure() == nil {
		return l.ledger
	}
	return nil
}

// Frame implements mesh.Handler.
func (s *switchboard) Frame(from mesh.Peer, flow mesh.Flow, frame []byte) {
	l := s.ledger(flow.Lane)
	if l == nil {
		s.metrics.unknownLane.Inc()
		return
	}
	l.runner.Frame(from, flow.Class, frame)
}

// PeerChanged implements mesh.Handler.
func (s *switchboard) PeerChanged(p mesh.Peer, connected bool) { s.peers.set(p, connected) }

// Answer implements mesh.Handler.
func (s *switchboard) Answer(ctx context.Context, from mesh.Peer, question []byte) ([]byte, error) {
	lane, question, err := splitQuestion(question)
	if err != nil {
		return nil, err
	}
	l := s.ledger(lane)
	if l == nil {
		return nil, fmt.Errorf("lane %q is not open here", lane)
	}
	if len(question) == 0 || question[0] != runner.QuestionTag {
		return nil, errors.New("unknown question")
	}
	return l.runner.Answer(ctx, from, question)
}

func joinQuestion(lane string, question []byte) []byte {
	b := append([]byte{laneTag, byte(len(lane))}, lane...)
	return append(b, question...)
}

func splitQuestion(b []byte) (lane string, question []byte, err error) {
	if len(b) < 2 || b[0] != laneTag || int(b[1]) > len(b)-2 {
		return "", nil, errors.New("question to no lane")
	}
	n := 2 + int(b[1])
	return string(b[2:n]), b[n:], nil
}

// laneMesh is the mesh as one lane's runner sees it.
type laneMesh struct {
	mesh.Mesh
	lane string
}

// Ask implements runner.Sender.
func (m laneMesh) Ask(ctx context.Context, to record.Node, question []byte) ([]byte, error) {
	return m.Mesh.Ask(ctx, to, joinQuestion(m.lane, question))
}
