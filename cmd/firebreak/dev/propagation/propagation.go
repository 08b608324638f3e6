// Package propagation measures how long a write takes from its commit until
// it is visible: on each node of its region, on every global node, at a
// router's watch, and in a catalog.
//
// A write carries a number in its machine's metadata; whoever sees a machine
// with that number, or a later one of the same machine, has seen the write. Its
// commit is taken as the earlier of two moments that both lie after it: the
// acknowledgement, and the first sight by anybody. At global only the first
// machine of an app in a region changes anything, and not if the app has just
// left it and is still listed, so only those are measured there.
//
// What is measured is a sample: while many writes wait to be seen, further
// ones are not taken. A write that nobody could see, for it was withdrawn or
// its app had left the region again, is dropped; one that was not seen in time
// is counted as unseen.
package propagation

import (
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Tier is where a write is seen.
type Tier string

// The tiers.
const (
	Region  Tier = "region"
	Global  Tier = "global"
	Router  Tier = "router"
	Catalog Tier = "catalog"
)

// Tiers lists them, in the order of the way.
var Tiers = [...]Tier{Region, Global, Router, Catalog}

// Bounds.
const (
	maxWaiting = 256              // writes waited for at one time
	maxWait    = 20 * time.Second // after this a write is unseen
)

// Observer is one place where writes are seen.
type Observer struct {
	Tier   Tier
	Region fleet.Region // of the observers of a region
	Node   fleet.Worker
}

// Write is one publish that is about to be made.
type Write struct {
	Number  uint64 // from 1, rising
	Machine truth.Machine
	New     bool // the machine was not there before
	First   bool // the first machine of its app in its region
}

type pending struct {
	Write
	acked time.Time
	begun time.Time
	until map[Observer]bool      // not seen yet
	seen  map[Observer]time.Time // seen
}

// Tracker joins writes with their sights. Safe for concurrent use.
type Tracker struct {
	observers []Observer

	mu      sync.Mutex
	paused  bool
	listed  map[listing]bool          // what the global nodes show
	waiting map[machineKey][]*pending // of one machine, by number
	count   int
	hist    map[Tier]*histogram
	unseen  map[Tier]int
}

type listing struct {
	Observer
	at  fleet.Region
	app fleet.App
}

type machineKey struct {
	truth.Place
	id fleet.MachineID
}

// New makes a tracker for these observers. It measures nothing until Resume.
func New(observers []Observer) *Tracker {
	t := &Tracker{
		observers: observers,
		paused:    true,
		listed:    map[listing]bool{},
		waiting:   map[machineKey][]*pending{},
		hist:      map[Tier]*histogram{},
		unseen:    map[Tier]int{},
	}
	for i, tier := range Tiers {
		t.hist[tier] = newHistogram(uint64(i))
	}
	return t
}

// Resume starts to take samples: when every watch stands and the first load is
// over.
func (t *Tracker) Resume() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.paused = false
}

// Begin says that a write is about to be made. Call it before the write, so
// that no sight comes before it.
func (t *Tracker) Begin(w Write, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.paused {
		return
	}
	if t.count >= maxWaiting {
		t.expire(now)
	}
	if t.count >= maxWaiting {
		return
	}
	p := &pending{Write: w, begun: now, until: map[Observer]bool{}, seen: map[Observer]time.Time{}}
	for _, o := range t.observers {
		if t.expects(o, w) {
			p.until[o] = true
		}
	}
	k := machineKey{w.Machine.Place, w.Machine.ID}
	t.waiting[k] = append(t.waiting[k], p)
	t.count++
}

// expects reports whether o will see w at all.
func (t *Tracker) expects(o Observer, w Write) bool {
	switch o.Tier {
	case Region:
		return o.Region == w.Machine.Region
	case Global:
		return w.First && !t.listed[listing{o, w.Machine.Region, w.Machine.App}]
	case Catalog:
		return w.New // a catalog shows machines, not what their metadata say
	}
	return true
}

// Acked says that a write was acknowledged.
func (t *Tracker) Acked(w Write, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := machineKey{w.Machine.Place, w.Machine.ID}
	for _, p := range t.waiting[k] {
		if p.Number == w.Number {
			p.acked = now
			t.settle(k, p)
			return
		}
	}
}

// Ended drops the writes of a machine that is being withdrawn. If last, its
// app leaves the region, and no global node need see that it was there.
func (t *Tracker) Ended(at truth.Place, id fleet.MachineID, app fleet.App, last bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.waiting[machineKey{at, id}] {
		t.drop(p)
	}
	delete(t.waiting, machineKey{at, id})
	if !last {
		return
	}
	for k, list := range t.waiting {
		if k.Region != at.Region {
			continue
		}
		for _, p := range list {
			if p.Machine.App == app {
				forget(p, Global)
			}
		}
	}
}

func forget(p *pending, tier Tier) {
	for o := range p.until {
		if o.Tier == tier {
			delete(p.until, o)
		}
	}
}

// Seen says that an observer shows write number (or a later one) of a machine.
func (t *Tracker) Seen(o Observer, at truth.Place, id fleet.MachineID, number uint64, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := machineKey{at, id}
	for _, p := range append([]*pending(nil), t.waiting[k]...) {
		if p.Number <= number {
			t.see(k, p, o, now)
		}
	}
}

// Listed says that a global node lists an app in a region from now on, or that
// it does no longer.
func (t *Tracker) Listed(o Observer, region fleet.Region, app fleet.App, is bool, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !is {
		delete(t.listed, listing{o, region, app})
		return
	}
	t.listed[listing{o, region, app}] = true
	for _, p := range t.matching(func(p *pending) bool {
		return p.Machine.Region == region && p.Machine.App == app
	}) {
		t.see(machineKey{p.Machine.Place, p.Machine.ID}, p, o, now)
	}
}

// Awaited returns the machines that an observer has still to see.
func (t *Tracker) Awaited(o Observer) []Write {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Write
	for _, p := range t.matching(func(p *pending) bool { return p.until[o] }) {
		out = append(out, p.Write)
	}
	return out
}

func (t *Tracker) matching(ok func(*pending) bool) []*pending {
	var out []*pending
	for _, list := range t.waiting {
		for _, p := range list {
			if ok(p) {
				out = append(out, p)
			}
		}
	}
	return out
}

func (t *Tracker) see(k machineKey, p *pending, o Observer, now time.Time) {
	if p.until[o] {
		delete(p.until, o)
		p.seen[o] = now
		t.settle(k, p)
	}
}

// settle records a write that everybody has seen.
func (t *Tracker) settle(k machineKey, p *pending) {
	if len(p.until) > 0 || p.acked.IsZero() {
		return
	}
	t.record(p)
	t.remove(k, p)
}

func (t *Tracker) record(p *pending) {
	commit := p.acked
	for _, at := range p.seen {
		if at.Before(commit) {
			commit = at
		}
	}
	for o, at := range p.seen {
		t.hist[o.Tier].add(at.Sub(commit))
	}
}

func (t *Tracker) remove(k machineKey, p *pending) {
	list := t.waiting[k]
	for i := range list {
		if list[i] == p {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(t.waiting, k)
	} else {
		t.waiting[k] = list
	}
	t.drop(p)
}

// drop counts p out; what was seen of it is not recorded.
func (t *Tracker) drop(*pending) { t.count-- }
