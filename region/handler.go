package region

import (
	"context"
	"errors"
	"fmt"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/replica/runner"
)

// handler is the node as the mesh sees it.
type handler Node

func (h *handler) Frame(from mesh.Peer, flow mesh.Flow, frame []byte) {
	if flow.Lane != "" {
		h.metrics.strayFrames.Inc()
		return
	}
	h.runner.Frame(from, flow.Class, frame)
}

func (h *handler) PeerChanged(p mesh.Peer, connected bool) {
	h.runner.PeerChanged(p, connected)
	h.members.changed(p, connected)
}

// waitTag is the first byte of the question for which points a node lacks.
const waitTag byte = 0x02

func (h *handler) Answer(ctx context.Context, from mesh.Peer, question []byte) ([]byte, error) {
	if len(question) == 0 {
		return nil, errors.New("empty question")
	}
	switch question[0] {
	case runner.QuestionTag:
		return h.runner.Answer(ctx, from, question)
	case waitTag:
		return (*Node)(h).answerWait(ctx, question[1:])
	case clockTag:
		return (*Node)(h).answerTime()
	}
	return nil, fmt.Errorf("unknown question %#x", question[0])
}
