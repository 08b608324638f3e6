package watch

import (
	"maps"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
	"github.com/firebreak-dev/firebreak/region/roster"
	"github.com/firebreak-dev/firebreak/region/table"
)

// Siblings returns the keys of all rows of one machine.
func (h *Hub) Siblings(id fleet.MachineID) []roster.Key {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.roster.Siblings(id)
}

// Machine returns the rows and reclaims of one machine.
func (h *Hub) Machine(id fleet.MachineID) ([]claim.Row, []claim.Reclaim) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.roster.Machine(id)
}

// Keys returns the keys of the rows of an app, of a worker, of an app on a
// worker, or (both empty) of all.
func (h *Hub) Keys(app fleet.App, w fleet.Worker) []roster.Key {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case app != "":
		keys := h.roster.App(app)
		return slices.DeleteFunc(keys, func(k roster.Key) bool { return w != "" && k.Worker != w })
	case w != "":
		return h.roster.Worker(w)
	}
	return h.roster.All()
}

// Owners returns the workers that have machines.
func (h *Hub) Owners() []fleet.Worker {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.roster.Workers()
}

// Ended reports whether a worker has rows of machines that ended.
func (h *Hub) Ended(w fleet.Worker) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range h.roster.Worker(w) {
		if !h.roster.IsClaim(k) {
			return true
		}
	}
	return false
}

// Claims returns how many claims there are.
func (h *Hub) Claims() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.roster.Claims()
}

// Counts returns the number of current claims of each app that has any, and a
// channel that is closed when one of them has changed.
func (h *Hub) Counts() (map[fleet.App]int, <-chan struct{}) {
	changed := h.counts.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.roster.Counts(), changed
}

// Workers returns the rows of fleet_workers, by name.
func (h *Hub) Workers() []table.Worker {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]table.Worker, 0, len(h.workers))
	for _, name := range slices.Sorted(maps.Keys(h.workers)) {
		out = append(out, h.workers[name])
	}
	return out
}

// Suspect reports whether a worker's node is dead or restarting.
func (h *Hub) Suspect(w fleet.Worker) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.suspects[w]
}

// Unconfirmed reports whether a row waits for its daemon's word.
func (h *Hub) Unconfirmed(k roster.Key) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.unconfirmed[k]
}

// unseen is how long after its start a node answers as if every app had ended
// something at the start: of ends before it nothing is known.
const unseen = time.Minute

// NewestEnd returns how long ago the newest end of these apps (of any app, if
// none is given) was seen; negative if none is known.
func (h *Hub) NewestEnd(apps ...fleet.App) time.Duration {
	now := time.Now()
	var at time.Time
	if now.Sub(h.started) < unseen {
		at = h.started
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(apps) == 0 && h.ends.newest.After(at) {
		at = h.ends.newest
	}
	for _, app := range apps {
		if seen, ok := h.ends.of(app); ok && seen.After(at) {
			at = seen
		}
	}
	if at.IsZero() {
		return -1
	}
	return now.Sub(at)
}
