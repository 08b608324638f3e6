package memory

import (
	"maps"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// Disk is what of a store survives its end: a log of what was committed, and
// how much of it was synced. One store at a time uses a disk.
type Disk struct {
	log    []entry
	synced int
}

// entry is one commit.
type entry struct {
	start    record.Writer // a writer took over
	delivery record.Delivery
	local    *record.Changeset // delivery was written here
	quiet    bool              // nobody hears of its changes
	release  bool              // withheld records that were no longer ahead were shown
	listing  *store.ListingPage
	mine     []record.Writer // writers of the start that took the listing
	collect  *collection
	wall     time.Time
}

// Sync makes all that was committed survive a crash.
func (d *Disk) Sync() { d.synced = len(d.log) }

// Copy returns an image of the disk as it is.
func (d *Disk) Copy() *Disk { return &Disk{log: slices.Clone(d.log), synced: len(d.log)} }

// collection is one call of Collect.
type collection struct {
	ages  store.Ages
	limit int
}

// ownedSince lists the owned records, closings aside, that were written here at or after a
// place in the log by writers above an evicted boot, the last of each row, by
// table and key. They count even where an earlier writer with a higher boot
// outranks them already.
func (d *Disk) ownedSince(from int, evicted uint64) []record.Record {
	last := map[place]record.Record{}
	for _, e := range d.log[from:] {
		if e.local == nil || e.local.Writer.Boot <= evicted {
			continue
		}
		for _, r := range e.local.Records {
			if r.Kind == record.Owned && r.Table != closed.ID {
				last[place{r.Table, r.Key}] = r
			}
		}
	}
	var out []record.Record
	for _, p := range slices.SortedFunc(maps.Keys(last), place.compare) {
		out = append(out, last[p])
	}
	return out
}

// startsSince lists the writers that began at or after a place in the log.
func (d *Disk) startsSince(from int) (out []record.Writer) {
	for _, e := range d.log[from:] {
		if !e.start.IsZero() {
			out = append(out, e.start)
		}
	}
	return out
}

// Written lists the changesets that were written on this disk, in order, for
// tests that judge what became of them.
func (d *Disk) Written() (out []record.Changeset) {
	for _, e := range d.log {
		if e.local != nil {
			out = append(out, *e.local)
		}
	}
	return out
}
