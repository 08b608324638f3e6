package watch

import (
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/region/roster"
	"github.com/firebreak-dev/firebreak/region/table"
)

// change takes one change of the feed, marks it for whoever is interested, and
// reports whether a count changed. Called with h.mu held.
func (h *Hub) change(seq uint64, c store.Change, now time.Time, wake wakeups) bool {
	if c.OldKnown && c.Old != nil && c.New != nil && slices.EqualFunc(c.Old, c.New, record.Value.Equal) {
		return false // stamped again: nothing for readers
	}
	m := mark{seq: seq, table: c.Table, key: c.Key}
	h.metrics.lost.Add(float64(h.interests.markRow(c.Table, c.Key, wake)))
	counted := false
	switch c.Table {
	case table.Machines:
		counted = h.changeMachine(&m, c, now, wake)
	case table.Health:
		if k, err := machineKey(c.Key); err == nil {
			h.touchMachine(k, wake)
		}
	case table.Reclaims:
		counted = h.changeReclaim(c, wake)
	case table.Workers:
		h.changeWorker(c, wake)
	}
	h.history.add(m)
	return counted
}

func (h *Hub) changeMachine(m *mark, c store.Change, now time.Time, wake wakeups) bool {
	k, err := machineKey(c.Key)
	if err != nil {
		return false
	}
	m.before, _ = h.roster.AppOf(k)
	m.known = true // the roster had every row before
	var t roster.Touch
	if c.New == nil {
		t = h.roster.Drop(k)
	} else if row, err := table.MachineOf(c.New); err == nil {
		t = h.roster.Set(row.Claim(h.cfg.Region))
	}
	h.ends.add(t.Ended, now)
	h.touch(t, wake)
	return t.Counts
}

func (h *Hub) changeReclaim(c store.Change, wake wakeups) bool {
	var t roster.Touch
	if c.New == nil {
		cols, err := c.Key.Columns()
		if err != nil || len(cols) != 1 {
			return false
		}
		t = h.roster.DropReclaim(fleet.MachineID(cols[0].Data))
	} else if r, err := table.ReclaimOf(h.cfg.Region, c.New); err == nil {
		t = h.roster.Reclaim(r)
	}
	h.touch(t, wake)
	return t.Counts
}

func (h *Hub) changeWorker(c store.Change, wake wakeups) {
	cols, err := c.Key.Columns()
	if err != nil || len(cols) != 1 {
		return
	}
	name := fleet.Worker(cols[0].Data)
	was := h.workers[name]
	delete(h.workers, name)
	if c.New != nil {
		if w, err := table.WorkerOf(c.New); err == nil {
			h.workers[name] = w
		}
	}
	if was.Draining() != h.workers[name].Draining() {
		h.touchWorker(name, wake)
	}
}

func (h *Hub) touch(t roster.Touch, wake wakeups) {
	for _, app := range t.Apps {
		for _, k := range t.Keys {
			h.metrics.lost.Add(float64(h.interests.markApp(app, rowKey(k), wake)))
		}
	}
}

func (h *Hub) touchMachine(k roster.Key, wake wakeups) {
	if app, ok := h.roster.AppOf(k); ok {
		h.metrics.lost.Add(float64(h.interests.markApp(app, rowKey(k), wake)))
	}
}

func (h *Hub) touchWorker(w fleet.Worker, wake wakeups) {
	for _, k := range h.roster.Worker(w) {
		h.touchMachine(k, wake)
	}
}

// machineKey reads the key of fleet_machines or fleet_health.
func machineKey(k record.Key) (roster.Key, error) {
	cols, err := k.Columns()
	if err != nil || len(cols) != 2 {
		return roster.Key{}, errKey
	}
	return roster.Key{Worker: fleet.Worker(cols[0].Data), ID: fleet.MachineID(cols[1].Data)}, nil
}

// rowKey is the other way.
func rowKey(k roster.Key) record.Key {
	out, err := record.EncodeKey(record.Of(string(k.Worker)), record.Of(string(k.ID)))
	if err != nil {
		panic(err) // text is always a key
	}
	return out
}

// ends remembers when claims were last seen to end.
type ends struct {
	apps   map[fleet.App]time.Time
	newest time.Time
}

// maxEnds bounds the apps whose newest end is remembered: beyond it all are
// taken to be as new as the newest, which only makes readers ask once more.
const maxEnds = 100_000

func (e *ends) add(apps []fleet.App, now time.Time) {
	if len(apps) == 0 {
		return
	}
	e.newest = now
	if e.apps == nil {
		e.apps = map[fleet.App]time.Time{}
	}
	for _, app := range apps {
		if len(e.apps) < maxEnds {
			e.apps[app] = now
		} else if _, ok := e.apps[app]; ok {
			e.apps[app] = now
		}
	}
}

func (e *ends) of(app fleet.App) (time.Time, bool) {
	if at, ok := e.apps[app]; ok || len(e.apps) < maxEnds {
		return at, ok
	}
	return e.newest, true
}
