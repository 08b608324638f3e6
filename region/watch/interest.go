package watch

import (
	"context"
	"errors"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/region/roster"
	"github.com/firebreak-dev/firebreak/region/table"
)

// What is one thing to watch: an app's machines, a table, or one row of it.
type What struct {
	App   fleet.App
	Table string
	Key   record.Key // with Table: this row only
}

// Sub is one interest of one session.
type Sub struct {
	what  What
	inbox *inbox

	// Guarded by the hub's mu.
	queue *queue
	dirty bool // in inbox.dirty
}

// inbox is where a session finds which of its interests have something for it.
type inbox struct {
	wake chan struct{} // capacity 1

	dirty []*Sub // guarded by the hub's mu
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

func (i *inbox) add(s *Sub, wake wakeups) {
	if !s.dirty {
		s.dirty = true
		i.dirty = append(i.dirty, s)
	}
	wake[i.wake] = struct{}{}
}

// wakeups are the sessions to wake once no lock is held.
type wakeups map[chan struct{}]struct{}

// queueLimit bounds the changed keys that wait for one interest.
const queueLimit = 64 << 10

// interests finds whom a change concerns.
type interests struct {
	apps   map[fleet.App]map[*Sub]struct{}
	tables map[string]map[*Sub]struct{}
	keys   map[What]map[*Sub]struct{}
}

func newInterests() interests {
	return interests{
		apps:   map[fleet.App]map[*Sub]struct{}{},
		tables: map[string]map[*Sub]struct{}{},
		keys:   map[What]map[*Sub]struct{}{},
	}
}

func (i *interests) add(s *Sub) {
	switch {
	case s.what.App != "":
		put(i.apps, s.what.App, s)
	case s.what.Key != "":
		put(i.keys, s.what, s)
	default:
		put(i.tables, s.what.Table, s)
	}
}

func (i *interests) remove(s *Sub) {
	switch {
	case s.what.App != "":
		drop(i.apps, s.what.App, s)
	case s.what.Key != "":
		drop(i.keys, s.what, s)
	default:
		drop(i.tables, s.what.Table, s)
	}
}

// markRow marks a row for those who watch its table or itself, and returns how
// many queues that lost.
func (i *interests) markRow(name string, k record.Key, wake wakeups) int {
	return mark1(i.tables[name], k, wake) + mark1(i.keys[What{Table: name, Key: k}], k, wake)
}

// markApp marks a machine for those who watch an app.
func (i *interests) markApp(app fleet.App, k record.Key, wake wakeups) int {
	return mark1(i.apps[app], k, wake)
}

func mark1(subs map[*Sub]struct{}, k record.Key, wake wakeups) int {
	lost := 0
	for s := range subs {
		if s.queue.add(k) {
			lost++
		}
		s.inbox.add(s, wake)
	}
	return lost
}

// loseAll makes everybody start from a snapshot again.
func (i *interests) loseAll() wakeups {
	wake := wakeups{}
	lose := func(subs map[*Sub]struct{}) {
		for s := range subs {
			s.queue.lost = true
			s.inbox.add(s, wake)
		}
	}
	for _, subs := range i.apps {
		lose(subs)
	}
	for _, subs := range i.tables {
		lose(subs)
	}
	for _, subs := range i.keys {
		lose(subs)
	}
	return wake
}

func put[K comparable](m map[K]map[*Sub]struct{}, k K, s *Sub) {
	if m[k] == nil {
		m[k] = map[*Sub]struct{}{}
	}
	m[k][s] = struct{}{}
}

func drop[K comparable](m map[K]map[*Sub]struct{}, k K, s *Sub) {
	if delete(m[k], s); len(m[k]) == 0 {
		delete(m, k)
	}
}

// subscribe registers an interest: from now on its changes are queued.
func (h *Hub) subscribe(what What, in *inbox) *Sub {
	s := &Sub{what: what, inbox: in, queue: newQueue(queueLimit)}
	h.mu.Lock()
	h.interests.add(s)
	h.mu.Unlock()
	h.metrics.interests.Inc()
	return s
}

func (h *Hub) unsubscribe(s *Sub) {
	h.mu.Lock()
	h.interests.remove(s)
	h.mu.Unlock()
	h.metrics.interests.Dec()
}

// dirty returns the interests that have something for their session.
func (h *Hub) dirty(in *inbox) []*Sub {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := in.dirty
	in.dirty = nil
	for _, s := range out {
		s.dirty = false
	}
	return out
}

// batch is a part of what a reader has yet to be told.
type batch struct {
	keys     []record.Key
	lost     bool // start from a snapshot again
	last     bool // nothing more waits
	position store.Position
	suspects uint64
}

// next takes at most n keys of s. If the batch is the last, whoever reads
// their rows now has everything up to its position.
func (h *Hub) next(s *Sub, n int) batch {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.queue.lost {
		return batch{lost: true}
	}
	keys := s.queue.take(n)
	return batch{keys: keys, last: len(s.queue.order) == 0, position: h.position, suspects: sumWorkers(h.suspects)}
}

// fill queues keys, as the first of what the reader is told.
func (h *Hub) fill(s *Sub, keys []record.Key) {
	h.mu.Lock()
	h.refill(s, keys)
	h.mu.Unlock()
}

// snapshotApp queues every machine of an app.
func (h *Hub) snapshotApp(s *Sub) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var keys []record.Key
	for _, k := range h.roster.App(s.what.App) {
		keys = append(keys, rowKey(k))
	}
	h.refill(s, keys)
}

// refill is fill with h.mu held. The session is at work: it needs no waking.
func (h *Hub) refill(s *Sub, keys []record.Key) {
	s.queue.fill(keys, queueLimit)
	s.inbox.add(s, wakeups{})
}

var errMembers = errors.New("machines of the app came and went since that position: a snapshot is needed to say which")

// resume queues what changed for s since p, and returns the machines that the
// client held then. An error says why it needs a snapshot instead.
func (h *Hub) resume(ctx context.Context, s *Sub, p Position) (held []record.Key, err error) {
	if err := h.reach(ctx, p.Feed); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	marks, ok := h.history.since(p.Feed.Sequence)
	if !ok {
		return nil, errOld
	}
	var keys []record.Key
	if s.what.App != "" {
		if keys, held, err = h.changedOf(s.what.App, marks, p); err != nil {
			return nil, err
		}
	} else {
		for _, m := range marks {
			if m.table == s.what.Table && (s.what.Key == "" || s.what.Key == m.key) {
				keys = append(keys, m.key)
			}
		}
	}
	h.refill(s, keys)
	return held, nil
}

// changedOf returns the machines of an app that marks may have changed, and
// those that a client at p held.
func (h *Hub) changedOf(app fleet.App, marks []mark, p Position) (keys, held []record.Key, err error) {
	now := h.held(app)
	held = slices.Clone(now)
	have := make(map[record.Key]bool, len(now))
	for _, k := range now {
		have[k] = true
	}
	doubt := false
	note := func(ks ...roster.Key) {
		for _, k := range ks {
			if a, ok := h.roster.AppOf(k); ok && a == app {
				keys = append(keys, rowKey(k))
			}
		}
	}
	for _, m := range marks {
		switch m.table {
		case table.Machines:
			k, err := machineKey(m.key)
			if err != nil {
				continue
			}
			note(h.roster.Siblings(k.ID)...)
			switch {
			case m.known && m.before == app:
				keys, held = append(keys, m.key), append(held, m.key)
			case !m.known && !have[m.key]:
				doubt = true
			}
		case table.Health:
			if k, err := machineKey(m.key); err == nil {
				note(k)
			}
		case table.Reclaims, table.Workers:
			cols, err := m.key.Columns()
			if err != nil {
				continue
			}
			if m.table == table.Reclaims {
				note(h.roster.Siblings(fleet.MachineID(cols[0].Data))...)
			} else {
				note(h.roster.Worker(fleet.Worker(cols[0].Data))...)
			}
		}
	}
	if doubt && sumKeys(now) != p.Held {
		return nil, nil, errMembers
	}
	if sumWorkers(h.suspects) != p.Suspects {
		keys = append(keys, now...)
	}
	return keys, held, nil
}

// held are the machines that a client which has everything holds of an app:
// its claims.
func (h *Hub) held(app fleet.App) []record.Key {
	var out []record.Key
	for _, k := range h.roster.App(app) {
		if h.roster.IsClaim(k) {
			out = append(out, rowKey(k))
		}
	}
	return out
}

// sumKeys and sumWorkers are equal for equal sets, whatever their order.
func sumKeys(keys []record.Key) uint64 {
	var sum uint64
	for _, k := range keys {
		sum += hashKey(k)
	}
	return sum
}

func hashKey(k record.Key) uint64 { return xxh3.HashString(string(k)) }

func sumWorkers(ws map[fleet.Worker]bool) uint64 {
	var sum uint64
	for w, yes := range ws {
		if yes {
			sum += xxh3.HashString(string(w))
		}
	}
	return sum
}
