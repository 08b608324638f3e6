package bench

import (
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/bench/machine"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/bench/stat"
)

// enough reports whether more rounds would change no verdict.
func (p Pair) enough(rounds []round, seed uint64) bool {
	if len(rounds) < wantPairs || len(rounds)%2 == 1 { // whole ABBAs
		return false
	}
	for _, m := range p.Measures {
		if len(quiet(rounds, m.Guard)) < wantPairs {
			if !m.Target.None() || p.noTarget() {
				return false
			}
			continue
		}
		if m.judge(p, rounds, seed).Judge() == result.TooNoisy {
			return false
		}
	}
	return true
}

func (p Pair) noTarget() bool {
	return !slices.ContainsFunc(p.Measures, func(m Measure) bool { return !m.Target.None() })
}

// guard is the stricter of those of its measures.
func (p Pair) guard() Guard {
	if slices.ContainsFunc(p.Measures, func(m Measure) bool { return m.Guard == OnWall }) {
		return OnWall
	}
	return OnCPU
}

func (g Guard) of(s machine.Spin) time.Duration {
	if g == OnCPU {
		return s.CPU
	}
	return s.Wall
}

// quiet returns the rounds beside which the machine was nobody else's.
func quiet(rounds []round, g Guard) []round {
	best := time.Duration(0)
	for _, r := range rounds {
		for _, b := range []Block{r.subject, r.baseline} {
			if t := g.of(b.Beside); t > 0 && (best == 0 || t < best) {
				best = t
			}
		}
	}
	limit := time.Duration(slack * float64(best))
	var out []round
	for _, r := range rounds {
		if g.of(r.subject.Beside) <= limit && g.of(r.baseline.Beside) <= limit {
			out = append(out, r)
		}
	}
	return out
}

// judge makes a figure of the quiet rounds; if those are too few, of all of
// them, so that there is something to look at beside the verdict.
func (m Measure) judge(p Pair, rounds []round, seed uint64) result.Measure {
	used := quiet(rounds, m.Guard)
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
