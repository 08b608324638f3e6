package global

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

const (
	surveyIn   = 5 * time.Second
	aloneAfter = 30 * time.Second // without any peer alive, this node serves what it has
)

// servingState says whether routers are served; the zero value is "not yet".
type servingState struct {
	serving bool
	alone   bool   // without having met a peer
	because string // why not
}

// serves returns why routers are not served yet, or nil.
func (n *Node) serves() error {
	if s := n.state.Load(); !s.serving {
		return status.Errorf(codes.Unavailable, "this node is not serving yet: %s", s.because)
	}
	return nil
}

func (n *Node) setState(s servingState) {
	if old := n.state.Swap(&s); old.serving != s.serving {
		n.cfg.Logger.Info("serving routers", "alone", s.alone)
		n.metrics.serving.Set(1)
	}
}

// becomeServing waits until this node has received, in every lane, what its
// live peers had: a router that read an old disk would learn old things first.
// A node that is configured with peers and meets none serves after a while, and
// says so: what it lacks, routers do not prune by.
func (n *Node) becomeServing(ctx context.Context) error {
	begin := time.Now()
	retry := backoff.New(backoff.Config{Base: 200 * time.Millisecond, Max: time.Second}, uint64(begin.UnixNano()))
	for {
		err := n.catchUp(ctx, time.Since(begin) >= aloneAfter)
		if err == nil {
			return nil
		}
		n.setState(servingState{because: err.Error()})
		if backoff.Wait(ctx, retry.Next()) != nil {
			return nil
		}
	}
}

func (n *Node) catchUp(ctx context.Context, late bool) error {
	ctx, cancel := context.WithTimeout(ctx, surveyIn)
	defer cancel()
	alive := n.alivePeers()
	if len(alive) == 0 && len(n.cfg.Seeds) > 0 && !late {
		return fmt.Errorf("no other global node has been met")
	}
	if err := waitFor(ctx, n.list.loaded); err != nil {
		return fmt.Errorf("read the list of regions: %w", err)
	}
	if err := n.list.caughtUp(ctx, alive); err != nil {
		return err
	}
	if err := n.listApplied(ctx); err != nil {
		return err
	}
	for _, l := range n.lanes.sorted() {
		if l.failure() != nil {
			continue // alarmed; the others are served
		}
		if err := l.ready(ctx); err != nil {
			return fmt.Errorf("read region %s: %w", l.region, err)
		}
		if err := l.caughtUp(ctx, alive); err != nil {
			return err
		}
	}
	n.setState(servingState{serving: true, alone: len(alive) == 0 && len(n.cfg.Seeds) > 0})
	return nil
}

// listApplied checks that every region in the stored list has its lane.
func (n *Node) listApplied(ctx context.Context) error {
	snap, err := n.list.store.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = snap.Close() }()
	return snap.Scan(tableGenerations, nil, func(row store.Row, _ record.Point, _ int64) error {
		region, _, err := generationOf(row)
		if err != nil {
			return nil // left out by the follower too
		}
		if n.lanes.get(region) == nil {
			return fmt.Errorf("region %s is not open yet", region)
		}
		return nil
	})
}

func waitFor(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// alivePeers lists the other nodes that are believed alive.
func (n *Node) alivePeers() []record.Node {
	var out []record.Node
	for _, p := range n.mesh.Peers() {
		if p.State == mesh.Alive || p.State == mesh.Suspected {
			out = append(out, p.Node)
		}
	}
	return out
}
