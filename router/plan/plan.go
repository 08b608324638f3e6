// Package plan decides whom a router asks and what the answers amount to: which
// regions a question goes to, when enough of them have answered, how an answer
// is covered; and, per region, when to leave a failing one alone, when a second
// gateway is worth a try, and how much may be asked on suspicion.
//
// What it keeps true: a region that may be pruned is never asked, whatever the
// state of the others; a region that is not asked is named with its reason; no
// value here spans two regions, so one region uses up nobody else's share.
//
// Everything is a pure function of its arguments.
package plan

import (
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	"github.com/firebreak-dev/firebreak/router/directory"
)

// Plan is whom to ask, and what is said of the regions that are not asked.
type Plan struct {
	Ask   []fleet.Region
	Known []coverage.Part
}

// ForApp plans a question about an app: the regions that run it and those that
// might. Pruned regions and fenced ones are not asked.
func ForApp(standings []directory.Standing) Plan {
	var p Plan
	for _, s := range standings {
		if s.MayPrune() || s.Part.State == coverage.Fenced {
			p.Known = append(p.Known, s.Part)
		} else {
			p.Ask = append(p.Ask, s.Region)
		}
	}
	return p
}

// ForRegions plans a question that names its regions, or is about all of them:
// nothing is pruned. Those that the router does not know are unreachable.
func ForRegions(wanted []fleet.Region, known func(fleet.Region) bool) Plan {
	var p Plan
	seen := map[fleet.Region]bool{}
	for _, r := range wanted {
		switch {
		case seen[r]:
		case known(r):
			p.Ask = append(p.Ask, r)
		default:
			p.Known = append(p.Known, coverage.Part{Region: r, State: coverage.Unreachable, Detail: "the router knows no region of this name"})
		}
		seen[r] = true
	}
	return p
}

// ForLookup plans where to look for an app beyond what the directory says: the
// regions that neither are known to run it nor may be pruned.
func ForLookup(standings []directory.Standing) Plan {
	var p Plan
	for _, s := range standings {
		if s.Class == 0 && s.Part.State == coverage.PrunedStale {
			p.Ask = append(p.Ask, s.Region)
		} else {
			p.Known = append(p.Known, s.Part)
		}
	}
	return p
}

// Settle looks at all parts of an answer about one app together: a region that
// was pruned as of a moment before the newest end of the app elsewhere is not
// proven any more, since the app may have moved there.
func Settle(parts []coverage.Part, newestEnd, now time.Time) []coverage.Part {
	out := slices.Clone(parts)
	for i, p := range out {
		if p.State == coverage.Pruned && p.AsOf.Before(newestEnd) {
			out[i].State = coverage.PrunedStale
			out[i].Age = max(0, now.Sub(p.AsOf))
			out[i].AsOf = time.Time{}
			out[i].Detail = "a machine ended elsewhere after this region last confirmed"
		}
	}
	coverage.Sort(out)
	return out
}

// Policy says when an answer is good enough. It changes no coverage.
type Policy struct {
	Kind   Kind
	Quorum int // of regions that must be covered
}

// Kind is one kind of policy.
type Kind uint8

// The kinds.
const (
	All Kind = iota
	Any
	Quorum
)

// Satisfied reports whether the parts of a finished answer fulfil p.
func (p Policy) Satisfied(parts []coverage.Part) bool {
	covered := coverage.Covered(parts)
	switch p.Kind {
	case Any:
		return covered > 0
	case Quorum:
		return covered >= max(p.Quorum, 1)
	}
	return covered == len(parts)
}

// Enough reports whether no more answers need to be waited for, given the
// parts so far. Under Any one live answer is enough: what was pruned says
// nothing about the rest.
func (p Policy) Enough(parts []coverage.Part) bool {
	switch p.Kind {
	case Any:
		return slices.ContainsFunc(parts, func(c coverage.Part) bool { return c.State == coverage.Live })
	case Quorum:
		return coverage.Covered(parts) >= max(p.Quorum, 1)
	}
	return false
}

// SoftDeadline returns how long regions get of the time that the caller has:
// less than all of it, so that the answer with what is there still arrives.
func SoftDeadline(left time.Duration) time.Duration {
	return max(left-max(left/10, 20*time.Millisecond), left/2)
}
