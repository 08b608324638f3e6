// Package network is how a node reaches the others: the one seam between the
// roles and the sockets. A federation for development puts latency, loss and
// partitions there.
package network

import (
	"context"
	"fmt"
	"net"
)

// Network opens a node's sockets. Addresses are host:port; port 0 of a
// listener takes any. Safe for concurrent use.
type Network interface {
	ListenPacket(addr string) (net.PacketConn, error) // UDP
	Listen(addr string) (net.Listener, error)         // TCP
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// Host is the network of this host, as it is.
type Host struct{}

// Or returns n, or the host's if n is nil.
func Or(n Network) Network {
	if n == nil {
		return Host{}
	}
	return n
}

// ListenPacket opens a UDP port.
func (Host) ListenPacket(addr string) (net.PacketConn, error) {
	udp, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("bind %q: %w", addr, err)
	}
	conn, err := net.ListenUDP("udp", udp)
	if err != nil {
		return nil, fmt.Errorf("open UDP port %s: %w", addr, err)
	}
	return conn, nil
}

// Listen opens a TCP port.
func (Host) Listen(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }

// Dial connects to a TCP port.
func (Host) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
}
