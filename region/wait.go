package region

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region/api"
)

// WaitPoint returns once this node has received p.
func (n *Node) WaitPoint(ctx context.Context, p record.Point) error {
	return n.runner.WaitPoint(ctx, p)
}

// answerMargin is left of a deadline for the answers to travel.
const answerMargin = 200 * time.Millisecond

// Wait waits until the scope has received the points, at most until the
// deadline of ctx, and names who lacks what, and why.
func (n *Node) Wait(ctx context.Context, scope regionv1.WaitScope, points []record.Point) (*regionv1.WaitResponse, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(askTime)
	}
	left := time.Until(deadline)
	left -= min(answerMargin, left/4)
	var here, there []*regionv1.Lack
	var both errgroup.Group
	both.Go(func() (err error) {
		here, err = n.waitHere(ctx, points, left)
		return err
	})
	if scope == regionv1.WaitScope_WAIT_SCOPE_REGION {
		both.Go(func() error {
			there = n.waitPeers(ctx, points, left)
			return nil
		})
	}
	if err := both.Wait(); err != nil {
		return nil, err
	}
	return &regionv1.WaitResponse{Reached: len(here)+len(there) == 0, Lacks: append(here, there...)}, nil
}

// waitPeers asks every live node, in parallel, to wait.
func (n *Node) waitPeers(ctx context.Context, points []record.Point, left time.Duration) []*regionv1.Lack {
	req := &regionv1.WaitRequest{TimeoutMs: left.Milliseconds()}
	for _, p := range points {
		req.Points = append(req.Points, api.PointProto(p))
	}
	body, err := proto.Marshal(req)
	if err != nil {
		panic(err) // it was read from the wire
	}
	question := append([]byte{waitTag}, body...)
	peers := n.mesh.Peers()
	found := make([][]*regionv1.Lack, len(peers))
	var asked errgroup.Group
	for i, peer := range peers {
		if !alive(peer) {
			continue
		}
		asked.Go(func() error {
			var answer regionv1.WaitResponse
			b, err := n.mesh.Ask(ctx, peer.Node, question)
			if err == nil {
				err = proto.Unmarshal(b, &answer)
			}
			found[i] = answer.GetLacks()
			if err != nil {
				found[i] = []*regionv1.Lack{{Node: string(peer.Node), Reason: fmt.Sprintf("unreachable: %v", err)}}
			}
			return nil
		})
	}
	_ = asked.Wait() // nobody fails
	return slices.Concat(found...)
}

// answerWait answers a peer's question.
func (n *Node) answerWait(ctx context.Context, question []byte) ([]byte, error) {
	var req regionv1.WaitRequest
	if err := proto.Unmarshal(question, &req); err != nil {
		return nil, fmt.Errorf("wait: %w", err)
	}
	points := make([]record.Point, len(req.GetPoints()))
	for i, p := range req.GetPoints() {
		points[i] = api.PointOf(p)
	}
	left := min(time.Duration(req.GetTimeoutMs())*time.Millisecond, time.Hour)
	lacks, err := n.waitHere(ctx, points, left)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(&regionv1.WaitResponse{Reached: len(lacks) == 0, Lacks: lacks})
}

// waitHere waits at most left until this node shows the points.
func (n *Node) waitHere(ctx context.Context, points []record.Point, left time.Duration) ([]*regionv1.Lack, error) {
	wait, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	var lacks []*regionv1.Lack
	for _, p := range points {
		if n.runner.WaitPoint(wait, p) != nil {
			lacks = append(lacks, n.lack(p, n.missing(p)))
		}
	}
	if ctx.Err() != nil && len(lacks) == 0 {
		return nil, ctx.Err()
	}
	held, err := n.withheld(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	for _, p := range points {
		if i := slices.IndexFunc(held, func(w store.Withheld) bool { return w.Point == p }); i >= 0 {
			lacks = append(lacks, n.lack(p, "withheld: "+string(held[i].Reason)))
		}
	}
	return lacks, nil
}

func (n *Node) lack(p record.Point, reason string) *regionv1.Lack {
	return &regionv1.Lack{Node: string(n.cfg.Node), Point: api.PointProto(p), Reason: reason}
}

// missing says why a point was not received.
func (n *Node) missing(p record.Point) string {
	if _, ok := n.runner.Received()[p.Writer]; !ok {
		return "unknown writer"
	}
	return "gap"
}
