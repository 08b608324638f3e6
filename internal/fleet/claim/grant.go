package claim

import (
	"math"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// ownGrant returns the grant of a moved claim, else zero. A grant is above its
// claim's epoch; one that is not counts as if it were, so that two rows with
// made-up numbers cannot hide each other; above the largest epoch there is no
// grant.
func ownGrant(r Row) uint64 {
	if r.State != Moved || r.Epoch == math.MaxUint64 {
		return 0
	}
	return max(r.Grant, r.Epoch+1)
}

// reclaimOf returns the highest reclaim of a region, or the zero Reclaim.
func reclaimOf(region fleet.Region, reclaims []Reclaim) Reclaim {
	var out Reclaim
	for _, c := range reclaims {
		if c.Region == region && (c.Epoch > out.Epoch || c.Epoch == out.Epoch && c.Owner > out.Owner) {
			out = c
		}
	}
	return out
}

// reclaimed returns the epoch of the reclaim that takes r from its worker,
// else zero.
func reclaimed(r Row, reclaims []Reclaim) uint64 {
	c := reclaimOf(r.Place.Region, reclaims)
	if c.Owner == r.Place.Worker || r.Epoch > c.Epoch {
		return 0
	}
	return c.Epoch
}

// owned reports whether a reclaim gave r's machine to r's worker, at or above
// r's epoch: in its region nothing hides it.
func owned(r Row, reclaims []Reclaim) bool {
	c := reclaimOf(r.Place.Region, reclaims)
	return c.Owner == r.Place.Worker && r.Epoch <= c.Epoch && c.Epoch > 0
}

// under returns the lowest grant that a claim stands under in its region, or
// zero.
func under(r Row, reclaims []Reclaim) uint64 {
	if !r.Claim() {
		return 0
	}
	own, taken := ownGrant(r), reclaimed(r, reclaims)
	switch {
	case own == 0:
		return taken
	case taken == 0:
		return own
	}
	return min(own, taken)
}

// hides reports whether other hides the claim r.
func hides(other, r Row, reclaims []Reclaim, within bool) bool {
	if other.Place == r.Place || !arrived(other, r) {
		return false
	}
	if other.Place.Region != r.Place.Region {
		grant := ownGrant(r)
		return grant > 0 && other.Epoch >= grant && other.Place.String() == r.MovedTo
	}
	if !within || owned(r, reclaims) || other.Claim() && reclaimed(other, reclaims) > 0 {
		return false
	}
	grant := under(r, reclaims)
	return grant > 0 && other.Epoch >= grant
}

// arrived reports whether other got far enough to take over from r: it runs or
// ran, was destroyed, or went on to somebody else.
func arrived(other, r Row) bool {
	switch other.State {
	case Started, Stopping, Moved:
		return true
	case Ended:
		return other.Why == Destroyed ||
			other.Why == WhyMoved && other.MovedTo != "" && other.MovedTo != r.Place.String()
	}
	return false
}

// handed reports whether the claim a stands under a grant that b is at or
// above. Between regions that is only so for the place that a names.
func handed(a, b Row, reclaims []Reclaim) bool {
	if a.Place.Region != b.Place.Region {
		grant := ownGrant(a)
		return grant > 0 && b.Epoch >= grant && b.Place.String() == a.MovedTo
	}
	grant := under(a, reclaims)
	return grant > 0 && b.Epoch >= grant
}

// Epoch returns the epoch at which the worker at self publishes a machine that
// it runs, given all rows and reclaims of that machine, its own included: the
// higher of its last epoch and the highest granted to it, at least 1. A source
// whose target yielded starts again above it, unless a claim or a destroy at
// or above its grant is there.
func Epoch(self Place, rows []Row, reclaims []Reclaim) uint64 {
	epoch := uint64(1)
	var own Row
	for _, r := range rows {
		switch {
		case r.Place == self:
			own = r
			epoch = max(epoch, r.Epoch)
		case r.Grant > 0 && r.MovedTo == self.String() && (r.State == Moved || r.Why == WhyMoved):
			epoch = max(epoch, r.Grant)
		}
	}
	for _, c := range reclaims {
		if c.Region == self.Region && c.Owner == self.Worker {
			epoch = max(epoch, c.Epoch)
		}
	}
	if above := yieldedBack(own, rows); above > 0 {
		epoch = max(epoch, above)
	}
	return epoch
}

// yieldedBack returns the epoch above a target that yielded what own had
// granted to it, or zero.
func yieldedBack(own Row, rows []Row) uint64 {
	if own.Grant == 0 || own.MovedTo == "" {
		return 0
	}
	var above uint64
	for _, r := range rows {
		if r.Place == own.Place || r.Epoch < own.Grant {
			continue
		}
		switch {
		case r.Claim() || r.Why == Destroyed:
			return 0
		case r.Why == Yielded && r.Place.String() == own.MovedTo:
			above = max(above, r.Epoch+1)
		}
	}
	return above
}

// DestroyedBy returns an end with why destroyed among rows: while there is
// one the machine is not started anew.
func DestroyedBy(rows []Row) (Row, bool) {
	for _, r := range rows {
		if r.State == Ended && r.Why == Destroyed {
			return r, true
		}
	}
	return Row{}, false
}
