package presence

import (
	"cmp"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Rendezvous returns nodes in the order in which they are to report for a
// region, without duplicates: the first does, the next takes over. Any two
// that know the same nodes agree, and a node that comes or goes moves nobody
// else.
func Rendezvous(region fleet.Region, nodes []fleet.Worker) []fleet.Worker {
	out := slices.Clone(nodes)
	slices.SortFunc(out, func(a, b fleet.Worker) int {
		return cmp.Or(cmp.Compare(weight(region, b), weight(region, a)), cmp.Compare(a, b))
	})
	return slices.Compact(out)
}

func weight(region fleet.Region, node fleet.Worker) uint64 {
	return xxh3.HashString(string(region) + "\x00" + string(node))
}
