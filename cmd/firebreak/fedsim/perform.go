package fedsim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/sim"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// image is a copy of the disks of a process.
type image struct {
	disks []disk
	mine  [][]record.Point
	met   []record.Node
}

// perform does one action of a script, or nothing if it cannot be done now.
func (f *federation) perform(a sim.Action) {
	if f.healed {
		return
	}
	p := f.procs[a.Who]
	f.world.Note("do", a.Kind+" "+a.Who+" "+a.With, []byte(strconv.Itoa(a.N)))
	switch {
	case a.Kind == doWeather:
		f.net.SetWeather(storms[a.N])
	case a.Kind == doDays:
		f.passDays()
		for _, m := range f.order {
			m.adrift = true
		}
	case p == nil, f.opts.SQLite && (a.Kind == doClock || a.Kind == putForged || a.Kind == doForeign):
		return
	case a.Kind == doCut:
		f.net.Cut(a.Who, a.With)
	case a.Kind == doJoin:
		f.net.Join(a.Who, a.With)
	case a.Kind == doClock:
		p.skew = time.Duration(a.N) * time.Millisecond
	case a.Kind == doImage:
		f.images[a.Who] = p.image()
	case p.up():
		p.whileUp(a)
	default:
		p.whileDown(a)
	}
	f.faults[a.Kind]++
}

func (p *process) whileUp(a sim.Action) {
	switch a.Kind {
	case doStop:
		p.stop()
	case doCrash:
		p.crash()
	case doFull, doRoom:
		for _, r := range p.lanes {
			r.full = a.Kind == doFull
		}
	default:
		p.lanes[laneOf(a, len(p.lanes))].write(a)
	}
}

// laneOf returns which of a process's lanes an action writes to: that follows
// from the action too.
func laneOf(a sim.Action, lanes int) int { return int(a.At) % lanes }

// isWork reports whether an action writes something.
func isWork(kind string) bool {
	switch kind {
	case putOwned, delOwned, putShared, delShared, putRanked, putLate, putMany, putBurst, putSame, putPoison, putForged, putEvict:
		return true
	}
	return false
}

func (p *process) whileDown(a sim.Action) {
	im, ok := p.fed.images[a.With]
	switch a.Kind {
	case doStart, doOlder:
		for _, r := range p.lanes {
			r.few = a.Kind == doOlder
		}
	case doWipe:
		p.wipe()
		p.fed.hit(HitWiped)
	case doPutBack, doForeign:
		if !ok {
			return
		}
		for i, r := range p.lanes {
			r.change(im.disks[i].copy(), im.mine[i], true)
		}
		p.met = slices.DeleteFunc(slices.Clone(im.met), func(n record.Node) bool { return n == p.name })
		if a.Kind == doForeign {
			p.fed.hit(HitForeign)
		}
	default:
		return
	}
	p.start()
}

// wipe empties the disks of p, which is down. It then knows of those whom it
// meets, and of whom they tell. Two such nodes that meet nobody else would close
// each other's starts without the rest, which is a known limit: so one at a time.
func (p *process) wipe() {
	if !slices.ContainsFunc(p.peers(), func(o *process) bool { return len(o.met) < len(o.peers()) }) {
		p.met = nil
	}
	for _, r := range p.lanes {
		r.change(p.fed.newDisk(), nil, false)
	}
}

func (p *process) image() image {
	im := image{met: slices.Clone(p.met)}
	for _, r := range p.lanes {
		im.disks = append(im.disks, r.disk.copy())
		im.mine = append(im.mine, r.mine[:len(r.mine):len(r.mine)])
	}
	return im
}

// write does the work of an action, as one transaction or as many.
func (r *replica) write(a sim.Action) {
	name := string(r.proc.name)
	val := record.Of(a.N)
	switch a.Kind {
	case putOwned:
		r.put(owned, record.Of(name), record.Of(a.With), val)
	case delOwned:
		r.delete(owned, record.Of(name), record.Of(a.With))
	case putShared:
		r.put(shared, record.Of(a.With), val)
	case delShared:
		r.delete(shared, record.Of(a.With))
	case putRanked:
		r.put(ranked, record.Of(a.With), record.Of(a.N&0xff), record.Of(a.N>>8))
	case putLate:
		if !r.few {
			r.put(late, record.Of(a.With), val)
		}
	case putMany:
		r.update(func(tx store.Tx) error { return r.many(tx, a.N&0xff, a.N) })
	case putBurst:
		for i := range a.N & 0xff {
			r.put(owned, record.Of(name), record.Of(fmt.Sprint("b", i%20)), record.Of(a.N<<8|i))
		}
	case putSame:
		r.same(a.With)
	case putPoison:
		r.put(owned, record.Of(name), record.Of(a.With), record.Of(poison+a.N))
	case putForged:
		r.forges = true
		r.put(owned, record.Of(a.With), record.Of("forged"), val)
		r.forges = false
	case putEvict:
		r.evict(a.With)
	}
}

func (r *replica) many(tx store.Tx, n, val int) error {
	for i := range n {
		if err := tx.Put(owned, store.Row{record.Of(string(r.proc.name)), record.Of(fmt.Sprint("m", i)), record.Of(val<<8 | i)}); err != nil {
			return err
		}
	}
	return tx.Put(shared, store.Row{record.Of("m"), record.Of(val)})
}

// same writes a row as it is.
func (r *replica) same(id string) {
	name := record.Of(string(r.proc.name))
	c := r.update(func(tx store.Tx) error {
		row, ok, err := tx.Get(owned, name, record.Of(id))
		if err != nil || !ok {
			return err
		}
		return tx.Put(owned, row)
	})
	if c.Records > 0 {
		r.fed().fail(&sim.Violation{ID: "W1", Says: "a write that changes nothing is none", Err: fmt.Errorf("%s wrote %v", r.id(), c.Point)})
	}
}

// evict drops the rows of another node, up to the boot it has now.
func (r *replica) evict(node string) {
	var boot uint64
	for w := range r.core.Sets() {
		if string(w.Node) == node {
			boot = max(boot, w.Boot)
		}
	}
	if boot > 0 && boot < 1<<62 {
		r.put(gone, record.Of(node), record.Of(int64(boot)))
	}
}

func (r *replica) put(table string, row ...record.Value) {
	r.update(func(tx store.Tx) error { return tx.Put(table, row) })
}

func (r *replica) delete(table string, key ...record.Value) {
	r.update(func(tx store.Tx) error { return tx.Delete(table, key...) })
}

// update runs one transaction. A refused one gives a zero commit.
func (r *replica) update(fn func(store.Tx) error) store.Commit {
	if r.full {
		r.fed().hit(HitDisk)
		return store.Commit{}
	}
	c, err := r.store.Update(context.Background(), fn)
	switch {
	case errors.Is(err, hlc.ErrAhead):
		r.refused = true
		r.fed().hit(HitAhead)
	case err == nil && c.Records > 0 && r.refused:
		r.refused = false
		r.fed().hit(HitBackward)
	}
	r.pump()
	return c
}
