package memory

import (
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
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
	release  bool              // withheld records that were no longer ahead were shown
	wall     time.Time
}

// Sync makes all that was committed survive a crash.
func (d *Disk) Sync() { d.synced = len(d.log) }

// Copy returns an image of the disk as it is.
func (d *Disk) Copy() *Disk { return &Disk{log: slices.Clone(d.log), synced: len(d.log)} }

// startsAfter lists the writers that took over at or after a place in the log.
func (d *Disk) startsAfter(place int) []record.Writer {
	var out []record.Writer
	for _, e := range d.log[place:] {
		if !e.start.IsZero() {
			out = append(out, e.start)
		}
	}
	return out
}
