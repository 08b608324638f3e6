package federation

import (
	"context"
	"fmt"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/link"
)

// wanted is a node that is to be started again.
type wanted struct {
	node   Node
	result chan error
}

// startWanted starts nodes again, until they all end.
func (f *Federation) startWanted(nodes context.Context, l launcher) {
	for {
		select {
		case w := <-f.wanted:
			w.result <- f.startNode(nodes, nodes, l, w.node)
		case <-nodes.Done():
			return
		}
	}
}

// begun puts a node's new run in the place of its last one.
func (f *Federation) begun(r *running) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.starts[r.node.String()]++
	for i, old := range f.running {
		if old.node == r.node {
			f.running[i] = r
			return
		}
	}
	f.running = append(f.running, r)
}

func (f *Federation) runOf(n Node) *running {
	for _, r := range f.started() {
		if r.node == n {
			return r
		}
	}
	return nil
}

func (r *running) isOver() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// Stop asks a node to end, as for maintenance, and waits for it. One that has
// ended is left alone.
func (f *Federation) Stop(ctx context.Context, n Node) error {
	return f.end(ctx, n, func(*running) {})
}

// Kill ends a node without a farewell and waits for it. A process is killed
// with SIGKILL. In this process the node's sockets are closed first, so that
// nothing more leaves it, and then it is stopped: what it had not committed is
// lost, what it had not sent is not sent.
func (f *Federation) Kill(ctx context.Context, n Node) error {
	return f.end(ctx, n, func(r *running) { r.kill() })
}

func (f *Federation) end(ctx context.Context, n Node, first func(*running)) error {
	r := f.runOf(n)
	if r == nil || r.isOver() {
		return nil
	}
	r.asked.Store(true)
	first(r)
	r.stop()
	select {
	case <-r.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("end node %v: %w", n, ctx.Err())
	}
}

// Start starts a node that has ended, or that is about to. It does not wait
// until it is ready.
func (f *Federation) Start(ctx context.Context, n Node) error {
	if r := f.runOf(n); r != nil {
		if !r.asked.Load() && !r.isOver() {
			return nil
		}
		select {
		case <-r.ended:
		case <-ctx.Done():
			return fmt.Errorf("start node %v again: it has not ended: %w", n, ctx.Err())
		}
	}
	w := wanted{n, make(chan error, 1)}
	select {
	case f.wanted <- w:
	case <-ctx.Done():
		return fmt.Errorf("start node %v: %w", n, ctx.Err())
	}
	if err := <-w.result; err != nil {
		return err
	}
	return f.devfile().Write(f.paths.dir) // its process is another one
}

// Down returns the nodes that have ended, or have been asked to.
func (f *Federation) Down() []Node {
	var out []Node
	for _, r := range f.started() {
		if r.asked.Load() || r.isOver() {
			out = append(out, r.node)
		}
	}
	return out
}

// Ends returns how many times a node has ended since the federation's start.
func (f *Federation) Ends(n Node) int {
	r := f.runOf(n)
	f.mu.Lock()
	defer f.mu.Unlock()
	ends := f.starts[n.String()] - 1
	if r != nil && r.isOver() {
		ends++
	}
	return max(0, ends)
}

// nameLinks tells the links whose addresses these are.
func (f *Federation) nameLinks() {
	if f.cfg.Links == nil {
		return
	}
	for _, n := range f.plan.Nodes {
		for _, addr := range []string{n.Gossip, n.GRPC} {
			if addr != "" {
				f.cfg.Links.Name(addr, link.Node(n.String()))
			}
		}
	}
}
