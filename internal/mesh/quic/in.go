package quic

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/firebreak-dev/firebreak/internal/mesh"
)

// acceptUni takes the one-way streams of a peer. How many there may be is
// bounded by the connection's configuration.
func (m *Mesh) acceptUni(ctx context.Context, l *link) {
	for {
		s, err := l.conn.AcceptUniStream(ctx)
		if err != nil {
			return
		}
		m.wg.Go(func() { m.readUni(ctx, l, s) })
	}
}

func (m *Mesh) readUni(ctx context.Context, l *link, s *quicgo.ReceiveStream) {
	defer s.CancelRead(0)
	r := bufio.NewReaderSize(s, 16<<10)
	kind, err := r.ReadByte()
	if err != nil {
		return
	}
	switch kind {
	case kindFlow, kindSingle:
		err = m.readFrames(ctx, l, r)
	case kindPackets:
		err = m.readPackets(l, r)
	default:
		m.metrics.unknown.WithLabelValues("stream").Inc()
		return
	}
	if errors.Is(err, errClass) { // of a later version: skipped
		m.metrics.unknown.WithLabelValues("class").Inc()
		return
	}
	if broken(err) {
		m.metrics.unknown.WithLabelValues("malformed").Inc()
		m.log.Warn("peer broke the protocol", "peer", l.node, "err", err)
		l.close(closeMalformed, err.Error())
	}
}

// broken tells a peer's fault from an end of the stream or connection.
func broken(err error) bool {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
		return false
	}
	_, reset := errors.AsType[*quicgo.StreamError](err)
	return !reset && !errors.Is(err, errClosed)
}

// readFrames hands over the frames of one stream, in order. A handler that is
// slow stops the reading, and so, by flow control, the peer's writing.
func (m *Mesh) readFrames(ctx context.Context, l *link, r *bufio.Reader) error {
	f, err := readPreface(r)
	if err != nil {
		return closedError(ctx, err)
	}
	in, err := m.inflow(ctx, l, f)
	if err != nil {
		return err
	}
	for {
		frame, err := readFrame(r, mesh.MaxFrame)
		if err != nil {
			return closedError(ctx, err)
		}
		m.metrics.framesIn.WithLabelValues(f.Class.String()).Inc()
		m.metrics.bytesIn.WithLabelValues(f.Class.String()).Add(float64(len(frame)))
		select {
		case in <- frame:
		case <-ctx.Done():
			return errClosed
		}
	}
}

var (
	errClosed       = errors.New("connection closed")
	errTooManyFlows = errors.New("too many flows")
)

// closedError hides what a read returns because its connection ended: that may
// show here before the connection's context ends. Why it ended is told where
// the link is lost.
func closedError(ctx context.Context, err error) error {
	_, closed := errors.AsType[*quicgo.ApplicationError](err) // by either end
	_, silent := errors.AsType[*quicgo.IdleTimeoutError](err)
	if closed || silent || ctx.Err() != nil {
		return errClosed
	}
	return err
}

// inflow returns where the frames of a flow go: to one goroutine, whatever
// streams they come on, so that the handler sees them one at a time. It begins
// once the handler knows of the link and has the last frame of the link before.
func (m *Mesh) inflow(ctx context.Context, l *link, f mesh.Flow) (chan<- []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if in := l.in[f]; in != nil {
		return in, nil
	}
	if ctx.Err() != nil {
		return nil, errClosed
	}
	if len(l.in) >= 2*maxLanes {
		return nil, errTooManyFlows
	}
	in := make(chan []byte)
	l.in[f] = in
	l.inbox.Add(1)
	m.wg.Go(func() {
		defer l.inbox.Done()
		m.deliver(ctx, l, f, in)
	})
	return in, nil
}

func (m *Mesh) deliver(ctx context.Context, l *link, f mesh.Flow, in <-chan []byte) {
	if l.before != nil {
		<-l.before.over // it is closed: this ends when its last handler returns
	}
	select {
	case <-l.told:
	case <-ctx.Done():
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case frame := <-in:
			m.handler.Frame(l.about.Load().peer(mesh.Alive), f, frame)
		}
	}
}

// acceptBidi takes the two-way streams of a peer.
func (m *Mesh) acceptBidi(ctx context.Context, l *link) {
	for {
		s, err := l.conn.AcceptStream(ctx)
		if err != nil {
			return
		}
		m.wg.Go(func() { m.readBidi(ctx, l, s) })
	}
}

func (m *Mesh) readBidi(ctx context.Context, l *link, s *quicgo.Stream) {
	_ = s.SetReadDeadline(time.Now().Add(answerTime)) // of a stream that says nothing; it never fails
	var kind [1]byte
	if _, err := io.ReadFull(s, kind[:]); err != nil {
		abort(s)
		return
	}
	switch kind[0] {
	case kindAsk:
		m.answer(ctx, l, s)
	case kindPing:
		m.pong(s)
		s.CancelRead(0)
	case kindMembership:
		_ = s.SetReadDeadline(time.Time{})
		m.transport.incoming(newStreamConn(s, l))
	default:
		m.metrics.unknown.WithLabelValues("stream").Inc()
		abort(s)
	}
}

func abort(s *quicgo.Stream) {
	s.CancelRead(0)
	s.CancelWrite(0)
}

func appendLength(b []byte, n int) []byte { return binary.AppendUvarint(b, uint64(n)) }
