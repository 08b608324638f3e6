package claim

import (
	"fmt"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Facts are what, beside its claim, decides whether a machine gets traffic.
type Facts struct {
	Health    Health
	Draining  bool // its worker is being drained
	Addresses []string
}

// WhyNot returns every reason for which a machine gets no traffic; none means
// that it is routable. Each is for a person to read.
func WhyNot(v Verdict, f Facts) []string {
	var out []string
	switch v.Row.State {
	case Started, Moved:
	case Ended:
		out = append(out, fmt.Sprintf("it ended: %v", v.Row.Why))
	default:
		out = append(out, fmt.Sprintf("its state is %v", v.Row.State))
	}
	if v.Row.Claim() && !v.Current {
		by := v.HiddenBy
		out = append(out, fmt.Sprintf("%v took it over at epoch %d (%v)", by.Place, by.Epoch, by.State))
	}
	if f.Health == Failing {
		out = append(out, "its health is failing")
	}
	if f.Draining {
		out = append(out, fmt.Sprintf("worker %s is draining", v.Row.Place.Worker))
	}
	if len(f.Addresses) == 0 {
		out = append(out, "it has no address")
	}
	for _, a := range f.Addresses {
		if _, err := fleet.CheckAddress(a); err != nil {
			out = append(out, err.Error())
		}
	}
	return out
}
