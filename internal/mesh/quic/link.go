package quic

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// link is one established connection: both hellos were exchanged. Its
// goroutines end with the connection.
type link struct {
	// Set at the handshake, then constant.
	conn    *quicgo.Conn
	control *quicgo.Stream
	reader  *bufio.Reader // of control
	node    record.Node
	dialed  bool // by this node
	since   time.Time
	before  *link         // the link that this one replaced, or nil
	told    chan struct{} // closed once the handler knows of this link
	over    chan struct{} // closed once no frame of it is being handed over
	packets chan []byte   // membership packets to send
	notes   chan []byte   // control frames to send

	about     atomic.Pointer[info] // what the peer says of itself now
	answering atomic.Int32

	mu    sync.Mutex
	out   map[mesh.Flow]*outflow
	in    map[mesh.Flow]chan []byte
	inbox sync.WaitGroup // the goroutines that read from in

	// Owned by Mesh.tend.
	rotateAt time.Time // zero means not

	asked bool // whether the peer is still there, by verify; guarded by Mesh.mu
}

func newLink(conn *quicgo.Conn, control *quicgo.Stream, r *bufio.Reader, about info, dialed bool) *link {
	l := &link{
		conn: conn, control: control, reader: r, node: about.node, dialed: dialed, since: time.Now(),
		told: make(chan struct{}), over: make(chan struct{}),
		packets: make(chan []byte, packetQueue), notes: make(chan []byte, 4),
		out: make(map[mesh.Flow]*outflow), in: make(map[mesh.Flow]chan []byte),
	}
	l.about.Store(&about)
	return l
}

// done is closed when the connection is.
func (l *link) done() <-chan struct{} { return l.conn.Context().Done() }

func (l *link) alive() bool { return l.conn.Context().Err() == nil }

// note sends a control frame; a peer that reads none loses it.
func (l *link) note(kind byte, body []byte) {
	select {
	case l.notes <- append([]byte{kind}, body...):
	default:
	}
}

// serve starts the goroutines of l.
func (m *Mesh) serve(l *link) {
	ctx := l.conn.Context()
	m.wg.Go(func() { m.acceptUni(ctx, l) })
	m.wg.Go(func() { m.acceptBidi(ctx, l) })
	m.wg.Go(func() { m.receivePackets(ctx, l) })
	m.wg.Go(func() { m.sendPackets(ctx, l) })
	m.wg.Go(func() { m.readControl(l) })
	m.wg.Go(func() { writeControl(ctx, l) })
	m.wg.Go(func() {
		<-ctx.Done()
		m.unlinked(l)
		l.inbox.Wait()
		close(l.over)
	})
}

func (m *Mesh) readControl(l *link) {
	for {
		b, err := readFrame(l.reader, maxControl)
		if err != nil || len(b) == 0 {
			l.close(closeMalformed, "the control stream ended")
			return
		}
		switch kind, body := b[0], b[1:]; kind {
		case controlHello:
			about, odd, refused := decodeHello(m.cluster, body)
			if refused == nil && about.node != l.node {
				refused = &RefusedError{Code: closeName, Reason: "it changed its name"}
			}
			if refused != nil {
				l.close(refused.Code, refused.Reason)
				return
			}
			if odd {
				m.metrics.unknown.WithLabelValues("field").Inc()
			}
			m.heard(l, about)
		case controlLeaving:
			if s := mesh.Restarting; len(body) > 0 {
				if mesh.State(body[0]) == mesh.Draining {
					s = mesh.Draining
				}
				m.leaving(l.node, l.about.Load().writer, s)
			}
		default:
			m.metrics.unknown.WithLabelValues("control").Inc()
		}
	}
}

func writeControl(ctx context.Context, l *link) {
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-l.notes:
			if _, err := l.control.Write(appendFrame(nil, b)); err != nil {
				return
			}
		}
	}
}

// close ends the connection; the reason is for the peer's log.
func (l *link) close(code quicgo.ApplicationErrorCode, reason string) {
	_ = l.conn.CloseWithError(code, reason) // it always returns nil
}

// closeReason is the metric label of how a connection ended.
func closeReason(err error) string {
	if app, ok := errors.AsType[*quicgo.ApplicationError](err); ok {
		return codeName(app.ErrorCode)
	}
	if _, ok := errors.AsType[*quicgo.IdleTimeoutError](err); ok {
		return "idle"
	}
	return "transport"
}

// ping asks who is at the other end, now.
func (l *link) ping(ctx context.Context) (writer, error) {
	s, err := l.conn.OpenStreamSync(ctx)
	if err != nil {
		return writer{}, err
	}
	defer s.CancelRead(0)
	stop := context.AfterFunc(ctx, func() { s.CancelRead(0); s.CancelWrite(0) })
	defer stop()
	if _, err := s.Write([]byte{kindPing}); err != nil {
		return writer{}, err
	}
	if err := s.Close(); err != nil {
		return writer{}, err
	}
	var b [16]byte
	if _, err := io.ReadFull(s, b[:]); err != nil {
		return writer{}, err
	}
	return writer{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}, nil
}

func (m *Mesh) pong(s *quicgo.Stream) {
	w := m.self.Load().writer
	b := binary.BigEndian.AppendUint64(nil, w.boot)
	_, _ = s.Write(binary.BigEndian.AppendUint64(b, w.bits)) // a peer that is gone needs no answer
	_ = s.Close()
}
