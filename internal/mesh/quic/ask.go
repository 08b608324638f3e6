package quic

import (
	"bufio"
	"context"
	"errors"
	"fmt"

	quicgo "github.com/quic-go/quic-go"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// The status of an answer.
const (
	answerOK     byte = 0 // the answer follows
	answerFailed byte = 1 // the error's text follows
	answerBusy   byte = 2 // too many questions of this peer are being answered
)

const maxErrorText = 4 << 10

// Ask sends a question and waits for the answer; see mesh.Mesh. An error of
// the peer's handler comes back as its text.
func (m *Mesh) Ask(ctx context.Context, to record.Node, question []byte) ([]byte, error) {
	answer, err := m.ask(ctx, to, question)
	result := "ok"
	if err != nil {
		result = "failed"
		err = fmt.Errorf("ask %s: %w", to, err)
	}
	m.metrics.asks.WithLabelValues(result).Inc()
	return answer, err
}

func (m *Mesh) ask(ctx context.Context, to record.Node, question []byte) ([]byte, error) {
	if len(question) > mesh.MaxFrame {
		return nil, fmt.Errorf("question of %d bytes is over the limit of %d", len(question), mesh.MaxFrame)
	}
	l := m.linkOf(to)
	if l == nil {
		return nil, mesh.ErrNoPeer
	}
	s, err := l.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	defer s.CancelRead(0)
	stop := context.AfterFunc(ctx, func() { abort(s) })
	defer stop()
	answer, err := exchange(s, question)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return answer, err
}

func exchange(s *quicgo.Stream, question []byte) ([]byte, error) {
	if _, err := s.Write(appendLength([]byte{kindAsk}, len(question))); err != nil {
		return nil, err
	}
	if _, err := s.Write(question); err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	r := bufio.NewReader(s)
	status, err := r.ReadByte()
	if err != nil {
		return nil, noEOF(err)
	}
	body, err := readFrame(r, mesh.MaxFrame)
	if err != nil {
		return nil, noEOF(err)
	}
	switch status {
	case answerOK:
		return body, nil
	case answerBusy:
		return nil, errors.New("the peer is busy")
	}
	return nil, errors.New(string(body))
}

// answer lets the handler answer one question.
func (m *Mesh) answer(ctx context.Context, l *link, s *quicgo.Stream) {
	defer s.CancelRead(0)
	if l.answering.Add(1) > maxAnswers {
		l.answering.Add(-1)
		reply(s, answerBusy, nil)
		return
	}
	defer l.answering.Add(-1)
	question, err := readFrame(bufio.NewReader(s), mesh.MaxFrame)
	if err != nil {
		s.CancelWrite(0)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	stop := context.AfterFunc(s.Context(), cancel) // the asker gave up
	defer stop()
	select {
	case <-l.told:
	case <-ctx.Done():
		s.CancelWrite(0)
		return
	}
	body, err := m.handler.Answer(ctx, l.about.Load().peer(mesh.Alive), question)
	switch {
	case err == nil && len(body) > mesh.MaxFrame:
		reply(s, answerFailed, fmt.Appendf(nil, "the answer of %d bytes is over the limit of %d", len(body), mesh.MaxFrame))
	case err != nil:
		text := err.Error()
		reply(s, answerFailed, []byte(text[:min(len(text), maxErrorText)]))
	default:
		reply(s, answerOK, body)
	}
}

// reply writes an answer. A failed write means that the asker is gone.
func reply(s *quicgo.Stream, status byte, body []byte) {
	if _, err := s.Write(appendLength([]byte{status}, len(body))); err != nil {
		return
	}
	if _, err := s.Write(body); err != nil {
		return
	}
	_ = s.Close() // fails only on a cancelled stream
}
