package bench

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/bench/result"
)

// virtual is a machine whose time is computed: what a side does costs what it
// says, times what others take of the machine at that moment.
type virtual struct {
	rand   *rand.Rand
	jitter float64 // of every block, ±
	busy   func(n int) float64
	n      int           // measurements so far
	cost   time.Duration // of the block that is under way
}

func (v *virtual) factor() float64 {
	v.n++
	f := 1.0
	if v.busy != nil {
		f = v.busy(v.n)
	}
	return f
}

func (v *virtual) calibrate() time.Duration {
	return time.Duration(float64(50*time.Millisecond) * v.factor())
}

func (v *virtual) measure(do func() error) (Block, error) {
	v.cost = 0
	if err := do(); err != nil {
		return Block{}, err
	}
	d := time.Duration(float64(v.cost) * v.factor() * (1 + v.jitter*(2*v.rand.Float64()-1)))
	return Block{Wall: d, CPU: d, Mallocs: 1000}, nil
}

func (v *virtual) spin(d time.Duration) { v.cost += d }

// side costs so much per operation.
func (v *virtual) side(name string, cost time.Duration) Side {
	return Side{Name: name, Do: func(_ context.Context, ops int) (Values, error) {
		v.cost += time.Duration(ops) * cost
		return nil, nil
	}}
}

func newVirtual(seed uint64) *virtual {
	return &virtual{rand: rand.New(rand.NewPCG(seed, 3)), jitter: 0.04}
}

// compare measures a pair on v as a bench of its own.
func compare(t *testing.T, v *virtual, cfg Config, p Pair) result.Bench {
	t.Helper()
	cfg.Memory, cfg.Disk, cfg.Say, cfg.meter, cfg.Seed = t.TempDir(), t.TempDir(), func(string, ...any) {}, v, 1
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.Run(t.Context(), Bench{Name: "X", Run: func(ctx context.Context, b *Bencher) error { return b.Compare(ctx, p) }})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func cpuRatio(limit float64) []Measure {
	return []Measure{{Name: "CPU", Unit: "µs/op", Of: CPU, How: Ratio, Target: result.AtMost(limit)}}
}

func TestAPlantedSlowdownMovesTheRatioByWhatItIsWorth(t *testing.T) {
	pair := func(v *virtual) Pair {
		return Pair{Subject: v.side("ours", 120*time.Microsecond), Baseline: v.side("plain", 100*time.Microsecond), Measures: cpuRatio(1.3)}
	}
	v := newVirtual(1)
	clean := compare(t, v, Config{}, pair(v))
	v = newVirtual(2)
	planted := compare(t, v, Config{Plant: 20 * time.Microsecond}, pair(v))
	a, b := clean.Measures[0], planted.Measures[0]
	if clean.Verdict != result.Met || a.Value < 1.16 || a.Value > 1.24 {
		t.Errorf("%s at %.3f, want met at about 1.2", clean.Verdict, a.Value)
	}
	if b.Value < 1.36 || b.Value > 1.44 || b.Low <= a.High || !strings.HasPrefix(planted.Verdict, result.Short) {
		t.Errorf("%s at %.3f (%.3f…%.3f) against %.3f (…%.3f); want 1.4, apart and short", planted.Verdict, b.Value, b.Low, b.High, a.Value, a.High)
	}
}

func TestALoadedMachineIsTooNoisyWhateverTheFigure(t *testing.T) {
	v := newVirtual(1)
	v.busy = func(int) float64 { return 1 + v.rand.Float64() }
	got := compare(t, v, Config{}, Pair{Subject: v.side("ours", time.Microsecond), Baseline: v.side("plain", time.Microsecond), Measures: cpuRatio(10)})
	if got.Verdict != result.TooNoisy || got.Measures[0].Quiet >= result.Few || got.Measures[0].Blocks != maxPairs {
		t.Errorf("%s with %d of %d blocks quiet", got.Verdict, got.Measures[0].Quiet, got.Measures[0].Blocks)
	}
}

// A burst of somebody else's work in the middle costs blocks, not truth.
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
