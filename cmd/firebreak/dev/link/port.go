package link

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/firebreak-dev/firebreak/internal/network"
)

// Port is one run of a node's access to the links: a network.Network. Safe for
// concurrent use.
type Port struct {
	// Set by newPort, then constant.
	node   Node
	routes *routes
	links  *Links // that it hears from; nil in a process of its own

	mu   sync.Mutex
	open map[io.Closer]bool
	dead bool
}

// Open returns the access of a node that is about to start.
func (l *Links) Open(n Node) *Port {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := newPort(l.state(n))
	p.links = l
	l.ports[p] = true
	return p
}

func newPort(s State) *Port {
	return &Port{node: s.Node, routes: newRoutes(s), open: map[io.Closer]bool{}}
}

// Dropped returns how many packets were lost on purpose.
func (p *Port) Dropped() uint64 { return p.routes.dropped.Load() }

// Close closes every socket; the links forget the port.
func (p *Port) Close() error {
	p.Kill()
	if p.links == nil {
		return nil
	}
	p.links.mu.Lock()
	defer p.links.mu.Unlock()
	delete(p.links.ports, p)
	return nil
}

// Kill closes every socket at once: nothing that the node does from now on
// leaves it. A node that is stopped next has had no time for a farewell.
func (p *Port) Kill() {
	p.mu.Lock()
	p.dead = true
	open := p.open
	p.open = map[io.Closer]bool{}
	p.mu.Unlock()
	for c := range open {
		_ = c.Close() // killed, not closed
	}
}

// keep remembers c, or closes it if the node is dead.
func (p *Port) keep(c io.Closer) error {
	p.mu.Lock()
	dead := p.dead
	if !dead {
		p.open[c] = true
	}
	p.mu.Unlock()
	if dead {
		_ = c.Close() // killed, not closed
		return fmt.Errorf("node %s was killed: %w", p.node, net.ErrClosed)
	}
	return nil
}

func (p *Port) drop(c io.Closer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

// ListenPacket opens a UDP port.
func (p *Port) ListenPacket(addr string) (net.PacketConn, error) {
	conn, err := network.Host{}.ListenPacket(addr)
	if err != nil {
		return nil, err
	}
	c := &packets{UDPConn: conn.(*net.UDPConn), port: p, lines: map[string]*line{}}
	return c, p.keep(c)
}

// Listen opens a TCP port.
func (p *Port) Listen(addr string) (net.Listener, error) {
	lis, err := network.Host{}.Listen(addr)
	if err != nil {
		return nil, err
	}
	l := &listener{lis, p}
	return l, p.keep(l)
}

// Dial connects to a TCP port. While there is a cut on the way, it waits for
// it to be mended.
func (p *Port) Dial(ctx context.Context, addr string) (net.Conn, error) {
	for {
		q, _, changed, found := p.routes.find(addr)
		if !found || !q.Cut {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("dial %s: %w", addr, ctx.Err())
		}
	}
	var from net.Dialer
	if home := p.routes.home(); home != "" {
		from.LocalAddr = &net.TCPAddr{IP: net.ParseIP(home)} // by which the other end knows who this is
	}
	conn, err := from.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := newStream(conn, p, addr)
	return c, p.keep(c)
}

type listener struct {
	net.Listener
	port *Port
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	from := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	c := newStream(conn, l.port, from.String())
	return c, l.port.keep(c)
}

func (l *listener) Close() error {
	l.port.drop(l)
	return l.Listener.Close()
}
