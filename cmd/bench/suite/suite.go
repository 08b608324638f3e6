// Package suite lists every bench: what is measured, against which target, and
// what cannot be measured yet.
package suite

import (
	"slices"
	"strings"

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
	out := slices.Concat(storebench.Benches(), meshbench.Benches(), regionbench.Benches(), routerbench.Benches(), simbench.Benches(), missing())
	slices.SortFunc(out, func(a, b bench.Bench) int { return strings.Compare(a.Name, b.Name) })
	return out
}
