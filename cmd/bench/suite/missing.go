package suite

import "github.com/firebreak-dev/firebreak/internal/bench"

// missing are the benches that cannot be run yet, and why. They are listed in
// every run: what is not measured is not hidden.
func missing() []bench.Bench {
	return []bench.Bench{
		{Name: "B14", Title: "schema", Set: bench.Quick, Missing: "replicated tables cannot be changed while a node runs"},
		{Name: "B26", Title: "soak", Set: bench.Soak, Missing: "there is no soak run yet"},
	}
}
