package simnet

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// inbox is how many packets wait at an endpoint; more are lost, as in a
// socket's buffer.
const inbox = 4096

// maxPacket is what an endpoint sends at once: the UDP payload of an IPv6 packet
// of 1,280 bytes, which is the least that a path must carry.
const maxPacket = 1232

// Conn is an endpoint: a net.PacketConn. Packets over 1,232 bytes vanish.
type Conn struct {
	net  *Network
	addr *net.UDPAddr
	in   chan packet
	done chan struct{}

	mu       sync.Mutex
	closed   bool
	deadline time.Time
	moved    chan struct{} // closed when the deadline changes
}

type packet struct {
	data []byte
	from net.Addr
}

var _ net.PacketConn = (*Conn)(nil)

// Listen opens an endpoint. Its name in Cut, Set and Partition is
// addr.String().
func (n *Network) Listen(addr netip.AddrPort) (*Conn, error) {
	c := &Conn{
		net: n, addr: net.UDPAddrFromAddrPort(addr),
		in: make(chan packet, inbox), done: make(chan struct{}), moved: make(chan struct{}),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conns[addr.String()] != nil {
		return nil, fmt.Errorf("listen on %v: address already in use", addr)
	}
	n.conns[addr.String()] = c
	return c, nil
}

// WriteTo sends one packet. What is lost on the way is no error.
func (c *Conn) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-c.done:
		return 0, net.ErrClosed
	default:
	}
	delay, ok := c.net.Pass(c.addr.String(), to.String())
	if !ok || len(b) > maxPacket {
		return len(b), nil
	}
	p := packet{append([]byte(nil), b...), c.addr}
	arrive := func() {
		c.net.mu.Lock()
		dst := c.net.conns[to.String()]
		c.net.mu.Unlock()
		if dst == nil {
			return
		}
		select {
		case dst.in <- p:
		default: // full: lost
		}
	}
	if delay == 0 {
		arrive()
	} else {
		time.AfterFunc(delay, arrive)
	}
	return len(b), nil
}

// ReadFrom waits for one packet.
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		c.mu.Lock()
		deadline, moved := c.deadline, c.moved
		c.mu.Unlock()
		p, err, again := c.wait(deadline, moved)
		if again {
			continue
		}
		return copy(b, p.data), p.from, err
	}
}

func (c *Conn) wait(deadline time.Time, moved <-chan struct{}) (p packet, err error, again bool) {
	var expired <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case p = <-c.in:
		return p, nil, false
	case <-c.done:
		return p, net.ErrClosed, false
	case <-expired:
		return p, os.ErrDeadlineExceeded, false
	case <-moved:
		return p, nil, true
	}
}

// Close frees the address.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	close(c.done)
	c.net.forget(c)
	return nil
}

func (n *Network) forget(c *Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c.addr.String())
}

// LocalAddr is the endpoint's address.
func (c *Conn) LocalAddr() net.Addr { return c.addr }

// SetReadDeadline bounds ReadFrom.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	close(c.moved)
	c.moved = make(chan struct{})
	return nil
}

// SetDeadline is SetReadDeadline: writing never waits.
func (c *Conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline does nothing: writing never waits.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }
