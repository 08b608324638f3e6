package suite

import "github.com/firebreak-dev/firebreak/internal/bench"

// missing are the benches that cannot be run yet, and why. They are listed in
// every run: what is not measured is not hidden.
func missing() []bench.Bench {
	return []bench.Bench{
		{Name: "B21", Title: "global-growth", Set: bench.Full, Missing: "no run with up to 64 regions and 1,000,000 machines yet"},
	}
}
