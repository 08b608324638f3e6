// Package bench measures a subject against a baseline so that the figure can
// be believed on a machine that others use too.
//
// Both work in blocks, in the order A B B A, on the same kind of data and the
// same number of operations. What is reported is the median of the ratios of
// neighbouring blocks, with a bootstrap interval. A calibration loop runs
// before and after each block; blocks beside which it was more than 15 %
// slower than its best are dropped, and others are measured instead while the
// bench has time. With fewer than five pairs left the verdict is "too noisy",
// whatever the figure.
//
// Package result keeps what was found, package load offers open-loop load,
// package machine tells of the machine. The benches themselves are in
// cmd/bench: they measure the product, and nothing here imports it.
package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/internal/bench/machine"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
)

// Set says how long a run may take.
type Set int

// The sets; each includes those before it.
const (
	Quick Set = iota + 1 // within 5 minutes in all
	Full                 // within 30
	Soak                 // as long as it takes
)

// Bench is one line of the suite.
type Bench struct {
	Name    string // "B04", or a word for a floor or rival
	Title   string
	About   string // the workload and the target, in one sentence
	Set     Set
	Quick   time.Duration                         // what it may take in a quick run; zero means 20s
	Long    time.Duration                         // in a longer one; zero means 24s
	Missing string                                // why it cannot be run yet; then Run is nil
	Run     func(context.Context, *Bencher) error // adds measures
}

// ErrUnknown is of a name that no bench has.
var ErrUnknown = errors.New("unknown bench")

// Select returns the benches that names choose, in the order of all. Names of
// none of them are an error that lists what there is.
func Select(all []Bench, names []string) ([]Bench, error) {
	var unknown []string
	for _, n := range names {
		if !slices.ContainsFunc(all, func(b Bench) bool { return strings.EqualFold(b.Name, n) }) {
			unknown = append(unknown, n)
		}
	}
	if len(unknown) > 0 {
		var have []string
		for _, b := range all {
			have = append(have, b.Name)
		}
		return nil, fmt.Errorf("%w %s: there are %s", ErrUnknown, strings.Join(unknown, ", "), strings.Join(have, ", "))
	}
	var out []Bench
	for _, b := range all {
		if slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(b.Name, n) }) {
			out = append(out, b)
		}
	}
	return out, nil
}

// In returns the benches of a set, those without feature included: what is
// missing is listed, not hidden.
func In(all []Bench, s Set) []Bench {
	return slices.DeleteFunc(slices.Clone(all), func(b Bench) bool { return b.Set > s })
}

// Config of a Runner.
type Config struct {
	Memory string               // directory of CPU benches, best on tmpfs; required
	Disk   string               // directory of durability benches; required
	Seed   uint64               // of everything random
	Set    Set                  // how much each bench does
	Commit string               // what is measured
	Plant  time.Duration        // a busy loop in the apply of every row: it must show
	Say    func(string, ...any) // tells a person how it goes; required
	meter  meter                // nil measures this process
}

// Runner runs benches, one after the other.
type Runner struct {
	cfg   Config
	meter meter
	best  machine.Spin // of all calibrations before blocks
}

// New returns a Runner. It takes a second to look at the machine.
func New(cfg Config) (*Runner, error) {
	if cfg.Say == nil || cfg.Memory == "" || cfg.Disk == "" {
		return nil, errors.New("bench config: Memory, Disk and Say are required")
	}
	r := &Runner{cfg: cfg, meter: cfg.meter}
	if r.meter == nil {
		r.meter = newProcess()
	}
	return r, nil
}

// Calibration is the loop's time at the start, or now.
func (r *Runner) Calibration() time.Duration { return r.meter.calibrate().Wall }

// Run runs one bench. What goes wrong in it is its verdict, and an error.
func (r *Runner) Run(ctx context.Context, b Bench) (result.Bench, error) {
	out := result.Bench{Name: b.Name, Title: b.Title, At: time.Now().UTC().Truncate(time.Second), Commit: r.cfg.Commit}
	if b.Run == nil {
		out.Verdict, out.Note = result.NoFeature, b.Missing
		return out, nil
	}
	r.cfg.Say("%s %s", b.Name, b.Title)
	start, before := time.Now(), machine.Load()
	e := &Bencher{runner: r, bench: &out, until: r.meter.now().Add(b.Time(r.cfg.Set)), pairs: 1}
	err := b.Run(ctx, e)
	err = errors.Join(err, e.clean())
	out.Seconds = time.Since(start).Seconds()
	out.Load = strings.Fields(before)[0] + " → " + strings.Fields(machine.Load())[0]
	if err != nil {
		out.Verdict, out.Note, out.Measures = result.Failed, err.Error(), nil
		return out, fmt.Errorf("bench %s: %w", b.Name, err)
	}
	out.Conclude()
	return out, nil
}

// The time of a bench that names none.
const (
	quickTime = 20 * time.Second
	longTime  = 24 * time.Second
)

// Time is how long b may measure in a run of a set, its preparations included.
// What is counted, not timed, takes what it takes.
func (b Bench) Time(s Set) time.Duration {
	if s <= Quick {
		return cmp.Or(b.Quick, quickTime)
	}
	return cmp.Or(b.Long, longTime)
}

// Total is how long a whole run of a set may take, with some room for what is
// beside the benches; zero for a soak, which takes what it takes.
func (s Set) Total() time.Duration {
	switch s {
	case Quick:
		return 280 * time.Second
	case Full:
		return 28 * time.Minute
	}
	return 0
}

// Within is the time of the first of benches if they have so much left in all:
// as much longer or shorter than its own as they all can be, from half of it
// to twice. So what was clear early leaves its time to those that come after.
func Within(benches []Bench, s Set, left time.Duration) time.Duration {
	var want time.Duration
	for _, b := range benches {
		if b.Run != nil {
			want += b.Time(s)
		}
	}
	own := benches[0].Time(s)
	return max(own/2, min(2*own, time.Duration(float64(own)*left.Seconds()/max(want.Seconds(), 1))))
}

// Bencher is what a bench is run with.
type Bencher struct {
	runner *Runner
	bench  *result.Bench
	dirs   []string
	until  time.Time // end of the budget
	pairs  int       // comparisons that share what is left of it
}

// Pairs says how many comparisons are to come: they share the time.
func (b *Bencher) Pairs(n int) { b.pairs = n }

// leastTime is what every comparison gets, however long the preparations were:
// on a quiet machine it is enough for eight rounds.
const leastTime = 8 * time.Second

// share is when the next comparison has to end.
func (b *Bencher) share() time.Time {
	now := b.runner.meter.now()
	part := max(b.until.Sub(now)/time.Duration(max(1, b.pairs)), leastTime)
	b.pairs--
	return now.Add(part)
}

// Plant is a busy loop that the apply of a row shall have in it; zero in all
// but the runs that show that it shows.
func (b *Bencher) Plant() time.Duration { return b.runner.cfg.Plant }

// Seed returns the seed of everything random.
func (b *Bencher) Seed() uint64 { return b.runner.cfg.Seed }

// Full reports whether there is time for the whole workload.
func (b *Bencher) Full() bool { return b.runner.cfg.Set >= Full }

// Say tells a person how it goes.
func (b *Bencher) Say(format string, args ...any) { b.runner.cfg.Say("  "+format, args...) }

// Note says beside the result what else is to be known of it.
func (b *Bencher) Note(format string, args ...any) {
	b.bench.Note = strings.TrimPrefix(b.bench.Note+"; "+fmt.Sprintf(format, args...), "; ")
}

// MemoryDir makes a directory on tmpfs with room for need bytes. It is removed
// at the end of the bench.
func (b *Bencher) MemoryDir(need uint64) (string, error) { return b.dir(b.runner.cfg.Memory, need) }

// DiskDir is MemoryDir on the disk.
func (b *Bencher) DiskDir(need uint64) (string, error) { return b.dir(b.runner.cfg.Disk, need) }

func (b *Bencher) dir(in string, need uint64) (string, error) {
	free, err := machine.Free(in)
	if err != nil {
		return "", err
	}
	if free < need {
		return "", fmt.Errorf("no space: %d MB are free in %s, the bench needs %d", free>>20, in, need>>20)
	}
	dir, err := os.MkdirTemp(in, "firebreak-bench-")
	if err != nil {
		return "", fmt.Errorf("directory of the bench: %w", err)
	}
	b.dirs = append(b.dirs, dir)
	return dir, nil
}

func (b *Bencher) clean() error {
	var errs []error
	for _, dir := range b.dirs {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// Count adds a figure that is counted, not timed: it has no interval.
func (b *Bencher) Count(name, unit string, value float64, target result.Target) {
	b.Say("%s: %s %s", name, result.Number(value), unit)
	b.bench.Measures = append(b.bench.Measures, result.Measure{Name: name, Unit: unit, Value: value, Low: value, High: value, Target: target})
}
