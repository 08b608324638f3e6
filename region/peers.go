package region

import (
	"context"
	"fmt"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica/runner"
)

// peers is the region as the ledger sees it.
type peers Node

// CaughtUp returns nil once this node has whatever any member that it believes
// alive had when the call began.
func (p *peers) CaughtUp(ctx context.Context) error {
	var live []record.Node
	for _, peer := range p.mesh.Peers() {
		if alive(peer) {
			live = append(live, peer.Node)
		}
	}
	_, err := p.survey(ctx, live)
	return err
}

// Everywhere reports for each point whether every known node has it, and is
// caught up with all of them by then.
func (p *peers) Everywhere(ctx context.Context, points []record.Point) ([]bool, error) {
	known, err := (*Node)(p).known(ctx)
	if err != nil {
		return nil, err
	}
	reports, err := p.survey(ctx, known)
	if err != nil {
		return nil, err
	}
	out := make([]bool, len(points))
	for i, point := range points {
		out[i] = true
		for _, r := range reports {
			out[i] = out[i] && r.Sets[point.Writer].Has(point.Version)
		}
	}
	return out, nil
}

// survey asks nodes and waits until this one has all that they have. One that
// does not answer is an error.
func (p *peers) survey(ctx context.Context, nodes []record.Node) ([]runner.Report, error) {
	ask, cancel := context.WithTimeout(ctx, askTime)
	reports := p.runner.Survey(ask, nodes)
	cancel()
	for _, r := range reports {
		if r.Err != nil {
			return nil, fmt.Errorf("catch up with %s: %w", r.Node, r.Err)
		}
	}
	if err := p.runner.WaitSets(ctx, union(reports)); err != nil {
		return nil, fmt.Errorf("catch up: %w", err)
	}
	return reports, nil
}
