package quic

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// dialing is how far this node is in reaching a live peer. Guarded by Mesh.mu.
type dialing struct {
	since  time.Time // when it was first found missing; zero means not missing
	next   time.Time // not before
	failed bool      // an attempt has failed since
	busy   bool
	wait   *backoff.Backoff
}

// polite is how long the higher name of a pair leaves the dialing to the lower:
// longer than a handshake on a busy machine, so that few pairs dial twice.
const polite = 2 * time.Second

// maxDials bounds how many dials run at once: a cold start of a cell is 255.
const maxDials = 16

// tend keeps the links as they should be: one to every live peer that is not
// denied, none to the dead, none for long under an old certificate.
func (m *Mesh) tend(ctx context.Context) {
	tick := time.NewTicker(m.tuning.tend)
	defer tick.Stop()
	save := m.saver()
	replaced := m.cfg.Identity.Changed()
	slots := make(chan struct{}, maxDials)
	for {
		select {
		case <-ctx.Done():
			save(true)
			return
		case <-replaced:
			replaced = m.cfg.Identity.Changed()
			m.rotate()
		case <-m.wake:
		case <-tick.C:
		}
		for _, c := range m.unwanted() {
			c.link.close(c.code, c.reason)
		}
		for _, l := range m.doubted() {
			m.wg.Go(func() { m.verify(ctx, l) })
		}
		for _, t := range m.missing(maxDials - len(slots)) {
			slots <- struct{}{}
			m.wg.Go(func() {
				defer func() { <-slots }()
				m.reach(ctx, t)
			})
		}
		save(false)
		m.count()
	}
}

type unwanted struct {
	link   *link
	code   quicgo.ApplicationErrorCode
	reason string
}

// unwanted lists the links to close.
func (m *Mesh) unwanted() []unwanted {
	now := time.Now()
	var out []unwanted
	for _, l := range m.links() {
		switch {
		case m.denied(l.node):
			out = append(out, unwanted{l, closeDenied, "denied by a switch of " + string(m.cfg.Node)})
		case !l.rotateAt.IsZero() && now.After(l.rotateAt):
			out = append(out, unwanted{l, closeRotate, "the certificate was replaced"})
		}
	}
	return out
}

// doubted lists the links whose peers membership calls dead, once each.
func (m *Mesh) doubted() []*link {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*link
	for _, p := range m.peers {
		if p.link != nil && p.dead == p.link && !p.link.asked {
			p.link.asked = true
			out = append(out, p.link)
		}
	}
	return out
}

// verify asks a peer that membership calls dead, before its connection is
// dropped. On a machine that is out of breath membership errs, and a storm of
// handshakes is the last thing that it needs.
func (m *Mesh) verify(ctx context.Context, l *link) {
	ctx, cancel := context.WithTimeout(ctx, m.tuning.verify)
	defer cancel()
	_, err := l.ping(ctx)
	m.mu.Lock()
	l.asked = false
	p := m.peers[l.node]
	still := p.dead == l
	if err == nil && still {
		p.dead = nil
		m.dirty(l.node)
	}
	m.mu.Unlock()
	if err != nil && still {
		l.close(closeDead, "membership says that it is dead, and it does not answer")
	}
}

// rotate has every link closed at a random time, so that they all come back
// under the new certificate and never at once.
func (m *Mesh) rotate() {
	for _, l := range m.links() {
		l.rotateAt = time.Now().Add(rand.N(m.tuning.rotateOver))
	}
}

type target struct {
	node record.Node
	addr netip.AddrPort
}

// missing takes up to n live peers that have no link and are due.
func (m *Mesh) missing(n int) []target {
	denied := make(map[record.Node]bool)
	for _, p := range m.Peers() {
		denied[p.Node] = m.denied(p.Node)
	}
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []target
	for node, p := range m.peers {
		d := &p.dial
		if p.link != nil || !p.swim || denied[node] || p.state() != mesh.Suspected {
			if !d.busy {
				*d = dialing{}
			}
			continue
		}
		if d.since.IsZero() {
			d.since, d.wait = now, m.newBackoff()
			if m.cfg.Node > node {
				d.next = now.Add(polite)
			}
		}
		if d.busy || now.Before(d.next) || len(out) >= n {
			continue
		}
		d.busy = true
		out = append(out, target{node, p.info.address})
	}
	return out
}

func (m *Mesh) newBackoff() *backoff.Backoff {
	return backoff.New(backoff.Config{Base: 250 * time.Millisecond, Max: m.tuning.rejoin}, rand.Uint64())
}

// reach dials a live peer.
func (m *Mesh) reach(ctx context.Context, t target) {
	l, err := m.connect(ctx, t.addr)
	if err == nil && l.node != t.node {
		m.log.Warn("another node answers at a peer's address", "peer", t.node, "address", t.addr.String(), "node", l.node)
	}
	if err != nil && ctx.Err() == nil {
		m.logRefusal(t.addr.String(), err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[t.node]
	p.dial.busy = false
	if p.link == nil && p.dial.wait != nil {
		p.dial.failed = true
		p.dial.next = time.Now().Add(p.dial.wait.Next())
	}
}

// expects reports whether a first dial to a node is still to come or under
// way, so that its silence says nothing yet.
func (m *Mesh) expects(node record.Node) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[node]
	return p != nil && p.swim && !p.dial.failed && (p.dial.since.IsZero() || time.Since(p.dial.since) < handshakeTime)
}

// count sets the gauge of peers.
func (m *Mesh) count() {
	n := make(map[mesh.State]int)
	for _, p := range m.Peers() {
		n[p.State]++
	}
	for s, name := range map[mesh.State]string{
		mesh.Alive: "alive", mesh.Suspected: "suspected", mesh.Dead: "dead",
		mesh.Restarting: "restarting", mesh.Draining: "draining",
	} {
		m.metrics.peers.WithLabelValues(name).Set(float64(n[s]))
	}
}
