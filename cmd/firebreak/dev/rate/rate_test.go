package rate_test

import (
	"testing"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/rate"
)

func TestOnlyRatesPerSecondAreTaken(t *testing.T) {
	for in, want := range map[string]float64{"off": 0, "20/s": 20, "0.5/s": 0.5, "10000/s": 10_000} {
		if got, err := rate.Parse(in); err != nil || got != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "20", "on", "0/s", "-1/s", "NaN/s", "Inf/s", "1e9/s", "20/m", "20 /s"} {
		if got, err := rate.Parse(in); err == nil {
			t.Errorf("%q: taken as %v", in, got)
		}
	}
}
