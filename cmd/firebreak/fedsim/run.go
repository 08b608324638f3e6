package fedsim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/sim"
)

// Result of one run.
type Result struct {
	Options Options
	Script  sim.Script
	Trace   sim.Trace
	Virtual time.Duration
	Events  uint64
	Hits    sim.Hits
	Faults  map[string]uint64   // actions performed, by kind
	Fates   map[sim.Fate]uint64 // of frames
	Checks  map[string]uint64   // how often each property was asked
	Err     error               // what broke, if anything
}

// Run performs the script of a seed, then has all faults end and demands that
// everything becomes equal.
func Run(o Options) Result {
	o = o.withDefaults()
	f, err := newFederation(o)
	if err != nil {
		return Result{Options: o, Err: err}
	}
	defer f.close()
	f.script = o.Script
	if f.script == nil {
		f.script = newScript(f)
	}
	err = f.run()
	return Result{
		Options: o, Script: f.script, Trace: f.world.Trace(), Virtual: f.world.Now(), Events: f.world.Events(), Hits: f.hits,
		Faults: f.faults, Fates: f.net.Fates, Checks: f.props.Checks, Err: err,
	}
}

// begin is when the script starts: the federation has met by then.
const begin = 2 * time.Second

func (f *federation) run() error {
	if err := f.play(); err != nil {
		return err
	}
	if err := f.recover(); err != nil {
		return err
	}
	if f.opts.goesOn() {
		if err := f.goOn(); err != nil {
			return err
		}
		if err := f.recover(); err != nil {
			return err
		}
	}
	if err := f.calmDay(); err != nil {
		return err
	}
	if err := f.rest(); err != nil {
		return err
	}
	if err := f.routed(); err != nil {
		return err
	}
	return f.empty()
}

// recover ends all faults, and demands that everything becomes equal.
func (f *federation) recover() error {
	if err := f.heal(); err != nil {
		return err
	}
	if err := f.settle("L4", "every fault heals", healWithin); err != nil {
		return err
	}
	return f.props.AtRest(f)
}

// play has everybody meet, and performs the script.
func (f *federation) play() error {
	f.net.SetWeather(calm)
	for _, p := range f.all {
		p.start()
	}
	if f.opts.reports() {
		f.router = newRouter(f)
		f.router.tick()
	}
	return f.playPart(0, begin, f.opts.Spread)
}

// playPart performs the actions of a script from a time on, as of now, for a
// while.
func (f *federation) playPart(from, now, while time.Duration) error {
	for _, a := range f.script {
		if (a.At >= later) == (from >= later) {
			f.world.At(now+a.At-from, nil, func() { f.perform(a) })
		}
	}
	return f.world.Run(now + while)
}

// heal ends all faults. Actions of the script that are still to come are not
// performed.
func (f *federation) heal() error {
	f.healed = true
	f.net.JoinAll()
	f.net.SetWeather(calm)
	for _, p := range f.all {
		p.skew = 0
		older := false
		for _, r := range p.lanes {
			r.full, older = false, older || r.few
			r.few = false
		}
		if older && p.up() {
			p.stop()
		}
		if !p.up() {
			p.start()
		}
	}
	f.keep()
	return f.broken
}

// settle demands that all become equal within a bound.
func (f *federation) settle(id, says string, within time.Duration) error {
	began := f.world.Now()
	if slices.ContainsFunc(f.order, (*realm).mayDiffer) {
		within += exchangedIn
	}
	done, err := f.world.RunUntil(began+within, f.due(f.equal))
	if err != nil {
		return err
	}
	if !done {
		return &sim.Violation{ID: id, Says: says, Err: fmt.Errorf("not equal %v after %v: %s", within, began, f.unequal())}
	}
	// What is ahead of no clock any more is shown by then.
	if err := f.world.Run(f.world.Now() + time.Second); err != nil {
		return err
	}
	return f.release()
}

// release has every store show what is ahead no more: one in memory does so
// when it is called.
func (f *federation) release() error {
	return f.each(func(r *replica) error {
		_, err := r.store.Apply(context.Background(), nil)
		r.follow()
		return err
	})
}

// due asks done once per 10 ms of virtual time: it looks at everything.
func (f *federation) due(done func() bool) func() bool {
	var next time.Duration
	return func() bool {
		if f.world.Now() < next {
			return false
		}
		next = f.world.Now() + 10*time.Millisecond
		return done()
	}
}

// unequal names what still differs.
func (f *federation) unequal() string {
	for _, m := range f.order {
		rs := f.of(m)
		for _, r := range rs {
			if !r.proc.whole() {
				return string(r.proc.name) + " is not connected"
			}
			if r.core.Root() == rs[0].core.Root() {
				continue
			}
			sets := rs[0].core.Sets()
			for w, s := range r.core.Sets() {
				if !s.Equal(sets[w]) {
					return fmt.Sprintf("%s has %v of %v, %s has %v", r.id(), s, w, rs[0].id(), sets[w])
				}
			}
			return fmt.Sprintf("%s and %s: equal sets, other fingerprints, or writers that one lacks", r.id(), rs[0].id())
		}
	}
	return "nothing"
}

// calmDay has every node write once more, with poison among it, on a network
// without faults: push alone suffices, and nobody waits for anybody.
func (f *federation) calmDay() error {
	filled := f.filled()
	for i, p := range f.all {
		for j, r := range p.lanes {
			n := 1<<30 + i<<8 + j
			r.put(ranked, record.Of("calm"), record.Of(n), record.Of(n))
			r.put(owned, record.Of(string(p.name)), record.Of("calm"), record.Of(n))
			r.put(owned, record.Of(string(p.name)), record.Of("poison"), record.Of(poison+n))
		}
	}
	f.keep()
	if err := f.settle("L1", "a quiet cluster is equal within 5 s, poison or not", quietWithin); err != nil {
		return err
	}
	if f.filled() == filled {
		f.hit(HitPushed)
	}
	if err := f.props.AtRest(f); err != nil {
		return err
	}
	return f.each(func(r *replica) error {
		r.tally()
		return nil
	})
}

// filled counts what the starts of now have had from answers.
func (f *federation) filled() (n uint64) {
	_ = f.each(func(r *replica) error {
		n += r.core.Stats().Filled
		return nil
	})
	return n
}
