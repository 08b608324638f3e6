package fedsim

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firebreak-dev/firebreak/internal/sim"
)

// Summary of many runs.
type Summary struct {
	Seeds   int
	Times   string // how often each ran, in words
	Virtual time.Duration
	Events  uint64
	Traces  sim.Trace // over the traces of all, in whichever order they ran
	Wall    time.Duration
	Hits    sim.Hits
	Faults  map[string]uint64
	Fates   map[sim.Fate]uint64
	Checks  map[string]uint64
	Failed  *Failure // the first one
}

// Failure is a seed that broke something.
type Failure struct {
	Result
	Minimal sim.Script // what is left of the script and breaks the same; nil if it was not tried
}

// maxPrinted bounds the actions that a failure lists.
const maxPrinted = 60

// String says what broke, how to run it again, and by which actions.
func (f *Failure) String() string {
	script := f.Minimal
	if script == nil {
		script = f.Script
	}
	few := script[:min(len(script), maxPrinted)]
	return fmt.Sprintf("%v\n\nseed %d; again: make sim SEED=%d SIM='%v'\n%d of %d actions:\n%v", f.Err, f.Options.Seed, f.Options.Seed, f.Options, len(script), len(f.Script), few)
}

// String is the line that ends a run.
func (s Summary) String() string {
	seconds := max(s.Wall.Seconds(), 0.001)
	var faults []string
	for _, k := range slices.Sorted(maps.Keys(s.Faults)) {
		faults = append(faults, fmt.Sprintf("%s %d", k, s.Faults[k]))
	}
	for _, k := range slices.Sorted(maps.Keys(s.Fates)) {
		faults = append(faults, fmt.Sprintf("frames %s %d", k, s.Fates[k]))
	}
	return fmt.Sprintf("%d seeds, each %s, in %.1f s (%.1f seeds/s): %v of virtual time, %d events (%.0f/s), traces %016x; %s",
		s.Seeds, s.Times, s.Wall.Seconds(), float64(s.Seeds)/seconds, s.Virtual.Round(time.Second), s.Events, float64(s.Events)/seconds, uint64(s.Traces), strings.Join(faults, ", "))
}

// Plan of many runs.
type Plan struct {
	Options           // of each run; Seed is the first
	Seeds   int       // how many
	Until   time.Time // no seed begins after it; zero means no bound
	Workers int       // zero means one per processor
	Once    bool      // run each seed once, not twice
	Whole   bool      // leave the script of a failure as it is
}

// Execute runs all seeds, each twice: a second run that takes another course
// is a failure too. It stops at the first failure, whose script it makes as
// small as it can.
func Execute(p Plan) Summary {
	if p.Workers == 0 {
		p.Workers = runtime.GOMAXPROCS(0)
	}
	began := time.Now()
	sum := Summary{Times: "twice", Hits: sim.Hits{}, Faults: map[string]uint64{}, Fates: map[sim.Fate]uint64{}, Checks: map[string]uint64{}}
	if p.Once {
		sum.Times = "once"
	}
	var mu sync.Mutex
	var next atomic.Int64
	var wg sync.WaitGroup
	for range p.Workers {
		wg.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= int64(p.Seeds) || !p.Until.IsZero() && time.Now().After(p.Until) {
					return
				}
				o := p.Options
				o.Seed += uint64(i)
				r := runTwice(o, p.Once)
				mu.Lock()
				sum.add(r)
				failed := sum.Failed != nil
				mu.Unlock()
				if failed {
					return
				}
			}
		})
	}
	wg.Wait()
	if sum.Failed != nil && !p.Whole {
		sum.Failed.minimise()
	}
	sum.Wall = time.Since(began)
	return sum
}

func runTwice(o Options, once bool) Result {
	r := Run(o)
	if r.Err == nil && o.Seed%containedEvery == 3 {
		r.Err = contained(r.Options, r.Script)
	}
	if once || r.Err != nil {
		return r
	}
	if again := Run(o); again.Trace != r.Trace || again.Events != r.Events {
		r.Err = &sim.Violation{ID: "SEED", Says: "equal seeds give equal traces", Err: fmt.Errorf("traces %016x and %016x", r.Trace, again.Trace)}
	}
	return r
}

func (s *Summary) add(r Result) {
	s.Seeds++
	s.Virtual += r.Virtual
	s.Events += r.Events
	one := r.Trace
	one.Note(r.Virtual, "seed", strconv.FormatUint(r.Options.Seed, 10), nil)
	s.Traces += one
	s.Hits.Add(r.Hits)
	for k, n := range r.Faults {
		s.Faults[k] += n
	}
	for k, n := range r.Fates {
		s.Fates[k] += n
	}
	for k, n := range r.Checks {
		s.Checks[k] += n
	}
	if r.Err != nil && (s.Failed == nil || r.Options.Seed < s.Failed.Options.Seed) {
		s.Failed = &Failure{Result: r}
	}
}

// How often, and for how long, a failing script is run again.
const (
	minimiseTries = 200
	minimiseFor   = 30 * time.Second
)

func (f *Failure) minimise() {
	until := time.Now().Add(minimiseFor)
	f.Minimal = sim.Minimise(f.Script, minimiseTries, func(s sim.Script) bool {
		if time.Now().After(until) {
			return false
		}
		o := f.Options
		o.Script = s
		if o.Script == nil {
			o.Script = sim.Script{}
		}
		err := Run(o).Err
		return err != nil && broke(err) == broke(f.Err) // another failure is not this one made smaller
	})
	o := f.Options
	o.Script = f.Minimal
	if r := Run(o); r.Err != nil {
		f.Err = fmt.Errorf("%w\nby the smaller script: %w", f.Err, r.Err)
	}
}

// broke returns the id of the property that an error is about, empty if it is
// about none.
func broke(err error) string {
	var v *sim.Violation
	if errors.As(err, &v) {
		return v.ID
	}
	return ""
}

// Table lists the states that were reached and the checks that were made.
func (s Summary) Table() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(s.Hits)) {
		fmt.Fprintf(&b, "%10d  %s\n", s.Hits[k], k)
	}
	for _, k := range slices.Sorted(maps.Keys(s.Checks)) {
		fmt.Fprintf(&b, "%10d  checks of %s\n", s.Checks[k], k)
	}
	return b.String()
}
