// Package coverage says how each region contributed to an answer that spans
// regions. It is part of every such answer, so that a region which is missing
// is never read as a region without machines.
//
// An answer is complete when every region of a list that is known to be
// current is Live or Pruned: it then misses nothing that was settled before
// the oldest AsOf in it. Everything else is partial, whatever rows came back.
// docs/reference/coverage.md describes the states for readers.
package coverage

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Fresh is how old the word of a region, or of a global node about the list of
// regions, may be for an answer that rests on it to be complete.
const Fresh = 15 * time.Second

// State is how one region contributed. The zero State is none and covers
// nothing.
type State uint8

// The states, from the best to the worst (see Worst).
const (
	Live        State = 1 // answered by a gateway that is fit
	Pruned      State = 2 // not asked: proven not to matter, as of AsOf
	Stale       State = 3 // answered from old or unfit state, Age says how old
	PrunedStale State = 4 // not asked, and not proven any more
	Timeout     State = 5 // asked, no answer in time
	Unreachable State = 6 // no gateway could be asked
	Refused     State = 7 // answered with an error, see Detail
	Fenced      State = 8 // of another generation than the directory's
)

var names = [...]string{
	Live: "live", Pruned: "pruned", Stale: "stale", PrunedStale: "pruned_stale",
	Timeout: "timeout", Unreachable: "unreachable", Refused: "refused", Fenced: "fenced",
}

// States lists them, from the best to the worst.
func States() []State {
	return []State{Live, Pruned, Stale, PrunedStale, Timeout, Unreachable, Refused, Fenced}
}

// String is the state's name in answers, listings and metrics.
func (s State) String() string {
	if s >= Live && int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// ParseState reads what String wrote.
func ParseState(name string) (State, error) {
	for _, s := range States() {
		if names[s] == name {
			return s, nil
		}
	}
	return 0, fmt.Errorf("coverage state %q is unknown", name)
}

// Covered reports whether a region in this state is accounted for.
func (s State) Covered() bool { return s == Live || s == Pruned }

// Worst returns the one that says less about its region. It is commutative,
// associative and idempotent; the zero State yields to any other.
func Worst(a, b State) State { return max(a, b) }

// Part is one region's part in an answer.
type Part struct {
	Region   fleet.Region
	State    State
	Age      time.Duration // Stale, PrunedStale: how old what it contributed is; negative if it never spoke
	AsOf     time.Time     // Live, Pruned: nothing settled before it is missed; zero if unknown
	Withheld uint64        // records that it has received and does not show
	Detail   string        // for a person: what failed
}

// Merge joins two parts of one region in one answer: the worse state with its
// detail, the older age and moment, the larger count of withheld records. It is
// commutative, associative and idempotent.
func Merge(a, b Part) Part {
	if a.State == 0 {
		return b
	}
	if b.State == 0 {
		return a
	}
	if compare(a, b) > 0 {
		a, b = b, a // b is the worse, or the one that sorts later: its detail stays
	}
	out := b
	out.Age = max(a.Age, b.Age)
	if a.Age < 0 || b.Age < 0 {
		out.Age = min(a.Age, b.Age) // never is older than any age
	}
	if b.AsOf.IsZero() || !a.AsOf.IsZero() && a.AsOf.Before(b.AsOf) {
		out.AsOf = a.AsOf
	}
	out.Withheld = max(a.Withheld, b.Withheld)
	return out
}

func compare(a, b Part) int {
	return cmp.Or(cmp.Compare(a.State, b.State), cmp.Compare(a.Detail, b.Detail))
}

// Complete reports whether parts cover their regions, as said about a list of
// regions that was confirmed listAge ago (negative: never). A list that the
// asker named by itself is current: listAge 0.
func Complete(parts []Part, listAge time.Duration) bool {
	if listAge < 0 || listAge > Fresh {
		return false
	}
	return !slices.ContainsFunc(parts, func(p Part) bool { return !p.State.Covered() })
}

// Covered counts the parts that account for their region.
func Covered(parts []Part) int {
	n := 0
	for _, p := range parts {
		if p.State.Covered() {
			n++
		}
	}
	return n
}

// AsOf returns the moment that a complete answer speaks of: the oldest of its
// parts, or zero if one of them does not say.
func AsOf(parts []Part) time.Time {
	var oldest time.Time
	for i, p := range parts {
		if p.AsOf.IsZero() {
			return time.Time{}
		}
		if i == 0 || p.AsOf.Before(oldest) {
			oldest = p.AsOf
		}
	}
	return oldest
}

// Sort orders parts by region.
func Sort(parts []Part) {
	slices.SortFunc(parts, func(a, b Part) int { return cmp.Compare(a.Region, b.Region) })
}
