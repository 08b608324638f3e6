package region

import (
	"context"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
)

// maxGateways is how many gateways a region tells global of.
const maxGateways = 4

// view is the node as the reporter sees it.
type view Node

func (v *view) Counts() (map[fleet.App]int, <-chan struct{}) { return v.hub.Counts() }

func (v *view) Fit() bool { return v.fit.now() }

// Candidates are the live gateways that said that they are fit, and this node.
func (v *view) Candidates() []fleet.Worker {
	var out []fleet.Worker
	if v.fit.now() {
		out = append(out, v.cfg.Node)
	}
	v.fit.mu.Lock()
	defer v.fit.mu.Unlock()
	for _, p := range v.fit.vouching {
		if p.Gateway != "" {
			out = append(out, fleet.Worker(p.Node))
		}
	}
	return out
}

// Gateways are those of the workers' rows, so that every reporter says the
// same, whoever is alive: the first by name.
func (v *view) Gateways() []presence.Gateway {
	var out []presence.Gateway
	for _, w := range v.hub.Workers() {
		if w.Gateway != "" && len(out) < maxGateways {
			out = append(out, presence.Gateway{Node: w.Worker, Address: w.Gateway})
		}
	}
	return out
}

func (v *view) Withheld() uint64 { return uint64(v.fit.withheld()) }

func (v *view) WaitCaughtUp(ctx context.Context) error { return v.fit.after(ctx) }
