package join

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	"github.com/firebreak-dev/firebreak/router/directory"
)

// Tick judges by the time. Call it about every second.
func (r *Region) Tick(now directory.Instant) {
	for _, app := range slices.Sorted(maps.Keys(r.interests)) {
		r.settle(r.interests[app], now)
	}
	r.pump(now)
}

// show owes every subscriber the app's status if it is another one now.
func (r *Region) show(it *interest, now directory.Instant) {
	p := r.part(it, now)
	if p.State == it.shown && p.Detail == it.detail {
		return
	}
	it.shown, it.detail = p.State, p.Detail
	for _, sub := range it.all() {
		r.cursors[sub].owe(it.app).status = true
		r.touched[sub] = struct{}{}
	}
}

// part returns how an app's part of this region stands.
func (r *Region) part(it *interest, now directory.Instant) coverage.Part {
	p := coverage.Part{Region: r.name, State: coverage.Stale, Age: -1}
	if it.ever {
		p.Age = now.Since(it.liveAt)
	}
	switch {
	case it.bad != "":
		p.State, p.Detail = coverage.Refused, it.bad
	case !r.connected:
		p.Detail = cmp.Or(r.lost, "no stream yet")
		if !it.ever {
			p.State = coverage.Unreachable
		}
	case !r.everSaid || now.Since(r.saidAt) > coverage.Fresh:
		p.Detail = "the gateway does not say how it stands"
	case r.said.State == coverage.Stale:
		p.Age, p.Withheld, p.Detail = max(p.Age, r.said.Age), r.said.Withheld, "the gateway is not fit"
	case r.said.State != coverage.Live:
		p.State, p.Detail = coverage.Refused, fmt.Sprintf("the gateway stands as %v", r.said.State)
	case !it.settled:
		p.Detail = "the snapshot is not complete yet"
	default:
		p = coverage.Part{Region: r.name, State: coverage.Live, AsOf: r.saidAt.Time(), Withheld: r.said.Withheld}
	}
	return p
}

// pending reports whether an app's part is on its way: there was no attempt
// yet, or a stream that has not said what there is.
func (r *Region) pending(it *interest) bool {
	if !r.connected {
		return r.lost == ""
	}
	return it.bad == "" && !it.settled && (!r.everSaid || r.Live())
}
