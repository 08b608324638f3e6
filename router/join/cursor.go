package join

import (
	"maps"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	"github.com/firebreak-dev/firebreak/router/directory"
)

// cursor is what one subscriber is owed: the latest of everything that changed
// since its turn, so that it is bounded by what there is.
type cursor struct {
	owed map[fleet.App]*debt
	line []fleet.App // apps in the order in which they became owed
}

// debt is what a subscriber is owed of one app.
type debt struct {
	reset, synced, status bool
	keys                  []Key
	queued                map[Key]what
}

// what is owed about a machine.
type what uint8

const (
	known   what = iota // the subscriber holds it as it is
	changed             // or gone, if it is not there
	ended               // gone, by its owner's word
)

func goneAs(byOwner bool) what {
	if byOwner {
		return ended
	}
	return changed
}

func (c *cursor) owe(app fleet.App) *debt {
	d := c.owed[app]
	if d == nil {
		d = &debt{queued: map[Key]what{}}
		c.owed[app] = d
		c.line = append(c.line, app)
	}
	return d
}

func (d *debt) key(k Key, w what) {
	if _, ok := d.queued[k]; !ok {
		d.keys = append(d.keys, k)
	}
	if w != known || d.queued[k] == known {
		d.queued[k] = w
	}
}

// owe says that a machine of an app is not what its subscribers know.
func (r *Region) owe(it *interest, k Key, w what) {
	for _, sub := range it.subs {
		r.cursors[sub].owe(it.app).key(k, w)
		r.touched[sub] = struct{}{}
	}
	for _, c := range it.catchups {
		if c.id != 0 {
			c.changed[k] = w
		}
	}
}

// Touched returns the subscribers that are owed something since the last call.
func (r *Region) Touched() []Sub {
	if len(r.touched) == 0 {
		return nil
	}
	out := slices.Sorted(maps.Keys(r.touched))
	clear(r.touched)
	return out
}

// Drain pays up to about limit events of what sub is owed, and reports whether
// more is.
func (r *Region) Drain(sub Sub, limit int, now directory.Instant) (events []Event, more bool) {
	c := r.cursors[sub]
	if c == nil {
		return nil, false
	}
	for len(c.line) > 0 && len(events) < limit {
		app := c.line[0]
		d, it := c.owed[app], r.interests[app]
		if d == nil || it == nil {
			c.line = c.line[1:]
			delete(c.owed, app)
			continue
		}
		events = r.pay(events, d, it, limit)
		if len(d.keys) > 0 {
			break // its turn goes on
		}
		r.show(it, now) // what is told is what everybody is told
		if d.status {
			events = append(events, Event{App: app, Kind: Status, Part: r.part(it, now), Pending: r.pending(it)})
		}
		if d.synced && it.shown == coverage.Live { // else it is owed again
			events = append(events, Event{App: app, Kind: Synced})
			it.close(sub)
		}
		if at := it.standsAt(); at != nil && it.holds(sub) {
			events = append(events, Event{App: app, Kind: Moved, At: at})
		}
		c.line = c.line[1:]
		delete(c.owed, app)
	}
	if len(c.line) == 0 {
		c.line = nil
	}
	return events, len(c.line) > 0
}

// pay appends an app's reset and machines.
func (r *Region) pay(events []Event, d *debt, it *interest, limit int) []Event {
	if d.reset {
		events = append(events, Event{App: it.app, Kind: Reset})
		d.reset = false
	}
	for len(d.keys) > 0 && len(events) < limit {
		k := d.keys[0]
		d.keys = d.keys[1:]
		w := d.queued[k]
		delete(d.queued, k)
		e, ok := it.machines[k]
		switch {
		case ok && w == known:
			events = append(events, Event{App: it.app, Kind: Known, Key: k, Machine: e.machine})
		case ok:
			events = append(events, Event{App: it.app, Kind: Upsert, Key: k, Machine: e.machine})
		default:
			events = append(events, Event{App: it.app, Kind: Gone, Key: k, Ended: w == ended})
		}
	}
	return events
}
