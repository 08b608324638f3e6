package quic

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"
	"strconv"

	"github.com/hashicorp/memberlist"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// newMembers starts memberlist over the mesh's transport.
func (m *Mesh) newMembers() (*memberlist.Memberlist, error) {
	c := memberlist.DefaultLANConfig()
	c.Name = string(m.cfg.Node)
	c.Transport = m.transport
	c.EnableCompression = false // a third of the CPU, for packets that fit anyway
	c.UDPBufferSize = 1100      // fits a datagram of a 1,200 byte packet
	c.ProbeInterval = m.tuning.probeInterval
	c.ProbeTimeout = m.tuning.probeTimeout
	c.SuspicionMult = m.tuning.suspicionMult
	c.SuspicionMaxTimeoutMult = 3
	c.GossipInterval = m.tuning.gossipInterval
	c.PushPullInterval = m.tuning.pushPull
	c.GossipToTheDeadTime = m.tuning.deadMemory
	c.Delegate = delegate{m}
	c.Events = events{m}
	c.Alive = alive{}
	c.Logger = log.New(memberLog{m.log}, "", 0)
	ml, err := memberlist.Create(c)
	if err != nil {
		return nil, fmt.Errorf("start membership: %w", err)
	}
	return ml, nil
}

// memberJoin exchanges all that is known with a connected node.
func memberJoin(ml *memberlist.Memberlist, node record.Node) error {
	_, err := ml.Join([]string{string(node) + "/" + net.JoinHostPort(nominalIP, strconv.Itoa(nominalPort))})
	return err
}

// delegate gives memberlist this node's metadata.
type delegate struct{ m *Mesh }

func (d delegate) NodeMeta(int) []byte {
	s := mesh.Alive
	if d.m.announced.Load() {
		s = mesh.State(d.m.leaveAs.Load())
	}
	return encodeMeta(s, *d.m.self.Load())
}

func (delegate) NotifyMsg([]byte)                {}
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (delegate) LocalState(bool) []byte          { return nil }
func (delegate) MergeRemoteState([]byte, bool)   {}

// alive refuses members whose metadata cannot be read.
type alive struct{}

func (alive) NotifyAlive(n *memberlist.Node) error {
	_, _, err := decodeMeta(n.Name, n.Meta)
	return err
}

// events takes what memberlist finds. It is called under memberlist's lock, so
// it only notes.
type events struct{ m *Mesh }

func (e events) NotifyJoin(n *memberlist.Node)   { e.m.memberSeen(n) }
func (e events) NotifyUpdate(n *memberlist.Node) { e.m.memberSeen(n) }

func (e events) NotifyLeave(n *memberlist.Node) {
	m, node := e.m, record.Node(n.Name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.peers[node]; p != nil && node != m.cfg.Node {
		p.swim, p.dead = false, p.link
		m.dirty(node)
		ring(m.wake)
	}
}

func (m *Mesh) memberSeen(n *memberlist.Node) {
	s, about, err := decodeMeta(n.Name, n.Meta)
	if err != nil || about.node == m.cfg.Node {
		return // NotifyAlive has refused the first; the second is this node
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peerOf(about.node)
	if p == nil {
		return
	}
	p.swim, p.dead = true, nil
	if p.link == nil && about.writer.boot >= p.info.writer.boot {
		if about.address != p.info.address || about.writer != p.info.writer {
			p.dial = dialing{}
		}
		p.info = about
	}
	if s != mesh.Alive && about.writer == p.info.writer {
		p.left, p.leftW = s, about.writer
	}
	m.dirty(about.node)
	ring(m.wake)
}

// memberLog turns memberlist's lines into debug records.
type memberLog struct{ log *slog.Logger }

func (w memberLog) Write(line []byte) (int, error) {
	if w.log.Enabled(context.Background(), slog.LevelDebug) {
		w.log.Debug("membership", "line", string(bytes.TrimSpace(line)))
	}
	return len(line), nil
}
