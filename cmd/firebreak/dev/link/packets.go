package link

import (
	"net"
	"sync"
	"time"
)

// maxFlying bounds the packets on their way over one link. What is sent beyond
// is lost, as in a router's queue, and counted as dropped.
const maxFlying = 4096

// packets is a UDP port. It is a *net.UDPConn in all but sending, so that QUIC
// goes on using what it can do. One call may carry several packets of QUIC at
// once: they are lost or late together, as in a burst.
type packets struct {
	*net.UDPConn
	port *Port

	mu    sync.Mutex
	lines map[string]*line // by address
}

func (c *packets) Close() error {
	c.port.drop(c)
	return c.UDPConn.Close()
}

// WriteTo sends one packet.
func (c *packets) WriteTo(b []byte, addr net.Addr) (int, error) {
	n, _, err := c.WriteMsgUDP(b, nil, addr.(*net.UDPAddr))
	return n, err
}

// WriteMsgUDP sends packets.
func (c *packets) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	if c.port.routes.perfect.Load() {
		return c.UDPConn.WriteMsgUDP(b, oob, addr)
	}
	to := addr.String()
	q, chance, _, found := c.port.routes.find(to)
	switch {
	case !found:
		return c.UDPConn.WriteMsgUDP(b, oob, addr)
	case q.Cut || chance.hit(q.Loss):
		c.port.routes.dropped.Add(1)
		return len(b), len(oob), nil
	case q.Delay == 0:
		return c.UDPConn.WriteMsgUDP(b, oob, addr)
	}
	if !c.line(to).send(packet{append([]byte(nil), b...), append([]byte(nil), oob...), addr, time.Now().Add(q.Delay)}) {
		c.port.routes.dropped.Add(1)
	}
	return len(b), len(oob), nil
}

func (c *packets) line(to string) *line {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lines[to]
	if l == nil {
		l = &line{conn: c.UDPConn}
		c.lines[to] = l
	}
	return l
}

// line holds the packets that are on their way to one address, in order.
type line struct {
	conn *net.UDPConn

	mu      sync.Mutex
	flying  []packet
	landing bool // a timer is set
}

type packet struct {
	b, oob []byte
	addr   *net.UDPAddr
	due    time.Time
}

// send reports whether there was room.
func (l *line) send(p packet) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.flying) >= maxFlying {
		return false
	}
	l.flying = append(l.flying, p)
	if !l.landing {
		l.landing = true
		time.AfterFunc(time.Until(p.due), l.land)
	}
	return true
}

// land sends what is due and sets the timer for the rest.
func (l *line) land() {
	for {
		l.mu.Lock()
		if len(l.flying) == 0 {
			l.landing = false
			l.mu.Unlock()
			return
		}
		p := l.flying[0]
		if wait := time.Until(p.due); wait > 0 {
			time.AfterFunc(wait, l.land)
			l.mu.Unlock()
			return
		}
		l.flying = l.flying[1:]
		l.mu.Unlock()
		_, _, _ = l.conn.WriteMsgUDP(p.b, p.oob, p.addr) // a packet may get lost
	}
}
