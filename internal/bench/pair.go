package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/bench/machine"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
)

const (
	wantPairs = 8                      // quiet ones; then a figure that is clear is enough
	maxPairs  = 40                     // quiet or not, whatever time is left
	shortest  = 200 * time.Millisecond // block of the faster side
	longest   = 600 * time.Millisecond // block of the slower side, where operations can be as few
	slack     = 1.15                   // beside its best, a calibration may be so much slower
	tries     = 6                      // calibrations before a block, until one is quiet
)

// Pair compares a subject with a baseline. Without a baseline the subject is
// measured alone, in blocks of the same kind.
type Pair struct {
	Name     string // of the case; empty if the bench has one
	Subject  Side
	Baseline Side // its Do may be nil
	Multiple int  // operations come in such numbers; zero means 1
	Most     int  // operations of a block; zero means as many as fill it
	Measures []Measure
}

// How says what becomes of the blocks of a pair.
type How int

// The ways.
const (
	Ratio      How = iota + 1 // of subject to baseline
	Difference                // of subject less baseline
	Alone                     // the subject's own
)

// Guard says which time of the calibration tells a quiet block from another.
type Guard int

// The guards.
const (
	OnWall Guard = iota // for latencies: whoever else runs makes them longer
	OnCPU               // for CPU time, counts and bytes: others are not in them, but can slow the CPU itself
)

// Measure is one figure of a pair.
type Measure struct {
	Name   string
	Unit   string // of Of; a ratio's is ×
	Of     func(Block) float64
	How    How
	Guard  Guard
	Target result.Target
}

// Compare runs p and adds its measures. It takes its part of the time that the
// bench has left: the rounds go on until every measure with a target has
// enough quiet ones and is clear of its target, or until that time is over.
func (b *Bencher) Compare(ctx context.Context, p Pair) error {
	p.Multiple = max(1, p.Multiple)
	rounds, err := p.run(ctx, b, b.share())
	if err != nil {
		if p.Name != "" {
			err = fmt.Errorf("%s: %w", p.Name, err)
		}
		return err
	}
	for _, m := range p.Measures {
		out := m.judge(p, rounds, b.Seed())
		b.Say("%s: %s %s (%s…%s), %d of %d blocks quiet", out.Name, result.Number(out.Value), out.Unit,
			result.Number(out.Low), result.Number(out.High), out.Quiet, out.Blocks)
		b.bench.Measures = append(b.bench.Measures, out)
	}
	return nil
}

// round is a block of each side, neighbours in time.
type round struct {
	subject, baseline Block
}

// run measures rounds until they are enough or the time is over.
func (p Pair) run(ctx context.Context, b *Bencher, until time.Time) ([]round, error) {
	r := b.runner
	ops, err := p.size(ctx, r)
	if err != nil {
		return nil, err
	}
	var rounds []round
	told := r.meter.now()
	begun := told
	for len(rounds) < maxPairs && !p.enough(rounds, b.Seed()) {
		// The last round may end a little late, by half of what one takes.
		if took := r.meter.now().Sub(begun); len(rounds) > 0 && r.meter.now().Add(took/time.Duration(2*len(rounds))).After(until) {
			break
		}
		one, err := p.round(ctx, r, ops, len(rounds)%2 == 1)
		if err != nil {
			return nil, err
		}
		rounds = append(rounds, one)
		if now := r.meter.now(); now.Sub(told) > sayEvery {
			told = now
			b.Say("%s: %d rounds, %d quiet, %v left", p.Name, len(rounds), len(quiet(rounds, p.guard())), max(0, until.Sub(now)).Round(time.Second))
		}
	}
	return rounds, nil
}

// sayEvery is how often a pair tells how far it is.
const sayEvery = 5 * time.Second

// round measures a block of each side, in the order A B or B A.
func (p Pair) round(ctx context.Context, r *Runner, ops int, swap bool) (one round, err error) {
	sides := []struct {
		side Side
		into *Block
	}{{p.Subject, &one.subject}, {p.Baseline, &one.baseline}}
	if swap {
		slices.Reverse(sides)
	}
	for _, s := range sides {
		if *s.into, err = p.block(ctx, r, s.side, ops); err != nil {
			return one, err
		}
	}
	return one, nil
}

// size finds how many operations make a block. Its own blocks warm both sides
// up.
func (p Pair) size(ctx context.Context, r *Runner) (int, error) {
	ops := p.Multiple
	for {
		a, err := p.block(ctx, r, p.Subject, ops)
		if err != nil {
			return 0, err
		}
		b, err := p.block(ctx, r, p.Baseline, ops)
		if err != nil {
			return 0, err
		}
		short, long := a.Wall, a.Wall
		if p.Baseline.Do != nil {
			short, long = min(a.Wall, b.Wall), max(a.Wall, b.Wall)
		}
		grow := min(float64(shortest)/float64(max(short, 1)), float64(longest)/float64(max(long, 1)))
		if grow < 1.2 || p.Most > 0 && ops >= p.Most {
			return ops, nil
		}
		next := int(float64(ops) * min(grow, 8))
		if p.Most > 0 {
			next = min(next, p.Most)
		}
		if next = max(next/p.Multiple, 1) * p.Multiple; next <= ops {
			return ops, nil
		}
		ops = next
	}
}

// block prepares and measures one block of a side.
func (p Pair) block(ctx context.Context, r *Runner, s Side, ops int) (Block, error) {
	if s.Do == nil {
		return Block{Ops: ops}, ctx.Err()
	}
	if s.Prepare != nil {
		if err := s.Prepare(ops); err != nil {
			return Block{}, fmt.Errorf("prepare %s: %w", s.Name, err)
		}
	}
	var values Values
	before := p.await(r)
	b, err := r.meter.measure(func() (err error) {
		values, err = s.Do(ctx, ops)
		return err
	})
	if err != nil {
		return Block{}, fmt.Errorf("%s: %w", s.Name, err)
	}
	after := r.meter.calibrate()
	b.Ops, b.Values, b.Beside = ops, values, machine.Spin{Wall: max(before.Wall, after.Wall), CPU: max(before.CPU, after.CPU)}
	return b, ctx.Err()
}

// await runs the calibration until the machine is quiet, but not for long: a
// try costs less than a block that is dropped.
func (p Pair) await(r *Runner) machine.Spin {
	g := p.guard()
	var now machine.Spin
	for range tries {
		now = r.meter.calibrate()
		if best := g.of(r.best); best == 0 || g.of(now) < best {
			r.best = now
		}
		if g.of(now) <= time.Duration(slack*float64(g.of(r.best))) {
			break
		}
	}
	return now
}
