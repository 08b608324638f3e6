package quic

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// peer is what this node knows of another. Guarded by Mesh.mu.
type peer struct {
	info  info  // the newest word of the node itself, by its hello or its metadata
	swim  bool  // membership says that it is alive
	link  *link // nil while there is none
	dead  *link // the link that was there when membership called it dead, until verified
	left  mesh.State
	leftW writer // the start that said so
	dial  dialing
}

// state is what the two sources together say: the node's own farewell first,
// then a connection, then membership.
func (p *peer) state() mesh.State {
	switch {
	case p.left != 0 && p.leftW == p.info.writer:
		return p.left
	case p.link != nil && p.link != p.dead:
		return mesh.Alive
	case p.swim, p.link != nil:
		return mesh.Suspected
	}
	return mesh.Dead
}

// peerOf returns the entry of a node, or nil if there are too many names.
func (m *Mesh) peerOf(node record.Node) *peer {
	p := m.peers[node]
	if p == nil && len(m.peers) < maxPeers {
		p = &peer{}
		m.peers[node] = p
	}
	return p
}

// Drop closes the connection with a peer that broke the protocol. It may
// connect again.
func (m *Mesh) Drop(peer record.Node, why string) {
	if l := m.linkOf(peer); l != nil {
		l.close(closeMalformed, why[:min(len(why), 256)])
	}
}

func (m *Mesh) linkOf(node record.Node) *link {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.peers[node]; p != nil {
		return p.link
	}
	return nil
}

// linkAt finds a link by the address that its peer advertises.
func (m *Mesh) linkAt(addr netip.AddrPort) *link {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		if p.link != nil && p.info.address == addr {
			return p.link
		}
	}
	return nil
}

// Peers lists the other nodes that are known, by name.
func (m *Mesh) Peers() []mesh.Peer {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]mesh.Peer, 0, len(m.peers))
	for _, p := range m.peers {
		out = append(out, p.info.peer(p.state()))
	}
	slices.SortFunc(out, func(a, b mesh.Peer) int { return strings.Compare(string(a.Node), string(b.Node)) })
	return out
}

// adopt makes l the connection of its pair and returns the one that it
// replaces. Of two that both sides dialed at about the same time, the one
// dialed by the lower name stays: both sides decide alike.
func (m *Mesh) adopt(l *link) (*link, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	about := *l.about.Load()
	p := m.peerOf(l.node)
	if p == nil || m.ended {
		return nil, &RefusedError{Code: closeBye, Reason: "this node takes no more peers"}
	}
	old := p.link
	if old != nil && old.alive() && old.about.Load().writer == about.writer &&
		l.since.Sub(old.since) < simultaneous && m.preferred(old) && !m.preferred(l) {
		return nil, &RefusedError{Code: closeExtra, Reason: "another connection of this pair stays"}
	}
	l.before, p.link, p.info = old, l, about
	m.dirty(l.node)
	return old, nil
}

// preferred reports whether l was dialed by the lower name.
func (m *Mesh) preferred(l *link) bool { return l.dialed == (m.cfg.Node < l.node) }

// unlinked forgets a link that has ended.
func (m *Mesh) unlinked(l *link) {
	cause := context.Cause(l.conn.Context())
	m.metrics.closed.WithLabelValues(closeReason(cause)).Inc()
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[l.node]
	if p == nil || p.link != l {
		return
	}
	p.link = nil
	if p.dead == l {
		p.dead = nil
	}
	m.dirty(l.node)
	if !m.ended {
		m.log.Info("peer disconnected", "peer", l.node, "err", cause)
	}
}

// heard takes a later hello: the peer has a new writer.
func (m *Mesh) heard(l *link, about info) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l.about.Store(&about)
	if p := m.peers[l.node]; p != nil && p.link == l {
		p.info = about
		m.dirty(l.node)
	}
}

// leaving notes that a start of a node says farewell.
func (m *Mesh) leaving(node record.Node, w writer, s mesh.State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.peers[node]; p != nil && p.info.writer == w {
		p.left, p.leftW = s, w
		m.dirty(node)
	}
}

// hasLeft reports whether a node's newest start has said farewell.
func (m *Mesh) hasLeft(node record.Node) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[node]
	return p != nil && p.left != 0 && p.leftW == p.info.writer
}

// dirty asks the notifier to look at a node. The caller holds mu.
func (m *Mesh) dirty(node record.Node) {
	m.changed[node] = true
	ring(m.bell)
}

// ring puts a token into a bell that may have one.
func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// told is what the handler was last told of a node.
type told struct {
	peer mesh.Peer
	link *link
}

// notify tells the handler what changed, one node at a time, newest state
// only; but a connection that was replaced is told as lost and found, since
// frames may have been lost with it. A link delivers nothing before it is told.
func (m *Mesh) notify(ctx context.Context) {
	last := make(map[record.Node]told)
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.bell:
		}
		for _, node := range m.takeChanged() {
			now, ok := m.look(node)
			was := last[node]
			if !ok || now == was {
				continue
			}
			if was.link != nil && now.link != nil && was.link != now.link {
				m.handler.PeerChanged(was.peer, false)
			}
			last[node] = now
			if now.peer != was.peer || (now.link == nil) != (was.link == nil) || now.link != was.link {
				m.handler.PeerChanged(now.peer, now.link != nil)
			}
			if now.link != nil && now.link != was.link {
				close(now.link.told)
			}
		}
	}
}

func (m *Mesh) takeChanged() []record.Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]record.Node, 0, len(m.changed))
	for node := range m.changed {
		out = append(out, node)
	}
	clear(m.changed)
	slices.Sort(out)
	return out
}

func (m *Mesh) look(node record.Node) (told, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[node]
	if p == nil {
		return told{}, false
	}
	return told{p.info.peer(p.state()), p.link}, true
}
