// Package roster is the index of a region's machines that a node keeps in
// memory: which keys belong to an app, a worker or an id, and how many current
// claims each app has. It says where to look; what is there is read from the
// store. It is a pure value: equal rows, taken in any order, make an equal
// roster.
package roster

import (
	"cmp"
	"maps"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
)

// Key names one worker's row of one machine.
type Key struct {
	Worker fleet.Worker
	ID     fleet.MachineID
}

// Compare orders keys by id, then worker, so that the rows of one machine lie
// together.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.ID, o.ID), cmp.Compare(k.Worker, o.Worker))
}

// Roster is the index. Make one with New. Not safe for concurrent use.
type Roster struct {
	rows     map[fleet.MachineID][]claim.Row // at most one per worker
	reclaims map[fleet.MachineID]claim.Reclaim
	apps     map[fleet.App]map[Key]struct{} // ended rows included
	workers  map[fleet.Worker]map[fleet.MachineID]struct{}
	counts   map[fleet.App]int // current claims; no zeros
	claims   int
}

// New returns an empty roster.
func New() *Roster {
	return &Roster{
		rows:     map[fleet.MachineID][]claim.Row{},
		reclaims: map[fleet.MachineID]claim.Reclaim{},
		apps:     map[fleet.App]map[Key]struct{}{},
		workers:  map[fleet.Worker]map[fleet.MachineID]struct{}{},
		counts:   map[fleet.App]int{},
	}
}

// Touch is what one change may have changed for readers.
type Touch struct {
	Keys   []Key       // every row of the machine, the one that went included
	Apps   []fleet.App // the apps of those rows, before and after
	Ended  []fleet.App // apps of claims that are no claims any more
	Counts bool        // some app's count changed
}

// Set takes a row of fleet_machines.
func (r *Roster) Set(row claim.Row) Touch {
	return r.change(row.ID, func() {
		r.remove(Key{row.Place.Worker, row.ID})
		r.rows[row.ID] = append(r.rows[row.ID], row)
		add(r.apps, row.App, Key{row.Place.Worker, row.ID})
		add(r.workers, row.Place.Worker, row.ID)
		if row.Claim() {
			r.claims++
		}
	})
}

// Drop takes note that a row is gone.
func (r *Roster) Drop(k Key) Touch {
	t := r.change(k.ID, func() { r.remove(k) })
	if !slices.Contains(t.Keys, k) {
		t.Keys = append(t.Keys, k)
	}
	return t
}

// Reclaim takes a row of fleet_reclaims.
func (r *Roster) Reclaim(c claim.Reclaim) Touch {
	return r.change(c.ID, func() { r.reclaims[c.ID] = c })
}

// DropReclaim takes note that a reclaim is gone.
func (r *Roster) DropReclaim(id fleet.MachineID) Touch {
	return r.change(id, func() { delete(r.reclaims, id) })
}

func (r *Roster) change(id fleet.MachineID, do func()) Touch {
	before := slices.Clone(r.rows[id])
	shown := r.shown(id)
	r.count(shown, -1)
	do()
	now := r.shown(id)
	r.count(now, +1)
	t := Touch{Counts: !maps.Equal(shown, now)}
	for _, row := range before {
		if row.Claim() && !r.stillClaims(row) {
			t.Ended = append(t.Ended, row.App)
		}
	}
	for _, row := range slices.Concat(before, r.rows[id]) {
		t.Keys = append(t.Keys, Key{row.Place.Worker, id})
		t.Apps = append(t.Apps, row.App)
	}
	t.Keys, t.Apps = distinct(t.Keys), distinct(t.Apps)
	return t
}

// stillClaims reports whether the worker of row still claims its machine for the
// same app.
func (r *Roster) stillClaims(row claim.Row) bool {
	return slices.ContainsFunc(r.rows[row.ID], func(o claim.Row) bool {
		return o.Place == row.Place && o.App == row.App && o.Claim()
	})
}

func (r *Roster) remove(k Key) {
	i := slices.IndexFunc(r.rows[k.ID], func(o claim.Row) bool { return o.Place.Worker == k.Worker })
	if i < 0 {
		return
	}
	old := r.rows[k.ID][i]
	if r.rows[k.ID] = slices.Delete(r.rows[k.ID], i, i+1); len(r.rows[k.ID]) == 0 {
		delete(r.rows, k.ID)
	}
	if old.Claim() {
		r.claims--
	}
	del(r.apps, old.App, k)
	del(r.workers, k.Worker, k.ID)
}

// shown counts the current claims of a machine, by app.
func (r *Roster) shown(id fleet.MachineID) map[fleet.App]int {
	rows := r.rows[id]
	if len(rows) == 0 {
		return nil
	}
	out := map[fleet.App]int{}
	for _, v := range claim.Judge(rows, r.reclaimsOf(id)) {
		if v.Current {
			out[v.Row.App]++
		}
	}
	return out
}

func (r *Roster) count(shown map[fleet.App]int, sign int) {
	for app, n := range shown {
		if r.counts[app] += sign * n; r.counts[app] == 0 {
			delete(r.counts, app)
		}
	}
}

func (r *Roster) reclaimsOf(id fleet.MachineID) []claim.Reclaim {
	if c, ok := r.reclaims[id]; ok {
		return []claim.Reclaim{c}
	}
	return nil
}

// Machine returns the rows and reclaims of one id.
func (r *Roster) Machine(id fleet.MachineID) ([]claim.Row, []claim.Reclaim) {
	return slices.Clone(r.rows[id]), r.reclaimsOf(id)
}

// Siblings returns the keys of every row of one id, in order.
func (r *Roster) Siblings(id fleet.MachineID) []Key {
	out := make([]Key, 0, len(r.rows[id]))
	for _, row := range r.rows[id] {
		out = append(out, Key{row.Place.Worker, id})
	}
	slices.SortFunc(out, Key.Compare)
	return out
}

// App returns the keys of an app's rows, ended ones included, in order.
func (r *Roster) App(app fleet.App) []Key {
	return slices.SortedFunc(maps.Keys(r.apps[app]), Key.Compare)
}

// AppOf returns the app of a row.
func (r *Roster) AppOf(k Key) (fleet.App, bool) {
	for _, row := range r.rows[k.ID] {
		if row.Place.Worker == k.Worker {
			return row.App, true
		}
	}
	return "", false
}

// IsClaim reports whether a row is there and is a claim.
func (r *Roster) IsClaim(k Key) bool {
	for _, row := range r.rows[k.ID] {
		if row.Place.Worker == k.Worker {
			return row.Claim()
		}
	}
	return false
}

// Worker returns the keys of a worker's rows, ended ones included, in order.
func (r *Roster) Worker(w fleet.Worker) []Key {
	out := make([]Key, 0, len(r.workers[w]))
	for id := range r.workers[w] {
		out = append(out, Key{w, id})
	}
	slices.SortFunc(out, Key.Compare)
	return out
}

// Workers returns the workers that have rows, in order.
func (r *Roster) Workers() []fleet.Worker { return slices.Sorted(maps.Keys(r.workers)) }

// All returns every key, in order.
func (r *Roster) All() []Key {
	var out []Key
	for id, rows := range r.rows {
		for _, row := range rows {
			out = append(out, Key{row.Place.Worker, id})
		}
	}
	slices.SortFunc(out, Key.Compare)
	return out
}

// Counts returns a copy of the number of current claims of each app that has
// any.
func (r *Roster) Counts() map[fleet.App]int { return maps.Clone(r.counts) }

// Claims returns how many rows are claims.
func (r *Roster) Claims() int { return r.claims }

func add[K, V comparable](m map[K]map[V]struct{}, k K, v V) {
	if m[k] == nil {
		m[k] = map[V]struct{}{}
	}
	m[k][v] = struct{}{}
}

func del[K, V comparable](m map[K]map[V]struct{}, k K, v V) {
	if delete(m[k], v); len(m[k]) == 0 {
		delete(m, k)
	}
}

func distinct[T comparable](in []T) []T {
	var out []T
	for _, v := range in {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}
