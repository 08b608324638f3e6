package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/bench/stat"
)

const (
	wantPairs = 8                      // quiet ones; then it is enough
	maxPairs  = 12                     // quiet or not
	shortest  = 200 * time.Millisecond // block of the faster side
	longest   = 800 * time.Millisecond // block of the slower side, where operations can be as few
	slack     = 1.15                   // beside its best, a calibration may be so much slower
)

// Pair compares a subject with a baseline. Without a baseline the subject is
// measured alone, in blocks of the same kind.
type Pair struct {
	Name     string // of the case; empty if the bench has one
	Subject  Side
	Baseline Side // its Do may be nil
	Multiple int  // operations come in such numbers; zero means 1
	Most     int  // operations of a block; zero means as many as fill it
	Patience int  // rounds at most, quiet or not; zero means 12
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

// Measure is one figure of a pair.
type Measure struct {
	Name   string
	Unit   string // of Of; a ratio's is ×
	Of     func(Block) float64
	How    How
	Target result.Target
}

// Compare runs p and adds its measures.
func (b *Bencher) Compare(ctx context.Context, p Pair) error {
	p = p.withDefaults(b.runner)
	rounds, err := p.run(ctx, b.runner)
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

func (p Pair) withDefaults(r *Runner) Pair {
	p.Multiple = max(1, p.Multiple)
	if p.Patience == 0 {
		p.Patience = maxPairs
	}
	if plant, do := r.cfg.Plant, p.Subject.Do; plant > 0 {
		p.Subject.Do = func(ctx context.Context, ops int) (Values, error) {
			v, err := do(ctx, ops)
			r.meter.spin(time.Duration(ops) * plant)
			return v, err
		}
	}
	return p
}

// round is a block of each side, neighbours in time.
type round struct {
	subject, baseline Block
}

// run measures rounds until enough of them are quiet.
func (p Pair) run(ctx context.Context, r *Runner) ([]round, error) {
	ops, err := p.size(ctx, r)
	if err != nil {
		return nil, err
	}
	var rounds []round
	for len(rounds) < p.Patience && (len(rounds) < wantPairs || len(quiet(rounds)) < wantPairs) {
		var one round
		var err error
		if len(rounds)%2 == 0 {
			if one.subject, err = p.block(ctx, r, p.Subject, ops); err == nil {
				one.baseline, err = p.block(ctx, r, p.Baseline, ops)
			}
		} else {
			if one.baseline, err = p.block(ctx, r, p.Baseline, ops); err == nil {
				one.subject, err = p.block(ctx, r, p.Subject, ops)
			}
		}
		if err != nil {
			return nil, err
		}
		rounds = append(rounds, one)
	}
	return rounds, nil
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
	before := r.meter.calibrate()
	b, err := r.meter.measure(func() (err error) {
		values, err = s.Do(ctx, ops)
		return err
	})
	if err != nil {
		return Block{}, fmt.Errorf("%s: %w", s.Name, err)
	}
	b.Ops, b.Values, b.Beside = ops, values, max(before, r.meter.calibrate())
	return b, ctx.Err()
}

// quiet returns the rounds beside which the machine was nobody else's.
func quiet(rounds []round) []round {
	best := time.Duration(0)
	for _, r := range rounds {
		for _, b := range []Block{r.subject, r.baseline} {
			if b.Beside > 0 && (best == 0 || b.Beside < best) {
				best = b.Beside
			}
		}
	}
	limit := time.Duration(slack * float64(best))
	var out []round
	for _, r := range rounds {
		if r.subject.Beside <= limit && r.baseline.Beside <= limit {
			out = append(out, r)
		}
	}
	return out
}

// judge makes a figure of the quiet rounds; if those are too few, of all of
// them, so that there is something to look at beside the verdict.
func (m Measure) judge(p Pair, rounds []round, seed uint64) result.Measure {
	used := quiet(rounds)
	n := len(used)
	if n < result.Few {
		used = rounds
	}
	var values, subjects, baselines []float64
	for _, r := range used {
		a, b := m.Of(r.subject), m.Of(r.baseline)
		subjects, baselines = append(subjects, a), append(baselines, b)
		switch m.How {
		case Ratio:
			values = append(values, a/b)
		case Difference:
			values = append(values, a-b)
		default:
			values = append(values, a)
		}
	}
	i := stat.MedianInterval(values, seed)
	out := result.Measure{
		Name: m.Name, Unit: m.Unit, Value: stat.Median(values), Low: i.Low, High: i.High, Target: m.Target,
		Blocks: len(rounds), Quiet: n, Subject: stat.Median(subjects), Best: stat.Quantile(subjects, best(m.Target)), Of: m.Unit,
		Details: map[string]float64{"ops_per_block": float64(used[0].subject.Ops)},
	}
	if m.How == Ratio {
		out.Unit = "×"
	}
	if m.How != Alone {
		out.Baseline = stat.Median(baselines)
	}
	if p.Name != "" {
		out.Name = p.Name + ": " + m.Name
	}
	return out
}

// best is the quantile of a measure's best value.
func best(t result.Target) float64 {
	if t.More() {
		return 1
	}
	return 0
}
