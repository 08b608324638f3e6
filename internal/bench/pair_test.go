package bench

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/bench/machine"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
)

// virtual is a machine whose time is computed: what a side does costs what it
// says, times what others take of the machine at that moment.
type virtual struct {
	rand   *rand.Rand
	jitter float64             // of every block, ±
	busy   func(n int) float64 // of all times
	wall   func(n int) float64 // of wall time beyond that
	n      int                 // measurements so far
	cost   time.Duration       // of the block that is under way
	clock  time.Time
}

func (v *virtual) factor() float64 {
	v.n++
	f := 1.0
	if v.busy != nil {
		f = v.busy(v.n)
	}
	return f
}

// take makes CPU and wall time of what costs d, and has them pass.
func (v *virtual) take(d time.Duration) machine.Spin {
	cpu := float64(d) * v.factor()
	wall := cpu
	if v.wall != nil {
		wall *= v.wall(v.n)
	}
	v.clock = v.clock.Add(time.Duration(wall))
	return machine.Spin{Wall: time.Duration(wall), CPU: time.Duration(cpu)}
}

func (v *virtual) calibrate() machine.Spin { return v.take(50 * time.Millisecond) }

func (v *virtual) measure(do func() error) (Block, error) {
	v.cost = 0
	if err := do(); err != nil {
		return Block{}, err
	}
	s := v.take(time.Duration(float64(v.cost) * (1 + v.jitter*(2*v.rand.Float64()-1))))
	return Block{Wall: s.Wall, CPU: s.CPU, Mallocs: 1000}, nil
}

func (v *virtual) now() time.Time { return v.clock }

// side costs so much per operation.
func (v *virtual) side(name string, cost time.Duration) Side {
	return Side{Name: name, Do: func(_ context.Context, ops int) (Values, error) {
		v.cost += time.Duration(float64(ops) * float64(cost))
		return nil, nil
	}}
}

func newVirtual(seed uint64) *virtual {
	return &virtual{rand: rand.New(rand.NewPCG(seed, 3)), jitter: 0.04}
}

// compare measures a pair on v as a bench of its own.
func compare(t *testing.T, v *virtual, cfg Config, p Pair) result.Bench {
	t.Helper()
	return compareWith(t, v, cfg, time.Minute, p)
}

func compareFor(t *testing.T, v *virtual, budget time.Duration, p Pair) result.Bench {
	t.Helper()
	return compareWith(t, v, Config{}, budget, p)
}

func compareWith(t *testing.T, v *virtual, cfg Config, budget time.Duration, p Pair) result.Bench {
	t.Helper()
	cfg.Memory, cfg.Disk, cfg.Say, cfg.meter, cfg.Seed = t.TempDir(), t.TempDir(), func(string, ...any) {}, v, 1
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.Run(t.Context(), Bench{Name: "X", Quick: budget, Run: func(ctx context.Context, b *Bencher) error { return b.Compare(ctx, p) }})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func cpuRatio(limit float64) []Measure {
	return []Measure{{Name: "CPU", Unit: "µs/op", Of: CPU, How: Ratio, Guard: OnCPU, Target: result.AtMost(limit)}}
}

func TestASlowdownMovesTheRatioByWhatItIsWorth(t *testing.T) {
	pair := func(v *virtual, cost time.Duration) Pair {
		return Pair{Subject: v.side("ours", cost), Baseline: v.side("plain", 100*time.Microsecond), Measures: cpuRatio(1.3)}
	}
	v := newVirtual(1)
	clean := compare(t, v, Config{}, pair(v, 120*time.Microsecond))
	v = newVirtual(2)
	slow := compare(t, v, Config{}, pair(v, 140*time.Microsecond))
	a, b := clean.Measures[0], slow.Measures[0]
	if clean.Verdict != result.Met || a.Value < 1.16 || a.Value > 1.24 {
		t.Errorf("%s at %.3f, want met at about 1.2", clean.Verdict, a.Value)
	}
	if b.Value < 1.36 || b.Value > 1.44 || b.Low <= a.High || !strings.HasPrefix(slow.Verdict, result.Short) {
		t.Errorf("%s at %.3f (%.3f…%.3f) against %.3f (…%.3f); want 1.4, apart and short", slow.Verdict, b.Value, b.Low, b.High, a.Value, a.High)
	}
}

// Two runs of one commit differ by more than either's interval says, and by
// chance. No figure, however near its target, may be met in one and short in
// the other.
func TestTwoRunsOfOneCommitNeverContradict(t *testing.T) {
	verdicts := map[string]int{}
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 9))
		cost := 0.8 + 0.4*r.Float64() // of its limit
		var got [2]string
		for i := range got {
			v := newVirtual(2*seed + uint64(i))
			v.busy = func(n int) float64 { return 1 + 0.3*math.Abs(math.Sin(float64(n)/15+float64(i))) }
			drift := 1 + 0.04*(2*r.Float64()-1)
			got[i] = compare(t, v, Config{}, Pair{
				Subject: v.side("ours", time.Duration(cost*drift*float64(130*time.Microsecond))), Baseline: v.side("plain", 100*time.Microsecond), Measures: cpuRatio(1.3),
			}).Verdict
			verdicts[strings.Fields(got[i])[0]]++
		}
		if strings.HasPrefix(got[0], result.Short) && got[1] == result.Met || got[0] == result.Met && strings.HasPrefix(got[1], result.Short) {
			t.Errorf("seed %d at %.3f of its limit: %q and %q", seed, cost, got[0], got[1])
		}
	}
	if verdicts["met"] < 8 || verdicts["short"] < 8 {
		t.Errorf("%v: too few are clear", verdicts)
	}
}

func TestALoadedMachineIsTooNoisyWhateverTheFigure(t *testing.T) {
	v := newVirtual(1)
	v.busy = func(int) float64 { return 1 + 4*v.rand.Float64() }
	got := compare(t, v, Config{}, Pair{Subject: v.side("ours", time.Microsecond), Baseline: v.side("plain", time.Microsecond), Measures: cpuRatio(10)})
	if m := got.Measures[0]; got.Verdict != result.TooNoisy || m.Quiet >= result.Few {
		t.Errorf("%s with %d of %d blocks quiet", got.Verdict, m.Quiet, m.Blocks)
	}
}

// Others who take the machine make latencies long; CPU time is told by the CPU
// time of the calibration, and does not starve.
func TestOtherProcessesSpoilLatenciesAndNotCPUTime(t *testing.T) {
	v := newVirtual(1)
	v.wall = func(int) float64 { return 1 + 4*v.rand.Float64() }
	got := compare(t, v, Config{}, Pair{
		Subject: v.side("ours", 2*time.Microsecond), Baseline: v.side("plain", time.Microsecond),
		Measures: append(cpuRatio(2.5), Measure{Name: "time", Unit: "µs", Of: Wall, How: Alone, Target: result.AtMost(100)}),
	})
	if cpu, wall := got.Measures[0], got.Measures[1]; cpu.Verdict != result.Met || wall.Verdict != result.TooNoisy {
		t.Errorf("CPU time %s with %d quiet, wall time %s with %d quiet", cpu.Verdict, cpu.Quiet, wall.Verdict, wall.Quiet)
	}
}

// Where half of all blocks are dropped, more are measured, within the time.
func TestDroppedBlocksAreMadeUpForWithinTheTime(t *testing.T) {
	for _, c := range []struct {
		budget time.Duration
		want   string
	}{{time.Minute, result.Met}, {6 * time.Second, result.TooNoisy}} {
		v := newVirtual(1)
		v.busy = func(n int) float64 {
			if n/7%2 == 0 {
				return 2
			}
			return 1
		}
		begun := v.clock
		got := compareFor(t, v, c.budget, Pair{Subject: v.side("ours", time.Microsecond), Baseline: v.side("plain", time.Microsecond), Measures: cpuRatio(2)})
		if m := got.Measures[0]; got.Verdict != c.want {
			t.Errorf("in %v: %s with %d of %d blocks quiet", c.budget, got.Verdict, m.Quiet, m.Blocks)
		}
		if took := v.clock.Sub(begun); took > max(c.budget, leastTime)+6*time.Second {
			t.Errorf("took %v of %v", took, c.budget)
		}
	}
}

func TestComparisonsShareTheTimeOfTheirBench(t *testing.T) {
	v := newVirtual(1)
	v.busy = func(int) float64 { return 1 + 4*v.rand.Float64() } // never quiet
	begun := v.clock
	r, err := New(Config{Memory: t.TempDir(), Disk: t.TempDir(), Say: func(string, ...any) {}, meter: v})
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.Run(t.Context(), Bench{Name: "X", Quick: time.Minute, Run: func(ctx context.Context, b *Bencher) error {
		b.Pairs(3)
		for range 3 {
			if err := b.Compare(ctx, Pair{Subject: v.side("ours", time.Microsecond), Baseline: v.side("plain", time.Microsecond), Measures: cpuRatio(2)}); err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if took := v.clock.Sub(begun); took < 40*time.Second || took > 80*time.Second {
		t.Errorf("took %v of a minute", took)
	}
	for _, m := range out.Measures {
		if m.Blocks == 0 {
			t.Error("one of three had no blocks")
		}
	}
}

// A burst of somebody else's work in the middle costs blocks, not truth.
func TestWhatOneLeavesIsForThoseThatFollow(t *testing.T) {
	run := func(context.Context, *Bencher) error { return nil }
	benches := []Bench{{Quick: 20 * time.Second, Run: run}, {Quick: 60 * time.Second, Run: run}, {Quick: time.Hour}}
	for _, c := range []struct{ left, want time.Duration }{
		{80 * time.Second, 20 * time.Second},
		{120 * time.Second, 30 * time.Second},
		{60 * time.Second, 15 * time.Second},
		{time.Hour, 40 * time.Second},    // twice at most
		{-time.Minute, 10 * time.Second}, // half at least
	} {
		if got := Within(benches, Quick, c.left); got != c.want {
			t.Errorf("%v left: %v, want %v", c.left, got, c.want)
		}
	}
}

func TestABurstIsLeftOut(t *testing.T) {
	v := newVirtual(1)
	v.busy = func(n int) float64 {
		if n > 40 && n < 60 {
			return 3
		}
		return 1
	}
	got := compare(t, v, Config{}, Pair{Subject: v.side("ours", 2*time.Microsecond), Baseline: v.side("plain", time.Microsecond), Measures: cpuRatio(2.2)})
	m := got.Measures[0]
	if got.Verdict != result.Met || m.Quiet < wantPairs || m.Quiet == m.Blocks || m.Value < 1.9 || m.Value > 2.1 {
		t.Errorf("%s at %.2f with %d of %d blocks quiet", got.Verdict, m.Value, m.Quiet, m.Blocks)
	}
}

// A machine that slowly gets hotter slows both neighbours alike.
func TestADriftCancelsOut(t *testing.T) {
	v := newVirtual(1)
	v.busy = func(n int) float64 { return 1 + 0.001*float64(n) }
	got := compare(t, v, Config{}, Pair{Subject: v.side("ours", 150), Baseline: v.side("plain", 100), Measures: cpuRatio(2)})
	if m := got.Measures[0]; m.Value < 1.46 || m.Value > 1.54 {
		t.Errorf("%.3f, want 1.5", m.Value)
	}
}

func TestATargetWithinTheIntervalIsTooNoisy(t *testing.T) {
	v := newVirtual(1)
	v.jitter = 0.2
	got := compare(t, v, Config{}, Pair{Subject: v.side("ours", 100), Baseline: v.side("plain", 100), Measures: cpuRatio(1)})
	if got.Verdict != result.TooNoisy {
		t.Errorf("%s: %+v", got.Verdict, got.Measures[0])
	}
}

func TestBlocksAreInTheOrderABBA(t *testing.T) {
	v := newVirtual(1)
	var order strings.Builder
	note := func(name string, s Side) Side {
		do := s.Do
		s.Do = func(ctx context.Context, ops int) (Values, error) {
			order.WriteString(name)
			return do(ctx, ops)
		}
		return s
	}
	compare(t, v, Config{}, Pair{
		Subject: note("A", v.side("ours", time.Millisecond)), Baseline: note("B", v.side("plain", time.Millisecond)), Most: 1, Measures: cpuRatio(2),
	})
	if got := order.String(); got != "AB"+strings.Repeat("ABBA", 4) {
		t.Errorf("%s, want a warm-up AB and then ABBA", got)
	}
}

func TestWhatASideSaysIsMeasuredBesideTime(t *testing.T) {
	v := newVirtual(1)
	s := v.side("ours", time.Microsecond)
	do := s.Do
	s.Do = func(ctx context.Context, ops int) (Values, error) {
		_, err := do(ctx, ops)
		return Values{"bytes": 90}, err
	}
	got := compare(t, v, Config{}, Pair{Name: "flip", Subject: s, Measures: []Measure{{Name: "bytes", Unit: "B", Of: Value("bytes"), How: Alone, Target: result.AtMost(90)}}})
	if m := got.Measures[0]; got.Verdict != result.Met || m.Value != 90 || m.Name != "flip: bytes" {
		t.Errorf("%s %+v", got.Verdict, m)
	}
}

func TestAFailureIsTheVerdictAndNotAFigure(t *testing.T) {
	r, err := New(Config{Memory: t.TempDir(), Disk: t.TempDir(), Say: func(string, ...any) {}, meter: newVirtual(1)})
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the row is as it was")
	got, err := r.Run(t.Context(), Bench{Name: "X", Run: func(ctx context.Context, b *Bencher) error {
		return b.Compare(ctx, Pair{Subject: Side{Name: "ours", Do: func(context.Context, int) (Values, error) { return nil, broken }}})
	}})
	if !errors.Is(err, broken) || got.Verdict != result.Failed || len(got.Measures) != 0 {
		t.Errorf("%v, %+v", err, got)
	}
}

func TestNoSpaceIsSaidBeforehand(t *testing.T) {
	dir := t.TempDir()
	r, err := New(Config{Memory: dir, Disk: dir, Say: func(string, ...any) {}, meter: newVirtual(1)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Run(t.Context(), Bench{Name: "X", Run: func(_ context.Context, b *Bencher) error {
		_, err := b.DiskDir(1 << 60)
		return err
	}})
	if err == nil || !strings.Contains(err.Error(), "no space") || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
}

func TestDirectoriesGoWithTheBench(t *testing.T) {
	dir := t.TempDir()
	r, err := New(Config{Memory: dir, Disk: dir, Say: func(string, ...any) {}, meter: newVirtual(1)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Run(t.Context(), Bench{Name: "X", Run: func(_ context.Context, b *Bencher) error {
		d, err := b.MemoryDir(1)
		if err != nil {
			return err
		}
		return os.WriteFile(d+"/x", nil, 0o600)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

func TestUnknownNamesAreListed(t *testing.T) {
	all := []Bench{{Name: "B04"}, {Name: "B05"}}
	if _, err := Select(all, []string{"b04", "B99"}); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "B99") || !strings.Contains(err.Error(), "B04, B05") {
		t.Errorf("%v", err)
	}
	if got, err := Select(all, []string{"b05"}); err != nil || len(got) != 1 || got[0].Name != "B05" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestAMissingFeatureIsListed(t *testing.T) {
	r, err := New(Config{Memory: t.TempDir(), Disk: t.TempDir(), Say: func(string, ...any) {}, meter: newVirtual(1)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Run(t.Context(), Bench{Name: "B14", Missing: "tables cannot be changed yet"})
	if err != nil || got.Verdict != result.NoFeature || got.Note == "" {
		t.Errorf("%v, %+v", err, got)
	}
}
