package dev

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/daemon"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
)

// upgradeWithin bounds one upgrade: a node that does not come back must be
// noticed.
const upgradeWithin = time.Minute

// upgradeNodes restarts one region node after the other, in an order of the
// seed, each as careful operators do: its daemon has told it everything and
// holds back what would happen meanwhile. Its machines run on, and requests
// reach them.
func (s *session) upgradeNodes(ctx context.Context) error {
	nodes := s.federation.Plan().Of(federation.Region)
	rnd := rand.New(rand.NewPCG(s.seed, 0x75706772616465))
	rnd.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	daemons := map[string]*daemon.Daemon{}
	for i, p := range s.federation.Plan().Places() {
		daemons[p.String()] = s.daemons[i]
	}
	t := time.NewTicker(s.upgrades)
	defer t.Stop()
	for i := 0; ; i++ {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		n := nodes[i%len(nodes)]
		s.say.sayf("upgrading node %v; its machines run on", n)
		// One that has begun is finished, so that the check finds every node.
		if err := s.upgrade(context.WithoutCancel(ctx), n, daemons[n.Place().String()]); err != nil {
			return fmt.Errorf("upgrade node %v: %w", n, err)
		}
	}
}

func (s *session) upgrade(ctx context.Context, n federation.Node, d *daemon.Daemon) error {
	ctx, cancel := context.WithTimeout(ctx, upgradeWithin)
	defer cancel()
	defer s.engine.Upkeep(n)()
	defer d.Release()
	if err := d.Hold(ctx); err != nil {
		return err
	}
	if err := s.federation.Stop(ctx, n); err != nil {
		return err
	}
	if err := s.federation.Start(ctx, n); err != nil {
		return err
	}
	return s.federation.WaitReady(ctx, []federation.Node{n})
}
