package runner

import (
	"context"
	"sync"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
)

// view is what the loop shows to others.
type view struct {
	mu       sync.Mutex
	states   map[record.Writer]replica.State
	complete map[record.Node]uint64 // boots up to which every version counts as received
	root     replica.Digest
	changed  chan struct{} // closed and replaced at each change
	peers    map[record.Node]start
	writer   record.Writer // announced last
	traffics [2]Traffic
	stats    Stats // after the end of the loop
}

// start of a peer.
type start struct{ boot, bits uint64 }

func (v *view) init() {
	v.states, v.complete = map[record.Writer]replica.State{}, map[record.Node]uint64{}
	v.peers, v.changed = map[record.Node]start{}, make(chan struct{})
}

func (v *view) committed(entries []replica.Entry, root replica.Digest) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range entries {
		for _, s := range e.States {
			v.states[s.Writer] = s
		}
		for _, w := range e.Forgotten {
			delete(v.states, w)
		}
		for _, b := range e.Boots {
			v.complete[b.Node] = b.Complete
		}
	}
	v.root = root
	v.wake()
}

func (v *view) reload(all replica.Reloaded) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.states = make(map[record.Writer]replica.State, len(all.States))
	for _, s := range all.States {
		v.states[s.Writer] = s
	}
	for _, b := range all.Boots {
		v.complete[b.Node] = b.Complete
	}
	v.root = replica.RootOf(all.States, all.Boots...)
	v.wake()
}

// wake is called with mu held.
func (v *view) wake() {
	close(v.changed)
	v.changed = make(chan struct{})
}

// peerChanged reports whether this is news: a peer that came, started anew, or
// went.
func (v *view) peerChanged(p mesh.Peer, connected bool) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	known, ok := v.peers[p.Node]
	if !connected {
		delete(v.peers, p.Node)
		return ok
	}
	now := start{p.Boot, p.Bits}
	v.peers[p.Node] = now
	return !ok || known != now
}

// setWriter notes the writer of now, and reports whether it is another one.
func (v *view) setWriter(w record.Writer) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	changed := w != v.writer
	v.writer = w
	return changed
}

func (v *view) received(c mesh.Class, n int) {
	if c != mesh.Push && c != mesh.Sync {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.traffics[c-mesh.Push].add(n)
}

func (v *view) traffic() [2]Traffic {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.traffics
}

func (v *view) lastStats() Stats {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.stats
}

func (v *view) setStats(s Stats) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stats = s
}

// Received returns a copy of what this node has received, by writer.
func (r *Runner) Received() map[record.Writer]record.Received {
	r.view.mu.Lock()
	defer r.view.mu.Unlock()
	sets := make(map[record.Writer]record.Received, len(r.view.states))
	for w, s := range r.view.states {
		if s.Received.Head > 0 {
			sets[w] = s.Received
		}
	}
	return sets
}

// Root is equal on nodes that have received the same.
func (r *Runner) Root() [16]byte {
	r.view.mu.Lock()
	defer r.view.mu.Unlock()
	return [16]byte(r.view.root.Append(nil))
}

// WaitSets returns when this node has received all of sets.
func (r *Runner) WaitSets(ctx context.Context, sets map[record.Writer]record.Received) error {
	return r.wait(ctx, func(v *view) bool {
		for w, want := range sets {
			if w.Boot > v.complete[w.Node] && len(v.states[w].Received.Minus(want)) > 0 {
				return false
			}
		}
		return true
	})
}

// WaitPoint returns when this node has received p.
func (r *Runner) WaitPoint(ctx context.Context, p record.Point) error {
	return r.wait(ctx, func(v *view) bool {
		return 0 < p.Writer.Boot && p.Writer.Boot <= v.complete[p.Writer.Node] || v.states[p.Writer].Received.Has(p.Version)
	})
}

// wait returns when done says so, which is asked with the view locked.
func (r *Runner) wait(ctx context.Context, done func(*view) bool) error {
	for {
		r.view.mu.Lock()
		ok, changed := done(&r.view), r.view.changed
		r.view.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-r.stopped:
			return ErrStopped
		}
	}
}
