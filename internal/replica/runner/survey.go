package runner

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
)

// QuestionTag is the first byte of the questions that Answer answers. Other
// first bytes belong to the role.
const QuestionTag byte = 0x01

// Report is what one peer answered to a survey.
type Report struct {
	Node       record.Node
	Boot, Bits uint64
	Fit        bool
	Sets       map[record.Writer]record.Received // not to be written to
	Err        error                             // why there is no answer
}

// An answer is a byte that is 1 if the node is fit, boot and bits (8 bytes
// each), and the reply to the survey.
const answerHead = 1 + 8 + 8

var errFrozen = errors.New("egress is frozen")

// Answer answers a peer's survey.
func (r *Runner) Answer(ctx context.Context, _ mesh.Peer, question []byte) ([]byte, error) {
	if len(question) == 0 || question[0] != QuestionTag {
		return nil, errors.New("not a survey")
	}
	if r.cfg.Freeze() {
		return nil, errFrozen
	}
	fit := byte(0)
	if r.cfg.Fit() { // before the sets are read: what made it fit is in them
		fit = 1
	}
	var reply []byte
	var err error
	if ended := r.call(ctx, func(l *loop) { reply, err = l.core.Reply(question[1:]) }); ended != nil {
		return nil, ended
	}
	if err != nil {
		return nil, err
	}
	w := r.cfg.Store.Writer()
	b := append(make([]byte, 0, answerHead+len(reply)), fit)
	b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, w.Boot), w.Bits)
	return append(b, reply...), nil
}

// Survey asks peers in parallel what each has received, and returns a report
// for each, in their order. Ctx bounds the wait.
func (r *Runner) Survey(ctx context.Context, peers []record.Node) []Report {
	var question []byte
	var mine map[record.Writer]record.Received
	if err := r.call(ctx, func(l *loop) { question, mine = l.core.Question() }); err != nil {
		out := make([]Report, len(peers))
		for i, p := range peers {
			out[i] = Report{Node: p, Err: err}
		}
		return out
	}
	question = append([]byte{QuestionTag}, question...)
	out := make([]Report, len(peers))
	var wg sync.WaitGroup
	for i, p := range peers {
		wg.Go(func() { out[i] = r.ask(ctx, p, question, mine) })
	}
	wg.Wait()
	return out
}

func (r *Runner) ask(ctx context.Context, p record.Node, question []byte, mine map[record.Writer]record.Received) Report {
	if r.cfg.Freeze() {
		return Report{Node: p, Err: errFrozen}
	}
	b, err := r.cfg.Mesh.Ask(ctx, p, question)
	if err != nil {
		return Report{Node: p, Err: fmt.Errorf("survey %s: %w", p, err)}
	}
	if len(b) < answerHead {
		return Report{Node: p, Err: fmt.Errorf("survey %s: answer of %d bytes", p, len(b))}
	}
	sets, err := replica.ReadReply(b[answerHead:], mine)
	if err != nil {
		return Report{Node: p, Err: fmt.Errorf("survey %s: %w", p, err)}
	}
	return Report{Node: p, Fit: b[0]&1 != 0, Boot: binary.BigEndian.Uint64(b[1:]), Bits: binary.BigEndian.Uint64(b[9:]), Sets: sets}
}
