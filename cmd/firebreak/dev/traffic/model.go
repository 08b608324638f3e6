package traffic

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/daemon"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// The shape of an invented fleet.
const (
	perWorker = 25  // machines that a worker tends to run, all workers together
	maxApps   = 100 // some of them jobs
)

// steady are apps with many machines that are always there.
var steady = [...]fleet.App{"web", "api", "worker", "cache", "search", "mail", "queue", "db"}

// Apps lists every app that a Model ever uses.
func Apps() []fleet.App {
	out := append([]fleet.App(nil), steady[:]...)
	for i := range maxApps - len(steady) {
		out = append(out, job(i))
	}
	return out
}

// job apps have a machine or two for a while, so that they come to regions and
// leave them.
func job(i int) fleet.App { return fleet.App(fmt.Sprintf("job-%d", i)) }

// Model invents what a fleet does: it deploys apps, in place or blue/green,
// scales them, runs jobs, and has machines that crash or whose checks flap.
// Each of these is a story, a few changes some time apart; stories overlap,
// and a machine is in one at a time. Same seed, same changes. Not safe for
// concurrent use.
type Model struct {
	rnd    *rand.Rand
	prefix string
	step   int // changes made: the model's clock
	made   int // machines ever
	plan   plan
	order  int // of the next thing planned

	machines []*machine
	loads    []int // machines of each worker
}

type machine struct {
	id     fleet.MachineID
	app    fleet.App
	worker int
	busy   bool // in a story
}

// NewModel makes a model for n workers. The ids of its machines begin with
// prefix, so that two runs over one directory do not share any.
func NewModel(seed uint64, n int, prefix string) *Model {
	return &Model{rnd: rand.New(rand.NewPCG(seed, 0x74726166666963)), prefix: prefix, loads: make([]int, n)}
}

// Next returns the next change and its worker.
func (m *Model) Next() (worker int, c daemon.Change) {
	for len(m.plan) == 0 || m.plan[0].step > m.step {
		m.begin()
	}
	next := heap.Pop(&m.plan).(planned)
	m.step++
	return next.act()
}

// planned is one change to come.
type planned struct {
	step  int // not before
	order int // among those of one step
	act   func() (worker int, c daemon.Change)
}

// plan is a heap of what is to come, the first on top.
type plan []planned

func (p plan) Len() int { return len(p) }
func (p plan) Less(i, j int) bool {
	if p[i].step != p[j].step {
		return p[i].step < p[j].step
	}
	return p[i].order < p[j].order
}
func (p plan) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *plan) Push(x any)   { *p = append(*p, x.(planned)) }
func (p *plan) Pop() any {
	old := *p
	last := old[len(old)-1]
	*p = old[:len(old)-1]
	return last
}

// in plans a change for after so many others.
func (m *Model) in(steps int, act func() (int, daemon.Change)) {
	m.order++
	heap.Push(&m.plan, planned{m.step + steps, m.order, act})
}

// start makes a machine, on the less loaded of two workers, and returns its
// publish. It is in the story that starts it.
func (m *Model) start(app fleet.App) (*machine, daemon.Change) {
	a, b := m.rnd.IntN(len(m.loads)), m.rnd.IntN(len(m.loads))
	if m.loads[b] < m.loads[a] {
		a = b
	}
	m.made++
	x := &machine{id: fleet.MachineID(fmt.Sprintf("%s-%d", m.prefix, m.made)), app: app, worker: a, busy: true}
	m.machines = append(m.machines, x)
	m.loads[a]++
	return x, x.publish()
}

// end takes a machine out and returns its end.
func (m *Model) end(x *machine) daemon.Change {
	m.machines = slices.DeleteFunc(m.machines, func(y *machine) bool { return x == y })
	m.loads[x.worker]--
	return daemon.Change{ID: x.id, Gone: true, Destroyed: m.rnd.IntN(4) == 0}
}

func (x *machine) publish() daemon.Change { return daemon.Change{ID: x.id, App: x.app} }

// free returns machines that no story has, of one app or, if that is empty, of
// all, in a random order.
func (m *Model) free(app fleet.App) []*machine {
	var out []*machine
	for _, x := range m.machines {
		if !x.busy && (app == "" || x.app == app) {
			out = append(out, x)
		}
	}
	m.rnd.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// steadyApp picks an app; the first ones are large.
func (m *Model) steadyApp() fleet.App {
	return steady[min(m.rnd.IntN(len(steady)), m.rnd.IntN(len(steady)))]
}
