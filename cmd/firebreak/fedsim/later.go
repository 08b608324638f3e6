package fedsim

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	core "github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/sim"
)

// later is when the second part of a script begins: all clocks have gone on so
// far by then, which is beyond the age at which shared tombstones are
// collected. Everybody had received everything before, so nothing of the first
// part is late, but what an image alone has kept.
const later = 8 * 24 * time.Hour

// goesOn reports whether a run has a second part.
func (o Options) goesOn() bool { return o.Later && o.Seed%4 == 0 }

// addLater writes the second part of a script, and what it needs in the first:
// shared rows that are deleted, and images of disks that have them still. It
// draws from a stream of its own, so the first part is what it is without.
func (a *author) addLater() {
	for range a.opts.Actions / 2 {
		at := a.soon(a.opts.Spread)
		cluster := a.cluster()
		a.next++
		id := fmt.Sprint("row", a.rand.IntN(5))
		switch a.rand.IntN(6) {
		case 0:
			a.add(at, doImage, a.pick(cluster), "", 0)
		case 1, 2, 3:
			a.add(at, putShared, a.pick(cluster), id, a.next)
		default:
			a.add(at, delShared, a.pick(cluster), id, 0)
		}
	}
	a.faults = []fault{a.restart, a.restore, a.split, a.past, a.past, a.past}
	for range a.opts.Actions / 2 {
		at := later + a.soon(a.opts.Spread/2)
		if cluster := a.cluster(); a.rand.IntN(4) == 0 {
			a.faults[a.rand.IntN(len(a.faults))](at, cluster)
		} else {
			a.work(at, cluster)
		}
	}
	slices.SortStableFunc(a.script, func(x, y sim.Action) int { return cmp.Compare(x.At, y.At) })
}

// past has a disk come back as it was days ago, if there is an image.
func (a *author) past(at time.Duration, cluster []string) {
	who := a.pick(cluster)
	a.add(at, a.pick([]string{doStop, doCrash}), who, "", 0)
	a.add(at+a.soon(2*time.Second), doPutBack, who, who, 0)
}

// goOn lets days pass, in which every disk has synced what it has, and performs
// the second part.
func (f *federation) goOn() error {
	f.keep()
	_ = f.each(func(r *replica) error {
		r.steady = true
		return nil
	})
	for _, m := range f.order {
		m.common, m.before = m.kept, len(m.order)
	}
	f.passDays()
	f.healed = false
	return f.playPart(later, f.world.Now(), f.opts.Spread/2)
}

// passDays has all clocks go on, and what is on disks synced.
func (f *federation) passDays() {
	_ = f.each(func(r *replica) error {
		if r.proc.up() {
			r.store.Sync()
		}
		return nil
	})
	f.passed += later
}

// change gives r, which is down, another disk.
func (r *replica) change(d disk, mine []record.Point, image bool) {
	r.disk, r.mine, r.putBack, r.back, r.steady = d, mine, image, image, false
	m := r.realm
	m.adrift = m.adrift || m.common != nil && !slices.ContainsFunc(r.fed().of(m), func(o *replica) bool { return o.steady })
}

// unsure reports whether it is not promised which way a row goes: it is a
// stray, or no disk is left that was there when days passed, so what all had
// received then may be lost.
func (m *realm) unsure(at place) bool { return m.stray[at] || m.adrift }

// strays notes the shared rows that an image brings from the days before, and
// that nobody else has received: what deleted them may be collected by now. They
// may come back, equally everywhere.
func (m *realm) strays(states []core.State) {
	if m.common == nil {
		return
	}
	for _, p := range m.order[:m.before] {
		i := slices.IndexFunc(states, func(s core.State) bool { return s.Writer == p.Writer })
		if i < 0 || m.common[p] || !states[i].Received.Has(p.Version) {
			continue
		}
		for _, rec := range m.commits[p].Records {
			if rec.Kind == record.Shared {
				m.stray[place{rec.Table, rec.Key}] = true
			}
		}
	}
}
