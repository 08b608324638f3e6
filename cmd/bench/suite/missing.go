package suite

import "github.com/firebreak-dev/firebreak/internal/bench"

// missing are the benches that cannot be run yet, and why. They are listed in
// every run: what is not measured is not hidden.
func missing() []bench.Bench {
	return []bench.Bench{
		{Name: "B21", Title: "global-growth", Set: bench.Full, Missing: "no run with up to 64 regions and 1,000,000 machines yet"},
		{Name: "B27", Title: "against-incumbent", Set: bench.Full, Missing: "there is no run of as many processes yet; its figures would be constants from its own measurement"},
	}
}
