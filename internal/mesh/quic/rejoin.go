package quic

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// rejoinAtOnce is how many lost addresses one round tries: one that answers is
// enough to join the two sides of a partition, whatever their size.
const rejoinAtOnce = 4

// rejoin joins through the seeds and the peers known from before, and again
// whenever some of them are lost: memberlist forgets the dead.
func (m *Mesh) rejoin(ctx context.Context, ml *memberlist.Memberlist, known map[record.Node]netip.AddrPort) {
	wait := m.newBackoff()
	for {
		alone := m.alone()
		addrs := m.lost(ctx, known)
		if !alone {
			rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
		}
		addrs = addrs[:min(len(addrs), rejoinAtOnce+len(m.cfg.Seeds))]
		var tries sync.WaitGroup
		for _, addr := range addrs {
			tries.Go(func() { m.join(ctx, ml, addr) })
		}
		tries.Wait()
		m.embrace(ml)
		if alone && m.alone() && len(m.cfg.Seeds) > 0 {
			m.log.Warn("no seed or known peer could be joined yet", "tried", len(addrs))
		}
		d := m.tuning.rejoin/2 + rand.N(m.tuning.rejoin/2)
		if m.alone() {
			d = wait.Next()
		} else {
			wait.Reset()
		}
		if backoff.Wait(ctx, d) != nil {
			return
		}
	}
}

// alone reports whether membership knows no other live node.
func (m *Mesh) alone() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		if p.swim {
			return false
		}
	}
	return true
}

// lost lists the addresses of seeds and known peers that are not connected,
// seeds first.
func (m *Mesh) lost(ctx context.Context, known map[record.Node]netip.AddrPort) []netip.AddrPort {
	var all []netip.AddrPort
	for _, seed := range m.cfg.Seeds {
		addrs, err := resolve(ctx, seed)
		if err != nil {
			m.log.Warn("seed not resolved", "seed", seed, "err", err)
		}
		all = append(all, addrs...)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	skip := make(map[netip.AddrPort]bool)
	for addr := range m.own {
		skip[addr] = true
	}
	for node, p := range m.peers {
		delete(known, node) // this node knows better by now
		if p.link != nil || p.swim {
			skip[p.info.address] = true
		} else {
			all = append(all, p.info.address)
		}
	}
	for _, addr := range known {
		all = append(all, addr)
	}
	var out []netip.AddrPort
	for _, addr := range all {
		if !skip[addr] {
			skip[addr] = true
			out = append(out, addr)
		}
	}
	return out
}

// join connects to an address and exchanges memberships.
func (m *Mesh) join(ctx context.Context, ml *memberlist.Memberlist, addr netip.AddrPort) {
	l, err := m.connect(ctx, addr)
	if refused, ok := errors.AsType[*RefusedError](err); ok && refused.Code == closeSelf {
		m.mu.Lock()
		m.own[addr] = true
		m.mu.Unlock()
		m.log.Info("a seed is this node itself: skipped", "address", addr.String())
		return
	}
	if err == nil {
		if err = memberJoin(ml, l.node); err != nil {
			err = fmt.Errorf("join through %s at %v: %w", l.node, addr, err)
		}
	}
	if err != nil && ctx.Err() == nil {
		m.logRefusal(addr.String(), err)
	}
}

// embrace exchanges memberships with peers that are connected and yet not
// alive to memberlist: the two had lost each other.
func (m *Mesh) embrace(ml *memberlist.Memberlist) {
	for _, l := range m.links() {
		m.mu.Lock()
		p := m.peers[l.node]
		stranger := p.link == l && !p.swim && time.Since(l.since) > m.tuning.rejoin/5
		m.mu.Unlock()
		if !stranger {
			continue
		}
		if err := memberJoin(ml, l.node); err != nil {
			m.log.Debug("exchange memberships", "peer", l.node, "err", err)
		}
	}
}

// resolve gives the addresses of a host and port.
func resolve(ctx context.Context, seed string) ([]netip.AddrPort, error) {
	if addr, err := parseAddress(seed); err == nil {
		return []netip.AddrPort{addr}, nil
	}
	host, port, err := net.SplitHostPort(seed)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return nil, fmt.Errorf("port %q is no number of 1..65535", port)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	out := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		out[i] = netip.AddrPortFrom(ip.Unmap(), uint16(number))
	}
	return out, nil
}
