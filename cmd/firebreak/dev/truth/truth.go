// Package truth is what should be live: the sum of what every worker's daemon
// has said it runs. The self-check holds each tier against it.
package truth

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Place is a worker of a region.
type Place struct {
	Region fleet.Region
	Worker fleet.Worker
}

// String gives region/worker.
func (p Place) String() string { return string(p.Region) + "/" + string(p.Worker) }

// Compare orders places by region and then worker: the order of placement.
func (p Place) Compare(o Place) int {
	return cmp.Or(cmp.Compare(p.Region, o.Region), cmp.Compare(p.Worker, o.Worker))
}

// Machine is one live machine.
type Machine struct {
	Place
	ID      fleet.MachineID
	App     fleet.App
	Failing bool // its checks fail: it runs, and no edge may choose it
}

// String gives region/worker/id (app).
func (m Machine) String() string { return fmt.Sprintf("%v/%s (%s)", m.Place, m.ID, m.App) }

// Compare orders machines by place and then id.
func (m Machine) Compare(o Machine) int {
	return cmp.Or(m.Place.Compare(o.Place), cmp.Compare(m.ID, o.ID))
}

type key struct {
	Place
	id fleet.MachineID
}

type edge struct {
	app    fleet.App
	region fleet.Region
}

// Model keeps the truth. Safe for concurrent use.
type Model struct {
	mu      sync.Mutex
	live    map[key]fleet.App
	failing map[key]bool // of those that are live
	ended   map[key]bool // was live once: if it shows, it came back
	edges   map[edge]int
}

// New returns a model without machines.
func New() *Model {
	return &Model{live: map[key]fleet.App{}, failing: map[key]bool{}, ended: map[key]bool{}, edges: map[edge]int{}}
}

// Put says that a machine runs. It reports whether it is new, and whether its
// app had no machine in its region before.
func (m *Model) Put(at Machine) (isNew, first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, e := key{at.Place, at.ID}, edge{at.App, at.Region}
	app, there := m.live[k]
	first = m.edges[e] == 0
	if there {
		m.drop(edge{app, at.Region})
	}
	m.live[k] = at.App
	delete(m.ended, k)
	m.edges[e]++
	return !there, first
}

// End says that a machine is over. It returns its app, empty if there is no
// such machine, and whether that has no machine left in the region.
func (m *Model) End(p Place, id fleet.MachineID) (app fleet.App, last bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := key{p, id}
	app, ok := m.live[k]
	if !ok {
		return "", false
	}
	delete(m.live, k)
	delete(m.failing, k)
	m.ended[k] = true
	return app, m.drop(edge{app, p.Region})
}

// SetFailing says whether a machine's checks fail. It reports whether there is
// such a machine.
func (m *Model) SetFailing(p Place, id fleet.MachineID, failing bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := key{p, id}
	if _, live := m.live[k]; !live {
		return false
	}
	if delete(m.failing, k); failing {
		m.failing[k] = true
	}
	return true
}

func (m *Model) drop(e edge) (last bool) {
	m.edges[e]--
	if m.edges[e] > 0 {
		return false
	}
	delete(m.edges, e)
	return true
}

// Adopt takes machines that somebody else has published through their own
// node, a person trying things out. One that the model knows, live or ended,
// stays as the model has it. It returns the ids it took.
func (m *Model) Adopt(machines []Machine) []Machine {
	var took []Machine
	for _, at := range machines {
		m.mu.Lock()
		k := key{at.Place, at.ID}
		_, live := m.live[k]
		known := live || m.ended[k]
		m.mu.Unlock()
		if !known {
			m.Put(at)
			took = append(took, at)
		}
	}
	return took
}

// Snapshot returns the truth as it is now.
func (m *Model) Snapshot() Snapshot {
	m.mu.Lock()
	out := make(Snapshot, 0, len(m.live))
	for k, app := range m.live {
		out = append(out, Machine{Place: k.Place, ID: k.id, App: app, Failing: m.failing[k]})
	}
	m.mu.Unlock()
	slices.SortFunc(out, Machine.Compare)
	return out
}

// Snapshot is the truth at one moment, by place and id.
type Snapshot []Machine

// Apps returns how many machines each app has.
func (s Snapshot) Apps() map[fleet.App]int {
	out := map[fleet.App]int{}
	for _, m := range s {
		out[m.App]++
	}
	return out
}

// Edges returns the regions of each app, with their number of machines.
func (s Snapshot) Edges() map[fleet.App]map[fleet.Region]int {
	out := map[fleet.App]map[fleet.Region]int{}
	for _, m := range s {
		if out[m.App] == nil {
			out[m.App] = map[fleet.Region]int{}
		}
		out[m.App][m.Region]++
	}
	return out
}

// Routable returns the machines that an edge may choose.
func (s Snapshot) Routable() Snapshot {
	return slices.DeleteFunc(slices.Clone(s), func(m Machine) bool { return m.Failing })
}

// In returns the machines of one region.
func (s Snapshot) In(r fleet.Region) Snapshot {
	return slices.DeleteFunc(slices.Clone(s), func(m Machine) bool { return m.Region != r })
}

// Of returns the machines of one worker.
func (s Snapshot) Of(p Place) Snapshot {
	return slices.DeleteFunc(slices.Clone(s), func(m Machine) bool { return m.Place != p })
}

// MaxDifferences bounds how many differences Diff spells out.
const MaxDifferences = 5

// Diff says how got differs from s, nothing if it does not: which machines are
// missing, extra, or under another app, the first few by name.
func (s Snapshot) Diff(got []Machine) string {
	want := make(map[key]fleet.App, len(s))
	for _, m := range s {
		want[key{m.Place, m.ID}] = m.App
	}
	var lines []string
	for _, m := range slices.SortedFunc(slices.Values(got), Machine.Compare) {
		k := key{m.Place, m.ID}
		app, ok := want[k]
		switch {
		case !ok:
			lines = append(lines, fmt.Sprintf("extra %v", m))
		case app != m.App:
			lines = append(lines, fmt.Sprintf("%v should be of app %s", m, app))
		}
		delete(want, k) // a second one of the same key is extra
	}
	for _, k := range slices.SortedFunc(maps.Keys(want), func(a, b key) int {
		return cmp.Or(a.Place.Compare(b.Place), cmp.Compare(a.id, b.id))
	}) {
		lines = append(lines, fmt.Sprintf("missing %v", Machine{Place: k.Place, ID: k.id, App: want[k]}))
	}
	return list(lines)
}

// list joins the first few lines and says how many there are.
func list(lines []string) string {
	out := ""
	for i, l := range lines {
		if i == MaxDifferences {
			return fmt.Sprintf("%s and %d more", out, len(lines)-i)
		}
		if i > 0 {
			out += "; "
		}
		out += l
	}
	return out
}

// DiffCounts says how got differs from want, nothing if it does not. What
// names the keys.
func DiffCounts[K ~string](what string, want, got map[K]int) string {
	var lines []string
	keys := slices.Collect(maps.Keys(want))
	for k := range got {
		if _, ok := want[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if want[k] != got[k] {
			lines = append(lines, fmt.Sprintf("%s %s: %d, want %d", what, string(k), got[k], want[k]))
		}
	}
	return list(lines)
}
