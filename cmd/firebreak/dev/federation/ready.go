package federation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// readyWithin bounds the wait for one node after another. A large federation on
// a small machine takes its time; one that hangs must say so.
const readyWithin = 2 * time.Minute

// answerWithin bounds one question to a node that starts beside many others.
const answerWithin = 10 * time.Second

// poll is how often a node that is not ready is asked again.
const poll = 100 * time.Millisecond

// until calls ok until it returns nil, ctx ends, or a node has ended.
func (f *Federation) until(ctx context.Context, ok func(context.Context) error) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		call, cancel := context.WithTimeout(ctx, answerWithin)
		err := ok(call)
		cancel()
		if err == nil {
			return nil
		}
		for _, r := range f.started() {
			select {
			case <-r.ended:
				if r.asked.Load() {
					continue
				}
				return fmt.Errorf("node %v ended: %w", r.node, r.err)
			default:
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

var errTooLong = errors.New("it takes too long")

// addRegions makes every region known at the first global node.
func (f *Federation) addRegions(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, errTooLong)
	defer cancel()
	conn, err := f.dial(f.plan.Of(Global)[0])
	if err != nil {
		return err
	}
	operator := globalv1.NewOperatorServiceClient(conn)
	for _, r := range f.plan.Spec.Regions {
		g := f.plan.Generations[r]
		err := f.until(ctx, func(ctx context.Context) error {
			_, err := operator.AddRegion(ctx, &globalv1.AddRegionRequest{
				Region: string(r), Generation: &clusterv1.Generation{Number: g.Number, Bits: g.Bits},
			})
			return err
		})
		if err != nil {
			return fmt.Errorf("add region %s: %w", r, err)
		}
	}
	return nil
}

// waitReady returns when every node says that it is ready.
func (f *Federation) waitReady(ctx context.Context) error { return f.WaitReady(ctx, f.plan.Nodes) }

// WaitReady returns when these nodes say that they are ready.
func (f *Federation) WaitReady(ctx context.Context, nodes []Node) error {
	for _, n := range nodes {
		if err := f.waitReadyOne(ctx, n); err != nil {
			return fmt.Errorf("node %v is not ready: %w", n, err)
		}
	}
	return nil
}

func (f *Federation) waitReadyOne(ctx context.Context, n Node) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, errTooLong)
	defer cancel()
	return f.until(ctx, func(ctx context.Context) error { return f.Ready(ctx, n) })
}

// waitMet returns when each of these region nodes is connected with all of its
// region that have been started, they included. A hundred processes that
// start and meet at once on few CPUs are late for each other's deadlines.
func (f *Federation) waitMet(ctx context.Context, wave []Node) error {
	started := map[fleet.Region]int{}
	for _, r := range f.started() {
		if r.node.Role == Region {
			started[r.node.Region]++
		}
	}
	for _, n := range wave {
		c, err := f.RegionClient(n)
		if err != nil {
			return err
		}
		within, cancel := context.WithTimeoutCause(ctx, readyWithin, errTooLong)
		err = f.until(within, func(ctx context.Context) error {
			s, err := c.Status(ctx, &regionv1.StatusRequest{})
			if err != nil {
				return err
			}
			return connected(n, s, started[n.Region]-1)
		})
		cancel()
		if err != nil {
			return fmt.Errorf("node %v has not met those before it: %w", n, err)
		}
	}
	return nil
}

// Ready reports why a node is not ready, or nil.
func (f *Federation) Ready(ctx context.Context, n Node) error {
	switch n.Role {
	case Region:
		return f.regionReady(ctx, n)
	case Global:
		return f.globalReady(ctx, n)
	}
	return f.routerReady(ctx, n)
}

func (f *Federation) regionReady(ctx context.Context, n Node) error {
	c, err := f.RegionClient(n)
	if err != nil {
		return err
	}
	s, err := c.Status(ctx, &regionv1.StatusRequest{})
	switch {
	case err != nil:
		return err
	case !s.Fit:
		return fmt.Errorf("it is not fit: %s", s.UnfitBecause)
	}
	return connected(n, s, f.plan.Spec.Workers-1)
}

// connected reports whether a node is connected with so many others.
func connected(n Node, s *regionv1.StatusResponse, want int) error {
	have := 0
	for _, m := range s.Members {
		if m.Connected && m.Node != string(n.Name) {
			have++
		}
	}
	if have < want {
		return fmt.Errorf("it is connected to %d of %d peers", have, want)
	}
	return nil
}

func (f *Federation) globalReady(ctx context.Context, n Node) error {
	c, err := f.DirectoryClient(n)
	if err != nil {
		return err
	}
	s, err := c.Status(ctx, &globalv1.StatusRequest{})
	switch {
	case err != nil:
		return err
	case !s.Serving:
		return fmt.Errorf("it does not serve: %s", s.NotServingBecause)
	}
	return nil
}

func (f *Federation) routerReady(ctx context.Context, n Node) error {
	c, err := f.RouterClient(n)
	if err != nil {
		return err
	}
	s, err := c.Status(ctx, &routerv1.StatusRequest{})
	switch {
	case err != nil:
		return err
	case !s.Ready:
		return fmt.Errorf("it is not ready: %s", strings.Join(s.Alarms, "; "))
	}
	state := map[fleet.Region]clusterv1.CoverageState{}
	for _, r := range s.Regions {
		state[fleet.Region(r.Region)] = r.GetCoverage().GetState()
	}
	for _, r := range f.plan.Spec.Regions {
		switch state[r] {
		case clusterv1.CoverageState_COVERAGE_STATE_LIVE, clusterv1.CoverageState_COVERAGE_STATE_PRUNED:
		default:
			return fmt.Errorf("region %s is %v to it", r, state[r])
		}
	}
	return nil
}
