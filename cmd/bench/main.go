// Command bench measures the product against floors, rivals and its targets,
// prints a table with verdicts, and keeps the results.
//
//	go run ./cmd/bench                       # the quick set
//	go run ./cmd/bench -only B04,B15         # some, of any set
//	go run ./cmd/bench -diff before.json after.json
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/bench/suite"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/machine"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/plain"
)

// Exit codes: a bench that failed is 1, and so is a run that could not be kept.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are what the flags say.
type options struct {
	set     string
	only    string
	output  string
	results string
	memory  string
	disk    string
	seed    uint64
	plant   time.Duration
	profile string
	list    bool
	diff    bool
	docs    bool
	args    []string
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.set, "set", "quick", "quick (5 minutes), full (30) or soak")
	f.StringVar(&o.only, "only", "", "names of benches, by commas; of any set")
	f.StringVar(&o.output, "o", "table", "table or json")
	f.StringVar(&o.results, "results", "internal/bench/results", "directory of latest.json and the history; empty keeps nothing")
	f.StringVar(&o.memory, "memory", "/dev/shm", "directory on tmpfs, for CPU benches")
	f.StringVar(&o.disk, "disk", os.TempDir(), "directory on a disk, for durability benches")
	f.Uint64Var(&o.seed, "seed", 1, "of everything random")
	f.DurationVar(&o.plant, "plant", 0, "a busy loop in the store's apply of every row: shows that B04 shows it; nothing is kept")
	f.StringVar(&o.profile, "cpuprofile", "", "file for a CPU profile of the whole run")
	f.BoolVar(&o.list, "list", false, "list the benches and end")
	f.BoolVar(&o.docs, "docs", false, "show the latest results in README.md and docs/, and end; from the repository's root")
	f.BoolVar(&o.diff, "diff", false, "compare two files of results, given as arguments")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.args = f.Args()
	switch {
	case o.diff && len(o.args) != 2:
		return o, errors.New("-diff wants two files")
	case !o.diff && len(o.args) > 0:
		return o, fmt.Errorf("unexpected argument %q", o.args[0])
	case o.output != "table" && o.output != "json":
		return o, fmt.Errorf("-o %s: want table or json", o.output)
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil {
		switch {
		case o.list:
			err = list(stdout, suite.All())
		case o.docs:
			err = writeDocuments(".", o.results)
		case o.diff:
			err = diff(stdout, o.args[0], o.args[1])
		default:
			return o.measure(ctx, stdout, stderr)
		}
		if err == nil {
			return 0
		}
	}
	fmt.Fprintln(stderr, "bench:", err)
	return exitUsage
}

func list(w io.Writer, all []bench.Bench) error {
	for _, b := range all {
		about := b.About
		if b.Run == nil {
			about = result.NoFeature + ": " + b.Missing
		}
		if _, err := fmt.Fprintf(w, "%-16s %-6s %-5s %s. %s\n", b.Name, names[b.Set], b.Time(b.Set), b.Title, about); err != nil {
			return err
		}
	}
	return nil
}

var names = map[bench.Set]string{bench.Quick: "quick", bench.Full: "full", bench.Soak: "soak"}

func setOf(name string) (bench.Set, error) {
	for s, n := range names {
		if n == name {
			return s, nil
		}
	}
	return 0, fmt.Errorf("-set %s: want quick, full or soak", name)
}

func diff(w io.Writer, before, now string) error {
	a, err := result.Load(before)
	if err != nil {
		return err
	}
	b, err := result.Load(now)
	if err != nil {
		return err
	}
	return result.Diff(w, a, b)
}

// measure runs the chosen benches and says how it went as an exit code. What
// was found is printed whatever happens to the files.
func (o options) measure(ctx context.Context, stdout, stderr io.Writer) int {
	complain := func(err error, code int) int {
		fmt.Fprintln(stderr, "bench:", err)
		return code
	}
	set, err := setOf(o.set)
	if err != nil {
		return complain(err, exitUsage)
	}
	chosen := bench.In(suite.All(), set)
	if o.only != "" {
		if chosen, err = bench.Select(suite.All(), strings.Split(o.only, ",")); err != nil {
			return complain(err, exitUsage)
		}
	}
	if o.results != "" { // before the work, not after it
		if err := result.CheckDir(o.results); err != nil {
			return complain(err, exitFailed)
		}
	}
	stop, err := profile(o.profile)
	if err != nil {
		return complain(err, exitFailed)
	}
	defer stop()
	say := func(format string, args ...any) { fmt.Fprintf(stderr, format+"\n", args...) }
	found, failed := o.runAll(ctx, set, chosen, say)
	if failed != nil {
		complain(failed, exitFailed)
	}
	if err := o.print(stdout, found); err != nil {
		return complain(err, exitFailed)
	}
	if o.results != "" && o.plant == 0 && ctx.Err() == nil {
		if err := found.Save(o.results); err != nil {
			return complain(err, exitFailed)
		}
	}
	if failed != nil {
		return exitFailed
	}
	return 0
}

// profile begins a CPU profile, if there is a file to write it to.
func profile(path string) (stop func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("CPU profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("CPU profile: %w", err), f.Close())
	}
	return func() { pprof.StopCPUProfile(); _ = f.Close() }, nil
}

func (o options) print(w io.Writer, f result.File) error {
	if o.output == "table" {
		return f.Print(w)
	}
	data, err := f.Encode()
	if err == nil {
		_, err = w.Write(data)
	}
	return err
}

// runAll runs the benches; one that fails does not keep the others from it.
func (o options) runAll(ctx context.Context, set bench.Set, chosen []bench.Bench, say func(string, ...any)) (result.File, error) {
	f := result.File{Format: result.Format, Environment: o.environment()}
	e := &f.Environment
	r, err := bench.New(bench.Config{Memory: o.memory, Disk: o.disk, Seed: o.seed, Set: set, Commit: e.Commit, Plant: o.plant, Say: say})
	if err != nil {
		return f, err
	}
	e.Calibration = r.Calibration()
	if e.Sync.P50, e.Sync.P99, err = machine.SyncTimes(o.disk); err != nil {
		return f, err
	}
	var errs []error
	begun := time.Now()
	for i, b := range chosen {
		say("[%d of %d, %v gone]", i+1, len(chosen), time.Since(begun).Round(time.Second))
		if total := set.Total(); o.only == "" && total > 0 {
			b.Quick = bench.Within(chosen[i:], set, total-time.Since(begun))
			b.Long = b.Quick
		}
		out, err := r.Run(ctx, b)
		if ctx.Err() != nil {
			errs = append(errs, ctx.Err())
			break
		}
		errs = append(errs, err)
		f.Benches = append(f.Benches, out)
	}
	e.LoadAfter = machine.Load()
	return f, errors.Join(errs...)
}

func (o options) environment() result.Environment {
	return result.Environment{
		At: time.Now().UTC().Truncate(time.Second), Commit: commit(), Command: strings.Join(append([]string{"bench"}, os.Args[1:]...), " "),
		Go: runtime.Version(), SQLite: plain.Version(), CPU: machine.CPU(), CPUs: runtime.NumCPU(), GOMAXPROCS: runtime.GOMAXPROCS(0),
		Kernel: machine.Kernel(), LoadBefore: machine.Load(), Seed: o.seed,
		Memory: o.memory + " (" + machine.Device(o.memory) + ")", Disk: o.disk + " (" + machine.Device(o.disk) + ")",
	}
}

// commit is what is checked out, marked if there is more in the tree.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
