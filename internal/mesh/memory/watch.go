package memory

import (
	"context"
	"time"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// remote is one start of another node as this one sees it. Guarded by Mesh.mu.
type remote struct {
	to    *Mesh
	peer  mesh.Peer
	heard time.Time
	link  *link // nil while there is no connection
}

// link is one connection to one start of a node.
type link struct {
	to   *Mesh
	told chan struct{} // closed once the handler knows of it
	done chan struct{} // closed at its end
	out  map[mesh.Flow]*outflow
}

// watch looks at the others until ctx ends or the node is killed.
func (m *Mesh) watch(ctx context.Context) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		m.lookAround()
		select {
		case <-ctx.Done():
			return nil
		case <-m.dead:
			return ErrKilled
		case <-tick.C:
		}
	}
}

type change struct {
	peer mesh.Peer
	link *link // nil for lost
}

// lookAround finds out who is there, and tells the handler.
func (m *Mesh) lookAround() {
	now := time.Now()
	var changes []change
	here := make(map[record.Node]bool)
	for _, other := range m.net.members() {
		if other != m {
			here[other.name()] = true
			changes = append(changes, m.see(other, m.reaches(other), now)...)
		}
	}
	m.mu.Lock()
	var gone []*Mesh
	for node, r := range m.remotes {
		if !here[node] {
			gone = append(gone, r.to)
		}
	}
	m.mu.Unlock()
	for _, other := range gone {
		changes = append(changes, m.see(other, false, now)...)
	}
	for _, c := range changes {
		m.handler.PeerChanged(c.peer, c.link != nil)
		if c.link != nil && !closed(c.link.told) {
			close(c.link.told) // only here, and one goroutine looks around
		}
	}
}

// reaches reports whether a word and its answer passed just now.
func (m *Mesh) reaches(other *Mesh) bool {
	_, there := m.net.Pass(string(m.name()), string(other.name()))
	_, back := m.net.Pass(string(other.name()), string(m.name()))
	return there && back
}

// see brings what is known of another node up to date and returns what the
// handler must be told.
func (m *Mesh) see(other *Mesh, heard bool, now time.Time) []change {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []change
	r := m.remotes[other.name()]
	if r == nil || r.to != other {
		if !heard {
			return nil
		}
		if r != nil && r.link != nil { // another start: what it was sent is lost
			m.drop(r)
			out = append(out, change{r.peer, nil})
		}
		r = &remote{to: other}
		m.remotes[other.name()] = r
	}
	if heard {
		r.heard = now
	}
	was := r.peer
	r.peer = *other.self.Load()
	r.peer.State = m.judge(r, now)
	connect := r.peer.State == mesh.Alive || r.peer.State == mesh.Suspected && r.link != nil
	switch {
	case connect && r.link == nil:
		r.link = &link{to: other, told: make(chan struct{}), done: make(chan struct{}), out: make(map[mesh.Flow]*outflow)}
	case !connect && r.link != nil:
		m.drop(r)
	case r.peer == was:
		return out
	}
	return append(out, change{r.peer, r.link})
}

func (m *Mesh) judge(r *remote, now time.Time) mesh.State {
	silent := now.Sub(r.heard)
	left := mesh.State(r.to.left.Load())
	switch {
	case left != 0 && (r.peer.State == left || m.net.Open(string(r.to.name()), string(m.name()))):
		return left
	case silent > deadAfter:
		return mesh.Dead
	case silent > suspectAfter:
		return mesh.Suspected
	}
	return mesh.Alive
}

// drop ends a connection. The caller holds mu.
func (m *Mesh) drop(r *remote) {
	close(r.link.done)
	r.link = nil
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
