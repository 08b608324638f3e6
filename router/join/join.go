// Package join makes one watch out of the watches of many regions. A Region
// holds what one region's stream said of the apps that somebody watches; a
// Session is one client, whose events come from the Regions that run its apps.
// Both are pure values.
//
// What it keeps true:
//
//   - A region is asked only for apps that somebody watches. The last watcher
//     who leaves takes the interest with it.
//   - What is known of a lost region stays, marked stale. Only the region's own
//     word takes a machine away: an end, a complete snapshot of a fit gateway,
//     or its proven withdrawal from the directory.
//   - A slow client costs its own place in line: it owes at most one event per
//     machine, and gets the machine as it is when its turn comes.
//   - A subscriber that comes back with a position is told what changed since,
//     if the gateway that gave it says so; else everything, as if it were new.
//   - A malformed message marks its own region and app, and nothing else.
//   - Claims of one machine in several regions are judged together, by the same
//     rule as within a region.
package join

import (
	"cmp"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// Sub names one subscriber of a Region.
type Sub uint64

// Key names one worker's claim.
type Key struct {
	Worker fleet.Worker
	ID     fleet.MachineID
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Worker, b.Worker), cmp.Compare(a.ID, b.ID))
}

// Kind is what an event says.
type Kind uint8

// The kinds.
const (
	Reset  Kind = 1 // everything of this app in this region follows, up to Synced
	Upsert Kind = 2
	Gone   Kind = 3
	Synced Kind = 4 // everything that there is was named
	Status Kind = 5
	Known  Kind = 6 // the subscriber holds this machine as it is
	Moved  Kind = 7 // whoever has taken all before, and nothing since, may go on from At
)

// Event is one step of an app in one region.
type Event struct {
	App     fleet.App
	Kind    Kind
	Key     Key               // Upsert, Known, Gone
	Machine *regionv1.Machine // Upsert, Known; shared, not to be written to
	Ended   bool              // Gone: its owner said so
	Part    coverage.Part     // Status
	Pending bool              // Status: another one follows at once, if all is well
	At      []byte            // Moved: an encoded position; shared
}
