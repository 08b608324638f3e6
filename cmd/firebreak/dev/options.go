package dev

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/rate"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/devfile"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/trace"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// defaultRequests is what a small machine answers beside everything else.
const defaultRequests = "50/s"

// flags are the command's flags as they were given.
type flags struct {
	regions                   []string
	workers, globals, routers int
	seed                      uint64
	data, report              string
	exitAfter                 time.Duration
	traffic, requests, brakes string
	processes, resume         bool
	trace, traceColumns       string
	traceSpeed                float64
	script, latency           string
	upgrades                  time.Duration
	flat                      bool
	traceUntil                string
	schema                    string
}

func (f *flags) register(set *pflag.FlagSet) {
	set.StringSliceVar(&f.regions, "regions", []string{"iad", "ams", "nrt"}, "names of the regions")
	set.IntVar(&f.workers, "workers", 3, "workers of each region; the first two are gateways")
	set.IntVar(&f.globals, "globals", 3, "global nodes")
	set.IntVar(&f.routers, "routers", 1, "routers")
	set.Uint64Var(&f.seed, "seed", 1, "seed of the invented traffic")
	set.StringVar(&f.data, "data", "", "directory of the federation (default $"+devfile.EnvDir+", else firebreak/dev in $XDG_STATE_HOME)")
	set.BoolVar(&f.resume, "resume", false, "go on with what the directory holds, instead of emptying it")
	set.BoolVar(&f.processes, "processes", false, "run each node as a process of its own")
	set.StringVar(&f.brakes, "brakes", "observe", "what mass withdrawals meet: observe or enforce")
	set.StringVar(&f.traffic, "traffic", "20/s", "invented changes, as N/s, or off")
	set.StringVar(&f.requests, "requests", defaultRequests, "requests through the edges, as N/s, or off (default with --trace)")
	set.StringVar(&f.trace, "trace", "", "CSV file with the churn of a fleet to replay, plain or gzip")
	set.StringVar(&f.traceColumns, "trace-columns", "", "its columns, as id=NAME,app=NAME,create=NAME,delete=NAME")
	set.Float64Var(&f.traceSpeed, "trace-speed", 3600, "trace seconds per second")
	set.StringVar(&f.traceUntil, "trace-until", "", "stop at this trace time, in seconds, check, and exit")
	set.DurationVar(&f.exitAfter, "exit-after", 0, "check and exit after this long (default: run until Ctrl-C)")
	set.DurationVar(&f.upgrades, "upgrades", 0, "restart a region node this often, while its machines run on (default: never)")
	set.StringVar(&f.script, "script", "", "file of faults, a line each: 5s kill region iad")
	set.StringVar(&f.schema, "schema", "", "schema files for every region node: a directory of *.sql, or one file; followed while it runs")
	set.StringVar(&f.latency, "latency", "none", "of the network between the nodes: none, wan, or a file")
	set.BoolVar(&f.flat, "flat", false, "put the workers of all regions into one, to see the difference")
	set.StringVar(&f.report, "report", "", "write a JSON report to this file after the check")
}

// options are flags that make sense together.
type options struct {
	spec      federation.Spec
	given     map[string]bool // which flags were given
	seed      uint64
	data      string
	resume    bool
	processes bool
	enforce   bool
	rate      float64 // of invented traffic, per second; zero for none
	requests  float64 // through the edges, per second; zero for none
	replay    *replayOptions
	exitAfter time.Duration // zero means until asked
	report    string        // empty means none
	script    string        // file of faults; empty means none
	upgrades  time.Duration // between two of them; zero means none
	latency   string        // "none", "wan" or a file
	schema    string        // directory of schema files, absolute; empty means none
}

type replayOptions struct {
	file    string
	columns trace.Columns
	speed   float64
	until   trace.Time // Never means to the end
}

// parse checks the flags and reports every problem at once. It touches no file.
func (f *flags) parse(set *pflag.FlagSet) (options, error) {
	o := options{
		spec:  federation.Spec{Workers: f.workers, Globals: f.globals, Routers: f.routers},
		given: map[string]bool{}, seed: f.seed, data: f.data, resume: f.resume, processes: f.processes,
		enforce: f.brakes == "enforce", exitAfter: f.exitAfter, report: f.report,
		script: f.script, upgrades: f.upgrades, latency: f.latency,
	}
	if f.schema != "" {
		o.schema, _ = filepath.Abs(f.schema) // fails only where there is no working directory
	}
	set.Visit(func(x *pflag.Flag) { o.given[x.Name] = true })
	for _, r := range f.regions {
		o.spec.Regions = append(o.spec.Regions, fleet.Region(strings.TrimSpace(r)))
	}
	var errs []error
	problem := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := o.spec.Check(); err != nil {
		errs = append(errs, err)
	}
	if f.flat && len(errs) == 0 {
		o.spec = o.spec.Flat()
		errs = append(errs, o.spec.Check())
	}
	if f.brakes != "observe" && f.brakes != "enforce" {
		problem("--brakes %q: want observe or enforce", f.brakes)
	}
	if f.exitAfter < 0 || f.exitAfter == 0 && o.given["exit-after"] {
		problem("--exit-after %v: want a time above zero, as in 20s", f.exitAfter)
	}
	if f.upgrades < 0 || f.upgrades == 0 && o.given["upgrades"] {
		problem("--upgrades %v: want a time above zero, as in 30s", f.upgrades)
	}
	if f.upgrades > 0 && f.script != "" {
		problem("--upgrades: not with --script: its verdicts would count these restarts")
	}
	var err error
	if o.rate, err = rate.Parse(f.traffic); err != nil {
		problem("--traffic: %w", err)
	}
	if f.trace == "" || o.given["requests"] { // a replay is measured: nothing else runs beside it unasked
		if o.requests, err = rate.Parse(f.requests); err != nil {
			problem("--requests: %w", err)
		}
	}
	if o.data == "" {
		if o.data, err = devfile.DefaultDir(); err != nil {
			errs = append(errs, err)
		}
	}
	if o.replay, err = f.parseReplay(o.given); err != nil {
		errs = append(errs, err)
	}
	return o, errors.Join(errs...)
}

func (f *flags) parseReplay(given map[string]bool) (*replayOptions, error) {
	var errs []error
	if f.trace == "" {
		for _, name := range []string{"trace", "trace-columns", "trace-speed", "trace-until"} {
			if given[name] {
				errs = append(errs, fmt.Errorf("--%s: want --trace FILE", name))
			}
		}
		return nil, errors.Join(errs...)
	}
	r := &replayOptions{file: f.trace, speed: f.traceSpeed, until: trace.Never}
	var err error
	if r.columns, err = trace.ParseColumns(f.traceColumns); err != nil {
		errs = append(errs, fmt.Errorf("--trace-columns: %w", err))
	}
	if !(r.speed > 0) || math.IsInf(r.speed, 0) {
		errs = append(errs, fmt.Errorf("--trace-speed %v: want a number above zero", r.speed))
	}
	if given["trace-until"] {
		if r.until, err = trace.ParseTime(f.traceUntil); err != nil {
			errs = append(errs, fmt.Errorf("--trace-until: %w", err))
		}
	}
	return r, errors.Join(errs...)
}

// former returns the plan to go on with, after the flags that were given have
// been held against it.
func (o options) former(p federation.Plan) (*federation.Plan, error) {
	if err := p.Spec.Check(); err != nil {
		return nil, fmt.Errorf("--resume: the directory's plan: %w", err)
	}
	var errs []error
	same := func(flag string, got, former any) {
		if o.given[flag] && fmt.Sprint(got) != fmt.Sprint(former) {
			errs = append(errs, fmt.Errorf("--resume: --%s %v, but the directory has %v", flag, got, former))
		}
	}
	same("regions", o.spec.Regions, p.Spec.Regions)
	same("workers", o.spec.Workers, p.Spec.Workers)
	same("globals", o.spec.Globals, p.Spec.Globals)
	same("routers", o.spec.Routers, p.Spec.Routers)
	return &p, errors.Join(errs...)
}
