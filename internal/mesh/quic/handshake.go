package quic

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
)

const (
	handshakeTime = 5 * time.Second        // for TLS
	helloTime     = 5 * time.Second        // for both hellos, a ping of a name's holder included
	verdictTime   = 300 * time.Millisecond // for a foreign server to refuse us too, so that its log names us
	simultaneous  = 3 * time.Second        // connections so near in time may have been dialed by both at once
)

// connect dials a node and returns the link to it, which may be one that was
// there before.
func (m *Mesh) connect(ctx context.Context, addr netip.AddrPort) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime+helloTime)
	defer cancel()
	conn, err := m.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	l, err := m.introduce(ctx, conn)
	if err == nil {
		return l, nil
	}
	err = m.refuse(conn, err, "dial")
	if refused, ok := errors.AsType[*RefusedError](err); ok && refused.Code == closeExtra {
		if l := m.linkAt(addr); l != nil {
			return l, nil
		}
	}
	return nil, err
}

// dial makes the TLS connection. Whoever is of our fleet gets through it, and
// is judged here, before any frame, so that a node which dials a foreign
// cluster is named in the logs of both sides.
func (m *Mesh) dial(ctx context.Context, addr netip.AddrPort) (*quicgo.Conn, error) {
	anyone := func(identity.ID) error { return nil }
	conn, err := m.quic.Dial(ctx, net.UDPAddrFromAddrPort(addr), m.cfg.Identity.Client(anyone, alpn), m.quicConfig())
	if err != nil {
		return nil, fmt.Errorf("dial %v: %w", addr, err)
	}
	id, err := peerIdentity(conn)
	if err == nil {
		err = m.accept(id)
	}
	if err != nil {
		select {
		case <-conn.Context().Done():
		case <-time.After(verdictTime):
		}
		_ = conn.CloseWithError(closeCluster, err.Error())
		return nil, &RefusedError{Address: addr.String(), Code: closeCluster, Reason: fmt.Sprintf("%v: %v", id, err)}
	}
	return conn, nil
}

// accept judges a peer's certificate: a member of this cluster, and not denied.
func (m *Mesh) accept(id identity.ID) error {
	if err := identity.SameCluster(m.cfg.Fleet, m.cfg.Cluster)(id); err != nil {
		return err
	}
	if m.denied(record.Node(id.Name)) {
		return fmt.Errorf("node %q is denied by a switch of %q", id.Name, m.cfg.Node)
	}
	return nil
}

func peerIdentity(conn *quicgo.Conn) (identity.ID, error) {
	certs := conn.ConnectionState().TLS.PeerCertificates
	if len(certs) == 0 {
		return identity.ID{}, errors.New("no certificate")
	}
	return identity.FromCertificate(certs[0])
}

// introduce is the dialer's half of the hellos.
func (m *Mesh) introduce(ctx context.Context, conn *quicgo.Conn) (*link, error) {
	s, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	_ = s.SetDeadline(time.Now().Add(helloTime)) // it never fails
	if _, err := s.Write(append([]byte{kindControl}, m.hello()...)); err != nil {
		return nil, err
	}
	r := bufio.NewReader(s)
	about, err := m.readHello(conn, r)
	if err != nil {
		return nil, err
	}
	_ = s.SetDeadline(time.Time{})
	l := newLink(conn, s, r, about, true)
	return l, m.establish(ctx, l, nil)
}

// welcome is the listener's half.
func (m *Mesh) welcome(ctx context.Context, conn *quicgo.Conn) {
	ctx, cancel := context.WithTimeout(ctx, helloTime)
	defer cancel()
	s, err := conn.AcceptStream(ctx)
	if err == nil {
		_ = s.SetDeadline(time.Now().Add(helloTime)) // it never fails
		err = m.greet(ctx, conn, s)
	}
	if err != nil {
		err = m.refuse(conn, err, "accept")
		m.logRefusal(conn.RemoteAddr().String(), err)
	}
}

func (m *Mesh) greet(ctx context.Context, conn *quicgo.Conn, s *quicgo.Stream) error {
	r := bufio.NewReader(s)
	kind, err := r.ReadByte()
	if err != nil {
		return noEOF(err)
	}
	if kind != kindControl {
		return &RefusedError{Code: closeMalformed, Reason: fmt.Sprintf("the first stream is of kind %#x", kind)}
	}
	about, err := m.readHello(conn, r)
	if err != nil {
		return err
	}
	l := newLink(conn, s, r, about, false)
	return m.establish(ctx, l, func() error {
		if _, err := s.Write(m.hello()); err != nil {
			return err
		}
		return s.SetDeadline(time.Time{})
	})
}

// hello is this node's hello as a control frame.
func (m *Mesh) hello() []byte {
	return appendFrame(nil, append([]byte{controlHello}, encodeHello(m.cluster, *m.self.Load())...))
}

// readHello reads the peer's hello and checks it against its certificate.
func (m *Mesh) readHello(conn *quicgo.Conn, r *bufio.Reader) (info, error) {
	b, err := readFrame(r, maxControl)
	if err != nil {
		return info{}, noEOF(err)
	}
	if len(b) == 0 || b[0] != controlHello {
		return info{}, &RefusedError{Code: closeMalformed, Reason: "the first frame is no hello"}
	}
	about, odd, refused := decodeHello(m.cluster, b[1:])
	if refused != nil {
		return info{}, refused
	}
	if odd {
		m.metrics.unknown.WithLabelValues("field").Inc()
	}
	id, err := peerIdentity(conn)
	if err != nil {
		return info{}, err
	}
	if string(about.node) != id.Name {
		return info{}, &RefusedError{Code: closeName, Reason: fmt.Sprintf("it calls itself %q, its certificate %q", about.node, id.Name)}
	}
	return about, nil
}

// establish makes l the connection of its pair, unless the name is taken or
// another connection of the pair stays. Then is called just before.
func (m *Mesh) establish(ctx context.Context, l *link, then func() error) error {
	about := *l.about.Load()
	if err := m.nameFree(ctx, l.conn, about); err != nil {
		return err
	}
	if l.conn.Context().Err() != nil {
		return context.Cause(l.conn.Context())
	}
	old, err := m.adopt(l)
	if err != nil {
		return err
	}
	if then != nil {
		if err := then(); err != nil {
			m.unlinked(l)
			return err
		}
	}
	if old != nil {
		old.close(closeExtra, "another connection of this pair replaced it")
	}
	direction := "accepted"
	if l.dialed {
		direction = "dialed"
	}
	m.metrics.connections.WithLabelValues(direction).Inc()
	m.log.Debug("peer connected", "peer", l.node, "address", about.address.String(), "boot", about.writer.boot, "direction", direction)
	m.serve(l)
	return nil
}

// nameFree refuses a node whose name is held by another process that answers
// now. A holder that is dead, or has said that it leaves, holds nothing.
func (m *Mesh) nameFree(ctx context.Context, conn *quicgo.Conn, about info) error {
	self := *m.self.Load()
	if about.node == self.node {
		if about.writer == self.writer {
			return &RefusedError{Code: closeSelf, Reason: "that is this node itself"}
		}
		return &RefusedError{Code: closeDuplicate, Reason: fmt.Sprintf("node name %s is in use by %v", self.node, self.address)}
	}
	old := m.linkOf(about.node)
	if old == nil || old.about.Load().writer == about.writer || old.conn.RemoteAddr().String() == conn.RemoteAddr().String() || m.hasLeft(about.node) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, m.tuning.twinPing)
	defer cancel()
	holder, err := old.ping(ctx)
	if err != nil || holder == about.writer {
		return nil
	}
	return &RefusedError{Code: closeDuplicate, Reason: fmt.Sprintf("node name %s is in use by %v", about.node, old.about.Load().address)}
}

// refuse closes conn with the code and reason of err and returns err as a
// refusal if it is one of either side.
func (m *Mesh) refuse(conn *quicgo.Conn, err error, by string) error {
	addr := conn.RemoteAddr().String()
	if app, ok := errors.AsType[*quicgo.ApplicationError](err); ok && app.Remote {
		m.metrics.refused.WithLabelValues("peer", codeName(app.ErrorCode)).Inc()
		return &RefusedError{Address: addr, Code: app.ErrorCode, Reason: app.ErrorMessage, Remote: true}
	}
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		m.metrics.refused.WithLabelValues("self", codeName(refused.Code)).Inc()
		refused.Address = addr
		_ = conn.CloseWithError(refused.Code, refused.Reason)
		return refused
	}
	_ = conn.CloseWithError(closeMalformed, "no hello in time")
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s %s: it closed the stream before its hello", by, addr)
	}
	return fmt.Errorf("%s %s: %w", by, addr, err)
}

// logRefusal logs what ended a handshake, but for what is normal.
func (m *Mesh) logRefusal(addr string, err error) {
	refused, ok := errors.AsType[*RefusedError](err)
	stranger, strange := errors.AsType[*identity.RefusedError](err)
	switch {
	case strange && m.refusals.Allow():
		m.log.Warn("connection to peer refused", "peer", addr, "reason", stranger.Error(), "code", "certificate", "by_peer", false)
	case strange:
	case !ok:
		m.log.Info("no connection to peer", "peer", addr, "err", err)
	case refused.Code == closeExtra, refused.Code == closeSelf, refused.Code == closeBye, refused.Code == closeLeaving, refused.Code == closeRotate:
	case m.refusals.Allow():
		m.log.Warn("connection to peer refused", "peer", refused.Address, "reason", refused.Reason, "code", codeName(refused.Code), "by_peer", refused.Remote)
	}
	if ok && refused.Remote && refused.Code == closeDuplicate {
		m.nameTaken(refused)
	}
}

// quicConfig is used for dialing and for listening.
func (m *Mesh) quicConfig() *quicgo.Config {
	uni := int64(incomingUni)
	if m.cfg.Cluster == "global" {
		uni = incomingGlobal
	}
	return &quicgo.Config{
		HandshakeIdleTimeout:           handshakeTime,
		MaxIdleTimeout:                 m.tuning.idle,
		KeepAlivePeriod:                m.tuning.idle / 3,
		InitialPacketSize:              1200, // fits a path of 1,280 bytes, IPv6 included
		EnableDatagrams:                true,
		MaxIncomingStreams:             incomingBidi,
		MaxIncomingUniStreams:          uni,
		InitialStreamReceiveWindow:     256 << 10,
		MaxStreamReceiveWindow:         2 << 20,
		InitialConnectionReceiveWindow: 512 << 10,
		MaxConnectionReceiveWindow:     8 << 20,
	}
}

var _ mesh.Mesh = (*Mesh)(nil)
