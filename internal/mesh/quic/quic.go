// Package quic is the mesh between the nodes of one cluster: one UDP port,
// QUIC with mutual TLS, and memberlist over the same connections. Every node
// keeps one connection to every live one.
//
// What it keeps true: nothing is read of a peer before its certificate is
// accepted (this fleet, this cluster, a node's role) and nothing but the hello
// before fleet, cluster, generation, protocol and name agree; whoever is
// refused is told why, and both sides log it. So clusters cannot merge. A name
// belongs to the process that holds it and answers: a second one is refused,
// the successor of a dead one is not.
//
// Loss: frames are lost only when the queue of their peer and flow is full, or
// with their connection; Send says so, or PeerChanged. Small frames of a flow
// share one stream and stay in order. Frames above mesh.MaxInline have streams
// of their own, and may overtake and be overtaken.
//
// Membership: the live ones are dialed, the dead ones dropped. Seeds and known
// peers are tried for as long as they are lost, so a partition heals however
// long it was.
package quic

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	quicgo "github.com/quic-go/quic-go"
	"golang.org/x/time/rate"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// Mesh is one node's endpoint. Safe for concurrent use.
type Mesh struct {
	// Set by Listen, then constant.
	cfg       Config
	tuning    tuning
	cluster   cluster
	log       *slog.Logger
	metrics   *metrics
	socket    net.PacketConn
	quic      *quicgo.Transport
	listener  *quicgo.Listener
	transport *transport
	refusals  *rate.Limiter // of log lines
	bell      chan struct{} // changed is not empty
	wake      chan struct{} // tend has something to do
	renewed   chan struct{} // self has changed
	fatal     chan error    // holds the first reason to end Run

	// Set by Run before anything is accepted.
	handler mesh.Handler
	started time.Time

	self      atomic.Pointer[info]
	leaveAs   atomic.Int32 // a mesh.State
	announced atomic.Bool  // the farewell is being said
	ran       atomic.Bool
	wg        sync.WaitGroup // goroutines of links, dials and handshakes

	mu      sync.Mutex
	peers   map[record.Node]*peer
	changed map[record.Node]bool
	own     map[netip.AddrPort]bool // addresses that turned out to be this node's
	ended   bool                    // no link is taken any more
}

// Listen opens the port. Nothing is accepted before Run.
func Listen(cfg Config) (*Mesh, error) {
	return listen(cfg, tuningOf(cfg.Cluster))
}

func listen(cfg Config, t tuning) (*Mesh, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("mesh config: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	socket := cfg.Conn
	if socket == nil {
		addr, err := net.ResolveUDPAddr("udp", cfg.Bind)
		if err != nil {
			return nil, fmt.Errorf("mesh: bind %q: %w", cfg.Bind, err)
		}
		if socket, err = net.ListenUDP("udp", addr); err != nil {
			return nil, fmt.Errorf("mesh: open UDP port %s: %w", cfg.Bind, err)
		}
	}
	advertised, err := cfg.advertised(socket.LocalAddr())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mesh: %w", err), socket.Close())
	}
	m := &Mesh{
		cfg: cfg, tuning: t, cluster: cluster{cfg.Fleet, cfg.Cluster, cfg.Generation},
		log: cfg.Logger, metrics: newMetrics(cfg.Metrics), socket: socket,
		refusals: rate.NewLimiter(5, 50),
		bell:     make(chan struct{}, 1), wake: make(chan struct{}, 1), renewed: make(chan struct{}, 1),
		fatal: make(chan error, 1),
		peers: make(map[record.Node]*peer), changed: make(map[record.Node]bool),
		own: map[netip.AddrPort]bool{},
	}
	m.transport = newTransport(m)
	m.leaveAs.Store(int32(mesh.Restarting))
	m.self.Store(&info{
		node: cfg.Node, writer: writer{cfg.Boot, cfg.Bits},
		locality: cfg.Locality, gateway: cfg.Gateway, address: advertised,
	})
	// Above so many handshakes a second, a peer must first show that it
	// receives at its address.
	handshakes := rate.NewLimiter(100, 200)
	_ = os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true") // the library prints to stderr; fails only for bad names
	m.quic = &quicgo.Transport{
		Conn:                socket,
		VerifySourceAddress: func(net.Addr) bool { return !handshakes.Allow() },
		ConnContext:         m.watchHandshake,
	}
	if m.listener, err = m.quic.Listen(cfg.Identity.Server(m.accept, alpn), m.quicConfig()); err != nil {
		return nil, errors.Join(fmt.Errorf("mesh: listen: %w", err), m.quic.Close(), socket.Close())
	}
	return m, nil
}

// Addr is the address that peers dial.
func (m *Mesh) Addr() string { return m.self.Load().address.String() }

// Close frees the port of a Mesh whose Run was never called.
func (m *Mesh) Close() error {
	if m.ran.Swap(true) {
		return nil
	}
	return m.shut()
}

func (m *Mesh) shut() error {
	err := errors.Join(m.listener.Close(), m.quic.Close())
	if closed := m.socket.Close(); !errors.Is(closed, net.ErrClosed) {
		err = errors.Join(err, closed)
	}
	if err != nil {
		return fmt.Errorf("mesh: close: %w", err)
	}
	return nil
}

// Leave sets how the end of Run is announced: mesh.Restarting or
// mesh.Draining.
func (m *Mesh) Leave(as mesh.State) {
	if as == mesh.Restarting || as == mesh.Draining {
		m.leaveAs.Store(int32(as))
	}
}

// SetWriter says that this node writes as another writer from now on.
func (m *Mesh) SetWriter(boot, bits uint64) {
	self := *m.self.Load()
	self.writer = writer{boot, bits}
	m.self.Store(&self)
	ring(m.renewed)
}

// Run joins the cluster and serves until ctx ends; see mesh.Mesh. It returns
// an error if the port fails, or a *DuplicateNameError if a live node holds
// this node's name.
func (m *Mesh) Run(ctx context.Context, h mesh.Handler) error {
	if m.ran.Swap(true) {
		return errors.New("mesh: Run was called before, or Close")
	}
	m.handler, m.started = h, time.Now()
	known := m.loadPeers()
	// The goroutines outlive ctx by the farewell.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	m.wg.Go(func() { m.acceptAll(serving) })
	m.wg.Go(func() { m.notify(serving) })
	ml, err := m.newMembers()
	if err == nil {
		m.wg.Go(func() { m.tend(serving) })
		m.wg.Go(func() { m.rejoin(serving, ml, known) })
		m.wg.Go(func() { m.announce(serving, ml) })
		select {
		case <-ctx.Done():
		case err = <-m.fatal:
		}
		m.farewell(ml)
	}
	stop()
	for _, l := range m.end() {
		l.close(closeLeaving, "this node stops")
	}
	err = errors.Join(err, m.shut())
	m.wg.Wait()
	return err
}

// farewell tells all peers how this node leaves, and then memberlist's way. It
// takes at most a second.
func (m *Mesh) farewell(ml *memberlist.Memberlist) {
	const wait = 300 * time.Millisecond
	m.announced.Store(true)
	for _, l := range m.links() {
		l.note(controlLeaving, []byte{byte(m.leaveAs.Load())})
	}
	for _, err := range []error{ml.UpdateNode(wait), ml.Leave(wait), ml.Shutdown()} {
		if err != nil {
			m.log.Debug("farewell", "err", err) // peers find out by themselves
		}
	}
}

// announce spreads a changed hello.
func (m *Mesh) announce(ctx context.Context, ml *memberlist.Memberlist) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.renewed:
		}
		body := encodeHello(m.cluster, *m.self.Load())
		for _, l := range m.links() {
			l.note(controlHello, body)
		}
		if err := ml.UpdateNode(time.Second); err != nil {
			m.log.Debug("announce the new writer", "err", err) // gossip repeats it
		}
	}
}

// acceptAll takes connections until the port closes.
func (m *Mesh) acceptAll(ctx context.Context) {
	for {
		conn, err := m.listener.Accept(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			m.fail(fmt.Errorf("mesh: accept on %s: %w", m.Addr(), err))
			return
		}
		m.wg.Go(func() { m.welcome(ctx, conn) })
	}
}

// watchHandshake logs a connection whose dialer gave up in the handshake: it
// did not accept this node's certificate, and showed none of its own.
func (m *Mesh) watchHandshake(ctx context.Context, c *quicgo.ClientInfo) (context.Context, error) {
	context.AfterFunc(ctx, func() {
		err, ok := errors.AsType[*quicgo.TransportError](context.Cause(ctx))
		if ok && err.Remote && err.ErrorCode >= 0x100 && err.ErrorCode < 0x200 && m.refusals.Allow() {
			m.log.Warn("a dialer refused this node's certificate", "peer", c.RemoteAddr.String(), "err", err)
		}
	})
	return ctx, nil
}

// fail ends Run.
func (m *Mesh) fail(err error) {
	select {
	case m.fatal <- err:
	default:
	}
}

// nameTaken acts on a peer's word that another process holds this node's name.
// One that has just started is the second and ends. One that has been running
// may be the first: it goes on, and a person is told.
func (m *Mesh) nameTaken(r *RefusedError) {
	if time.Since(m.started) < m.tuning.young {
		m.fail(&DuplicateNameError{Node: m.cfg.Node, Reason: r.Reason})
		return
	}
	m.log.Error("another process runs under this node's name", "node", m.cfg.Node, "peer", r.Address, "reason", r.Reason)
}

// links lists the links that there are.
func (m *Mesh) links() []*link {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*link
	for _, p := range m.peers {
		if p.link != nil {
			out = append(out, p.link)
		}
	}
	return out
}

// end stops taking links and lists those that there are.
func (m *Mesh) end() []*link {
	m.mu.Lock()
	m.ended = true
	m.mu.Unlock()
	return m.links()
}

func (m *Mesh) denied(node record.Node) bool { return m.cfg.Denied != nil && m.cfg.Denied(node) }
