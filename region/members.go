package region

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// strangers is how long after its start a node takes a worker whose node it
// has not met yet for well: everybody is a stranger then.
const strangers = 5 * time.Second

// members tells the hub which workers' nodes are dead or restarting. A node is
// not its host: nothing is written, and no machine goes away.
type members struct {
	n    *Node
	kick chan struct{}

	mu        sync.Mutex
	met       map[record.Node]bool // was connected since this start
	connected map[record.Node]bool
}

func newMembers(n *Node) *members {
	return &members{n: n, kick: make(chan struct{}, 1), met: map[record.Node]bool{}, connected: map[record.Node]bool{}}
}

// changed takes the mesh's word on a peer.
func (m *members) changed(p mesh.Peer, connected bool) {
	m.mu.Lock()
	if connected {
		m.met[p.Node], m.connected[p.Node] = true, true
	} else {
		delete(m.connected, p.Node)
	}
	m.mu.Unlock()
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// run looks after each change, and every second for workers that are new.
func (m *members) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		suspects := m.suspects()
		m.n.hub.SetSuspects(suspects)
		m.n.metrics.suspects.Set(float64(len(suspects)))
		select {
		case <-ctx.Done():
			return nil
		case <-m.kick:
		case <-tick.C:
		}
	}
}

func (m *members) suspects() map[fleet.Worker]bool {
	states := map[record.Node]mesh.State{}
	for _, p := range m.n.mesh.Peers() {
		states[p.Node] = p.State
	}
	settled := time.Since(m.n.started) > strangers
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[fleet.Worker]bool{}
	for _, w := range m.n.hub.Owners() {
		if w == m.n.cfg.Node || !settled && !m.met[record.Node(w)] {
			continue
		}
		switch states[record.Node(w)] {
		case mesh.Alive, mesh.Suspected, mesh.Draining:
		default: // dead, restarting, or not known to membership at all
			out[w] = true
		}
	}
	return out
}

// connectedNow returns the peers that frames can be sent to.
func (m *members) connectedNow() map[record.Node]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.connected)
}
