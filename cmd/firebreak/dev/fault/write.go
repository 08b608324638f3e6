package fault

import (
	"context"
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/daemon"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// StormApp is the app of the machines that a storm writes.
const StormApp = fleet.App("storm")

// A storm is this many times a region's share of the ordinary changes, and at
// least as many as if they were some.
const (
	stormFactor = 100
	stormLeast  = 200.0 // writes per second
	stormIDs    = 20    // machines of each worker that it writes again and again
	stormTick   = 20 * time.Millisecond
)

// storm is what a worker's storm, or a poisoned row of it, has left behind.
type storm struct {
	worker int
	ids    []fleet.MachineID
}

// indexes returns the workers of nodes, in the order of placement.
func (e *Engine) indexes(nodes []federation.Node) []int {
	in := map[string]bool{}
	for _, n := range nodes {
		in[n.Place().String()] = true
	}
	var out []int
	for i, p := range e.cfg.Fleet.Plan().Places() {
		if in[p.String()] {
			out = append(out, i)
		}
	}
	return out
}

// storm writes the same machines again and again until storms ends. A daemon
// that cannot pass them on in time slows it.
func (e *Engine) storm(storms context.Context, nodes []federation.Node) {
	workers := e.indexes(nodes)
	share := e.cfg.Rate * float64(len(workers)) / float64(len(e.cfg.Fleet.Plan().Places()))
	rate := max(stormLeast, stormFactor*share) / float64(len(workers))
	for _, w := range workers {
		s := storm{worker: w}
		for i := range stormIDs {
			s.ids = append(s.ids, fleet.MachineID(fmt.Sprintf("storm-%d-%d", w, i+1)))
		}
		e.stormed = append(e.stormed, s)
		e.storms.Go(func() { e.blow(storms, s, rate) })
	}
}

func (e *Engine) blow(ctx context.Context, s storm, rate float64) {
	t := time.NewTicker(stormTick)
	defer t.Stop()
	last, owed, next := time.Now(), 0.0, 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		owed = min(owed+time.Since(last).Seconds()*rate, rate) // after a pause, no flood
		last = time.Now()
		for ; owed >= 1; owed-- {
			c := daemon.Change{ID: s.ids[next%len(s.ids)], App: StormApp}
			next++
			if e.cfg.Sink.Offer(ctx, s.worker, c) != nil {
				return
			}
		}
	}
}

// clearUp withdraws what storms have published.
func (e *Engine) clearUp(ctx context.Context) error {
	for _, s := range e.stormed {
		if err := e.withdraw(ctx, s); err != nil {
			return err
		}
	}
	e.stormed = nil
	return nil
}

// withdraw ends what there still is of s.
func (e *Engine) withdraw(ctx context.Context, s storm) error {
	var ends []daemon.Change
	for _, id := range s.ids {
		ends = append(ends, daemon.Change{ID: id, Gone: true})
	}
	return e.offerLive(ctx, s.worker, ends)
}

// offerLive offers the ends of those machines that are live.
func (e *Engine) offerLive(ctx context.Context, worker int, ends []daemon.Change) error {
	live := map[fleet.MachineID]bool{}
	for _, m := range e.cfg.Truth.Snapshot().Of(e.cfg.Fleet.Plan().Places()[worker]) {
		live[m.ID] = true
	}
	var out []daemon.Change
	for _, c := range ends {
		if live[c.ID] {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return e.cfg.Sink.Offer(ctx, worker, out...)
}

// massDelete withdraws every machine of the nodes' workers.
func (e *Engine) massDelete(ctx context.Context, nodes []federation.Node, say func(string)) error {
	all := e.cfg.Truth.Snapshot()
	n := 0
	for _, w := range e.indexes(nodes) {
		var ends []daemon.Change
		for _, m := range all.Of(e.cfg.Fleet.Plan().Places()[w]) {
			ends = append(ends, daemon.Change{ID: m.ID, Gone: true})
		}
		n += len(ends)
		if err := e.offerLive(ctx, w, ends); err != nil {
			return err
		}
	}
	say(fmt.Sprintf("withdrawn: %d machines of %d workers", n, len(nodes)))
	return nil
}
