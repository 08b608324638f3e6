// Package fit decides whether a node knows enough of its region to speak for
// it. A node that came back with an empty or old disk would say "no machines"
// and mean it; until it has caught up with enough of its region, its answers
// are stale.
//
// Fit is: caught up, since the node's start, with more than half of the known
// nodes (itself counted), counting only peers that have been fit since their
// own start; or with all of them. And no record that could be a machine is
// withheld. The price: after a restart of all its nodes a region is stale, and
// not unserved, until the last known node is back or evicted.
package fit

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// Answer is how far one known node was reached in a round.
type Answer struct {
	Caught bool // it said what it has, and this node has all of that
	Fit    bool // it has been fit since its own start
}

// Round is one attempt to catch up with everybody.
type Round struct {
	Known    []record.Node          // all known nodes but this one
	Answers  map[record.Node]Answer // of those that were asked
	Seedless bool                   // configured without seeds: may be alone
	Withheld int                    // machine and reclaim records that are withheld
}

// Verdict is what a round shows.
type Verdict struct {
	Fit     bool
	Because string // why not, for a person; empty if fit
}

// Judge returns the verdict on a round.
func Judge(r Round) Verdict {
	if r.Withheld > 0 {
		return Verdict{Because: fmt.Sprintf("%d machine or reclaim records are withheld", r.Withheld)}
	}
	caught, vouched := 0, 1
	var missing []string
	for _, n := range r.Known {
		a := r.Answers[n]
		if !a.Caught {
			missing = append(missing, string(n))
			continue
		}
		caught++
		if a.Fit {
			vouched++
		}
	}
	switch {
	case 2*vouched > len(r.Known)+1 && len(r.Known) > 0:
		return Verdict{Fit: true}
	case len(missing) == 0 && (caught > 0 || r.Seedless):
		return Verdict{Fit: true}
	case len(r.Known) == 0:
		return Verdict{Because: "no other node of the region is known yet, and seeds are configured"}
	}
	slices.Sort(missing)
	return Verdict{Because: fmt.Sprintf("caught up with %d of %d other known nodes, %d of them fit; missing: %s",
		caught, len(r.Known), vouched-1, some(missing, 5))}
}

// some lists at most n names.
func some(names []string, n int) string {
	if len(names) <= n {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:n], ", "), len(names)-n)
}

// Peer is one start of a node, as membership knows it.
type Peer struct {
	Node record.Node
	Boot uint64
}

// Known returns all nodes of which anything is known, self aside: writers in
// received sets, owners of rows, and peers. A node that was evicted counts
// again once something of it is above the evicted boot.
func Known(self record.Node, writers []record.Writer, owners []record.Node, peers []Peer, evicted map[record.Node]uint64) []record.Node {
	known := map[record.Node]struct{}{}
	see := func(n record.Node, boot uint64) {
		if at, gone := evicted[n]; n != self && (!gone || boot > at) {
			known[n] = struct{}{}
		}
	}
	for _, w := range writers {
		see(w.Node, w.Boot)
	}
	for _, n := range owners {
		// Rows up to the evicted boot are dropped, and the writer of any other
		// is among the writers.
		see(n, 0)
	}
	for _, p := range peers {
		see(p.Node, p.Boot)
	}
	return slices.Sorted(maps.Keys(known))
}
