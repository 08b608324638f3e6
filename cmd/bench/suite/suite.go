// Package suite lists every bench: what is measured, against which target, and
// what cannot be measured yet.
package suite

import (
	"context"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/cmd/bench/fleetbench"
	"github.com/firebreak-dev/firebreak/cmd/bench/meshbench"
	"github.com/firebreak-dev/firebreak/cmd/bench/regionbench"
	"github.com/firebreak-dev/firebreak/cmd/bench/routerbench"
	"github.com/firebreak-dev/firebreak/cmd/bench/simbench"
	"github.com/firebreak-dev/firebreak/cmd/bench/storebench"
	"github.com/firebreak-dev/firebreak/internal/bench"
)

// All returns the benches, by name: those with a number first, then floors and
// rivals.
func All() []bench.Bench {
	memory := bench.Bench{Name: "B23", Title: "memory", Set: bench.Full, Run: memory,
		About: "A node of a full cell: heap at most 100 MB, resident at most 300 MB; a catalog of 1,000,000 machines: at most 300 bytes each."}
	out := slices.Concat([]bench.Bench{memory}, storebench.Benches(), meshbench.Benches(), regionbench.Benches(), routerbench.Benches(), simbench.Benches(), fleetbench.Benches(), missing())
	slices.SortFunc(out, func(a, b bench.Bench) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// memory is of a node and of an edge.
func memory(ctx context.Context, b *bench.Bencher) error {
	if err := storebench.NodeMemory(ctx, b); err != nil {
		return err
	}
	return routerbench.CatalogMemory(ctx, b)
}
