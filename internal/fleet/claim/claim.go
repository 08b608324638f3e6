// Package claim decides which of the rows that workers published for one
// machine count. A machine has one row per worker that ever ran it, each
// written by that worker alone, so at any moment there can be several: a
// hand-over under way, a host that came back with its old disk, two platforms
// that chose one id. The package is the one answer to "which of them": a
// region node asks it about its own rows, a router about the rows of several
// regions, and the SQL view fleet_current says the same in SQL.
//
// What it keeps true:
//
//   - A claim is shown unless its own worker ended it, or it stands under a
//     grant and a row at or above that grant got as far as running. Doubt
//     shows a claim; it never hides one.
//   - A region's row hides a row of another region only if that one names it,
//     by region and worker, as the place that it moved to.
//   - Hiding has no cycles: of claims that hide each other by their numbers,
//     one is always shown.
//   - Two shown claims are contested, unless one of them has been handed to
//     the other.
//
// Everything here is a pure function of its arguments and indifferent to
// their order.
package claim

import (
	"cmp"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Place is a worker of a region.
type Place struct {
	Region fleet.Region
	Worker fleet.Worker
}

// String gives region/worker, as rows spell it in moved_to.
func (p Place) String() string { return string(p.Region) + "/" + string(p.Worker) }

// Row is what one worker says of one machine: a claim, or the end of one.
type Row struct {
	Place   Place
	ID      fleet.MachineID
	App     fleet.App
	State   State
	Why     Why
	Epoch   uint64
	Grant   uint64 // epoch that was granted away; zero for none
	MovedTo string // region/worker that it was granted to; empty for none
}

// Claim reports whether r is a claim: anything but an end. A state that this
// version does not know is a claim.
func (r Row) Claim() bool { return r.State != Ended }

// Compare orders rows as they are listed: by epoch, then worker, then region,
// the highest first.
func (r Row) Compare(o Row) int {
	return cmp.Or(
		cmp.Compare(o.Epoch, r.Epoch),
		cmp.Compare(o.Place.Worker, r.Place.Worker),
		cmp.Compare(o.Place.Region, r.Place.Region),
	)
}

// Reclaim is an operator's word that Owner has the machine now: a grant of
// Epoch to Owner against every other claim of its region at or below it.
type Reclaim struct {
	Region fleet.Region
	ID     fleet.MachineID
	Epoch  uint64
	Owner  fleet.Worker
}

// Verdict is what is true of one row among all rows of its machine.
type Verdict struct {
	Row       Row
	Current   bool   // counts among the machines of its app
	Contested bool   // shown beside another claim that it was not handed to or from
	Under     uint64 // lowest grant that the claim stands under; zero for none
	HiddenBy  Row    // if it is a claim and not current: the row that hides it
}

// Judge returns a verdict on each row, in the order of Row.Compare. The rows
// and reclaims are those of one machine, of any number of regions, at most one
// row per place.
func Judge(rows []Row, reclaims []Reclaim) []Verdict {
	return judge(rows, reclaims, true)
}

// Across judges rows that each region has judged already: the claims that
// their region shows, and ends. Only what regions are to each other is judged
// again: a verdict's Contested leaves out pairs within one region.
func Across(rows []Row) []Verdict { return judge(rows, nil, false) }

func judge(rows []Row, reclaims []Reclaim, within bool) []Verdict {
	verdicts := make([]Verdict, len(rows))
	for i, r := range rows {
		verdicts[i] = Verdict{Row: r, Current: r.Claim()}
	}
	slices.SortFunc(verdicts, func(a, b Verdict) int { return a.Row.Compare(b.Row) })
	if len(rows) == 1 {
		verdicts[0].Under = under(rows[0], reclaims)
		return verdicts
	}
	for i := range verdicts {
		v := &verdicts[i]
		v.Under = under(v.Row, reclaims)
		for _, other := range verdicts {
			if v.Current && hides(other.Row, v.Row, reclaims, within) {
				v.Current, v.HiddenBy = false, other.Row
			}
		}
	}
	for i := range verdicts {
		for j := range i {
			a, b := &verdicts[i], &verdicts[j]
			same := a.Row.Place.Region == b.Row.Place.Region
			if a.Current && b.Current && (within || !same) && !handed(a.Row, b.Row, reclaims) && !handed(b.Row, a.Row, reclaims) {
				a.Contested, b.Contested = true, true
			}
		}
	}
	return verdicts
}
