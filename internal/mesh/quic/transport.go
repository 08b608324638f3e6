package quic

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	quicgo "github.com/quic-go/quic-go"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// Memberlist knows every node under this one address: it finds them by name,
// and where they really are stands in their metadata. So a node that comes
// back elsewhere has changed its metadata and nothing else, and is taken at
// once; an address would be a conflict until the old one counts as dead.
// The prefix is the discard prefix of RFC 6666.
const (
	nominalIP   = "100::1"
	nominalPort = 1
)

// transport carries memberlist over the links: packets as datagrams if they
// fit, streams as streams. It never dials; without a link there is silence.
type transport struct {
	mesh    *Mesh
	packets chan *memberlist.Packet
	streams chan net.Conn
	from    *net.UDPAddr

	mu     sync.Mutex
	closed chan struct{}
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

func newTransport(m *Mesh) *transport {
	return &transport{
		mesh:    m,
		packets: make(chan *memberlist.Packet, packetInbox),
		streams: make(chan net.Conn),
		from:    &net.UDPAddr{IP: net.ParseIP(nominalIP), Port: nominalPort},
		closed:  make(chan struct{}),
	}
}

// FinalAdvertiseAddr gives the nominal address.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.from.IP, t.from.Port, nil
}

// WriteToAddress queues a packet for a node. It never blocks: a full queue
// drops, as a network would.
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	now := time.Now()
	l := t.mesh.linkOf(record.Node(a.Name))
	if l == nil {
		t.mesh.metrics.packetsDropped.WithLabelValues("no_peer").Inc()
		if t.mesh.expects(record.Node(a.Name)) {
			return now, fmt.Errorf("not connected to %q yet", a.Name) // memberlist takes an error as no verdict
		}
		return now, nil
	}
	select {
	case l.packets <- b:
	default:
		t.mesh.metrics.packetsDropped.WithLabelValues("full").Inc()
	}
	return now, nil
}

// WriteTo is not used by memberlist, which knows names.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: addr})
}

// PacketCh gives what arrived.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// DialAddressTimeout opens a stream to a node that is connected.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	l := t.mesh.linkOf(record.Node(a.Name))
	if l == nil {
		return nil, fmt.Errorf("no connection to %q", a.Name)
	}
	ctx, cancel := context.WithTimeout(l.conn.Context(), timeout)
	defer cancel()
	s, err := l.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.Write([]byte{kindMembership}); err != nil {
		return nil, err
	}
	return newStreamConn(s, l), nil
}

// DialTimeout is not used by memberlist, which knows names.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// StreamCh gives the streams that peers opened.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown makes what is still coming fall to the floor.
func (t *transport) Shutdown() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.closed:
	default:
		close(t.closed)
	}
	return nil
}

// incoming hands a peer's stream to memberlist.
func (t *transport) incoming(c *streamConn) {
	select {
	case t.streams <- c:
	case <-t.closed:
		abort(c.Stream)
	case <-c.link.done():
		abort(c.Stream)
	}
}

func (t *transport) received(b []byte, via string) {
	t.mesh.metrics.packetsIn.WithLabelValues(via).Inc()
	select {
	case t.packets <- &memberlist.Packet{Buf: b, From: t.from, Timestamp: time.Now()}:
	default:
		t.mesh.metrics.packetsDropped.WithLabelValues("inbox").Inc()
	}
}

func (m *Mesh) receivePackets(ctx context.Context, l *link) {
	for {
		b, err := l.conn.ReceiveDatagram(ctx)
		if err != nil {
			return
		}
		m.transport.received(b, "datagram")
	}
}

func (m *Mesh) readPackets(l *link, r *bufio.Reader) error {
	for {
		b, err := readFrame(r, maxPacket)
		if err != nil {
			return closedError(l.conn.Context(), err)
		}
		m.transport.received(b, "stream")
	}
}

// sendPackets sends a link's packets as datagrams; those that are too large
// go on one stream beside.
func (m *Mesh) sendPackets(ctx context.Context, l *link) {
	var beside *quicgo.SendStream
	for {
		var b []byte
		select {
		case <-ctx.Done():
			return
		case b = <-l.packets:
		}
		err := l.conn.SendDatagram(b)
		if _, large := errors.AsType[*quicgo.DatagramTooLargeError](err); !large {
			continue // else it was sent, or the connection is gone
		}
		if len(b) > maxPacket {
			m.metrics.packetsDropped.WithLabelValues("too_large").Inc()
			continue
		}
		if beside == nil {
			if beside, err = l.conn.OpenUniStreamSync(ctx); err != nil {
				return
			}
			if _, err := beside.Write([]byte{kindPackets}); err != nil {
				return
			}
		}
		if _, err := beside.Write(appendFrame(nil, b)); err != nil {
			return
		}
	}
}

// streamConn is a stream as memberlist wants it.
type streamConn struct {
	*quicgo.Stream
	link *link
}

func newStreamConn(s *quicgo.Stream, l *link) *streamConn { return &streamConn{s, l} }

func (c *streamConn) LocalAddr() net.Addr  { return c.link.conn.LocalAddr() }
func (c *streamConn) RemoteAddr() net.Addr { return c.link.conn.RemoteAddr() }

// Close ends both directions; what was written still arrives.
func (c *streamConn) Close() error {
	c.CancelRead(0)
	return c.Stream.Close()
}
