package fault

import (
	"fmt"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
)

// effect says what is done.
func (c Command) effect(nodes []federation.Node) string {
	who := fmt.Sprintf("%v (%d nodes)", c.Target, len(nodes))
	switch c.Kind {
	case Partition:
		return "cutting off " + who + " from everybody else"
	case Delay:
		return fmt.Sprintf("%s sends and receives %v later", who, c.Delay)
	case Loss:
		return fmt.Sprintf("%s loses %v%% of what it sends and receives", who, c.Loss*100)
	case Kill:
		return "killing " + who + ": no farewell, nothing more is sent"
	case Stop:
		return "stopping " + who
	case Poison:
		return fmt.Sprintf("a row of %s that the program of every node but its own fails on", nameOf(nodes[0]))
	case Storm:
		return fmt.Sprintf("%d times the writes in %s", stormFactor, who)
	case MassDelete:
		return "withdrawing every machine of " + who
	}
	how := "one after the other"
	if c.AtOnce {
		how = "all at once"
	}
	return "restarting the nodes of " + who + " " + how + "; their machines run on"
}

// spared says what should stay unaffected.
func (c Command) spared(p federation.Plan, nodes []federation.Node) string {
	regions, tiers := scope(nodes)
	var others []string
	for _, r := range p.Spec.Where() {
		if !slices.Contains(regions, r) {
			others = append(others, string(r))
		}
	}
	what := "rows, restarts and requests in " + strings.Join(others, ", ")
	switch {
	case len(others) == 0:
		what = "nothing: it is everybody"
	case slices.Contains(tiers, federation.Global):
		what += "; every region reads and writes, routers and catalogs keep what they know; apps that come to or leave a region show late"
	case slices.Contains(tiers, federation.Router):
		what += "; every region reads and writes, catalogs keep what they know"
	case c.Kind == MassDelete || c.Kind == Storm:
	default:
		what += "; requests to its machines too, which run on"
	}
	if len(p.Spec.Sites) > 0 {
		what = "nothing for certain: this federation is flat, and every node takes every row"
	}
	return "should stay unaffected: " + what
}
