package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// outflow is what waits to be sent to one peer in one flow. Guarded by the
// sender's mu.
type outflow struct {
	frames []queued
	bytes  int
	bell   chan struct{}
}

type queued struct {
	frame []byte
	at    time.Time
}

// Send queues a frame; see mesh.Mesh.
func (m *Mesh) Send(to record.Node, f mesh.Flow, frame []byte) error {
	switch {
	case f.Class != mesh.Push && f.Class != mesh.Sync:
		return fmt.Errorf("send to %s: class %d is unknown", to, byte(f.Class))
	case len(frame) > mesh.MaxFrame:
		return fmt.Errorf("send to %s: frame of %d bytes is over the limit of %d", to, len(frame), mesh.MaxFrame)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.remotes[to]
	if r == nil || r.link == nil || m.ended {
		return mesh.ErrNoPeer
	}
	l := r.link
	o := l.out[f]
	if o == nil {
		o = &outflow{bell: make(chan struct{}, 1)}
		l.out[f] = o
		m.start(func() { m.carry(l, f, o) })
	}
	if len(o.frames) >= queueFrames || o.bytes+len(frame) > queueBytes {
		return mesh.ErrFull
	}
	o.frames = append(o.frames, queued{frame, time.Now()})
	o.bytes += len(frame)
	select {
	case o.bell <- struct{}{}:
	default:
	}
	return nil
}

// carry brings the frames of a flow over, in order. One that waits at a slow
// receiver keeps its place in the queue.
func (m *Mesh) carry(l *link, f mesh.Flow, o *outflow) {
	for {
		q, ok := m.first(l, o)
		if !ok {
			return
		}
		delay, ok := m.net.Pass(string(m.name()), string(l.to.name()))
		if ok {
			in := l.to.inflow(m, f)
			if in == nil || !m.wait(l, time.Until(q.at.Add(delay))) {
				return
			}
			select {
			case in <- slices.Clone(q.frame):
			case <-l.done:
				return
			case <-l.to.over:
				return
			case <-m.over:
				return
			}
		}
		m.mu.Lock()
		o.frames = o.frames[1:]
		o.bytes -= len(q.frame)
		m.mu.Unlock()
	}
}

// first waits for a frame and leaves it in the queue.
func (m *Mesh) first(l *link, o *outflow) (queued, bool) {
	for {
		m.mu.Lock()
		var q queued
		some := len(o.frames) > 0
		if some {
			q = o.frames[0]
		}
		m.mu.Unlock()
		if some {
			return q, true
		}
		select {
		case <-o.bell:
		case <-l.done:
			return q, false
		case <-m.over:
			return q, false
		}
	}
}

// wait lets d pass; false if the link ended.
func (m *Mesh) wait(l *link, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.done:
		return false
	case <-m.over:
		return false
	}
}

// inflow returns where this node takes the frames of one flow of one start of
// a peer; nil if it has ended.
func (m *Mesh) inflow(from *Mesh, f mesh.Flow) chan<- []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := source{from, f}
	in := m.inbox[s]
	if in == nil {
		in = make(chan []byte)
		if !m.start(func() { m.deliver(s, in) }) {
			return nil
		}
		m.inbox[s] = in
	}
	return in
}

func (m *Mesh) deliver(s source, in <-chan []byte) {
	for {
		select {
		case <-m.over:
			return
		case <-s.from.over:
			m.mu.Lock()
			delete(m.inbox, s)
			m.mu.Unlock()
			return
		case frame := <-in:
			if m.knows(s.from) {
				m.handler.Frame(*s.from.self.Load(), s.flow, frame)
			}
		}
	}
}

// knows waits until the handler was told of a peer's connection; false when
// either of the two ends first.
func (m *Mesh) knows(from *Mesh) bool {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		m.mu.Lock()
		r := m.remotes[from.name()]
		told := r != nil && r.to == from && r.link != nil && closed(r.link.told)
		m.mu.Unlock()
		if told {
			return true
		}
		select {
		case <-m.over:
			return false
		case <-from.over:
			return false
		case <-tick.C:
		}
	}
}

// Ask sends a question and waits for the answer; see mesh.Mesh. Losses delay
// it and cuts hold it, as on a connection.
func (m *Mesh) Ask(ctx context.Context, to record.Node, question []byte) ([]byte, error) {
	answer, err := m.ask(ctx, to, question)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", to, err)
	}
	return answer, nil
}

func (m *Mesh) ask(ctx context.Context, to record.Node, question []byte) ([]byte, error) {
	if len(question) > mesh.MaxFrame {
		return nil, fmt.Errorf("question of %d bytes is over the limit of %d", len(question), mesh.MaxFrame)
	}
	m.mu.Lock()
	var l *link
	if r := m.remotes[to]; r != nil && !m.ended {
		l = r.link
	}
	m.mu.Unlock()
	if l == nil {
		return nil, mesh.ErrNoPeer
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := m.pass(ctx, l, m, l.to); err != nil {
		return nil, err
	}
	type result struct {
		answer []byte
		err    error
	}
	got := make(chan result, 1)
	started := l.to.enter(func() {
		answer, err := l.to.answer(ctx, m, slices.Clone(question))
		got <- result{answer, err}
	})
	if !started {
		return nil, mesh.ErrNoPeer
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.done:
		return nil, mesh.ErrNoPeer
	case <-l.to.over: // and by cancel its handler's patience
		return nil, mesh.ErrNoPeer
	case r := <-got:
		if r.err != nil {
			return nil, errors.New(r.err.Error()) // only the text travels
		}
		return slices.Clone(r.answer), m.pass(ctx, l, l.to, m)
	}
}

// pass waits until a message has come over, repeating what is lost.
func (m *Mesh) pass(ctx context.Context, l *link, from, to *Mesh) error {
	for {
		delay, ok := m.net.Pass(string(from.name()), string(to.name()))
		if !ok {
			delay = look
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-l.done:
			timer.Stop()
			return mesh.ErrNoPeer
		}
		if ok {
			return nil
		}
	}
}

func (m *Mesh) answer(ctx context.Context, from *Mesh, question []byte) ([]byte, error) {
	defer m.answering.Add(-1)
	if m.answering.Add(1) > maxAnswers {
		return nil, errors.New("the peer is busy")
	}
	if !m.knows(from) {
		return nil, errors.New("the peer stops")
	}
	answer, err := m.handler.Answer(ctx, *from.self.Load(), question)
	if err == nil && len(answer) > mesh.MaxFrame {
		return nil, fmt.Errorf("the answer of %d bytes is over the limit of %d", len(answer), mesh.MaxFrame)
	}
	return answer, err
}
