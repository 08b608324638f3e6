package federation

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
)

// Ports lie below the range from which the kernel takes those of outgoing
// connections: between letting go of a port and the node's taking it, no dial
// of ours or of anybody else can get it.
const (
	lowestPort = 20_000
	highest    = 32_000 // if the kernel does not say where its range begins
)

const host = "127.0.0.1"

// ports holds listeners on the ports of nodes that are not started yet.
type ports struct {
	held map[string]func() error // by "udp:port", "tcp:port"
	next int
}

func newPorts() *ports {
	return &ports{held: map[string]func() error{}, next: rand.IntN(firstEphemeral() - lowestPort)}
}

func firstEphemeral() int {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return highest
	}
	first, err := strconv.Atoi(strings.Fields(string(b) + " ")[0])
	if err != nil || first < lowestPort+5_000 {
		return highest
	}
	return first
}

// assign gives every address of the plan a port and holds it: the one it had,
// if that is free.
func (p *ports) assign(nodes []Node) error {
	for i := range nodes {
		n := &nodes[i]
		var errs [4]error
		if n.Role != Router {
			n.Gossip, errs[0] = p.take("udp", n.Gossip)
		}
		n.GRPC, errs[1] = p.take("tcp", n.GRPC)
		n.Admin, errs[2] = p.take("tcp", n.Admin)
		if n.Role == Region {
			n.HTTP, errs[3] = p.take("tcp", n.HTTP)
		}
		if err := errors.Join(errs[:]...); err != nil {
			p.releaseAll()
			return fmt.Errorf("ports of node %v: %w", *n, err)
		}
	}
	return nil
}

func (p *ports) take(network, former string) (string, error) {
	if former != "" && p.hold(network, former) == nil {
		return former, nil
	}
	size := firstEphemeral() - lowestPort
	var err error
	for range size {
		addr := net.JoinHostPort(host, strconv.Itoa(lowestPort+p.next%size))
		p.next++
		if err = p.hold(network, addr); err == nil {
			return addr, nil
		}
	}
	return "", fmt.Errorf("no free %s port: %w", network, err)
}

func (p *ports) hold(network, addr string) error {
	var release func() error
	if network == "udp" {
		conn, err := net.ListenPacket("udp", addr)
		if err != nil {
			return err
		}
		release = conn.Close
	} else {
		lis, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		release = lis.Close
	}
	p.held[network+":"+addr] = release
	return nil
}

// release lets go of a node's ports: it is about to take them.
func (p *ports) release(n Node) {
	for _, key := range []string{"udp:" + n.Gossip, "tcp:" + n.GRPC, "tcp:" + n.Admin, "tcp:" + n.HTTP} {
		if release := p.held[key]; release != nil {
			release() // a listener that nobody used
			delete(p.held, key)
		}
	}
}

func (p *ports) releaseAll() {
	for key, release := range p.held {
		release()
		delete(p.held, key)
	}
}
