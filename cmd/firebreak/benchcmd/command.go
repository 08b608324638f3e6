// Package benchcmd is `firebreak bench`: load on a running federation, offered
// at a fixed rate, with latencies from when each operation was due. What fails
// is reported as what it is: a run with failures prints errors, and no rate.
package benchcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/bench/load"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// flags of every kind of load.
type flags struct {
	target   target
	rate     float64
	duration time.Duration
	workers  int
	timeout  time.Duration
	output   string
	app      string
	sql      string
}

// kind is one kind of load.
type kind struct {
	name, short, long string
	open              func(context.Context, *flags) (operations, error)
}

// operations is what a kind of load does, over and over.
type operations interface {
	// do is one operation; it is due at due.
	do(ctx context.Context, i uint64, due time.Time) error
	// close takes back what was written.
	close(ctx context.Context) error
}

// Command returns `firebreak bench`.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use: "bench", Short: "Offer load to a running federation and measure it", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	for _, k := range []kind{
		{"publish", "Write machines on every region node in turn", `Write machines on every region node in turn, one per operation, each time with a
new value; they are withdrawn at the end.`, openPublish},
		{"query", "Run a SELECT through the routers", `Run a SELECT through the routers. An answer that some region is missing from is
a failure.`, openQuery},
		{"lookup", "Ask the routers where an app runs", `Ask the routers where an app runs. An answer that is not complete is a failure.`, openLookup},
		{"watch", "Write machines and wait until a watch through a router shows them", `Write machines as publish does, and wait until a watch of their app through a
router shows each: the whole way from worker to edge.`, openWatch},
	} {
		c.AddCommand(k.command())
	}
	return c
}

func (k kind) command() *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use: k.name, Short: k.short, Args: cobra.NoArgs,
		Long: k.long + `

Operations begin when they are due, whether or not the former ones have ended,
and latency counts from then. Exit code 1: some failed, were not begun in time,
or were not taken back.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return exit.With(exit.Usage, err)
			}
			return k.run(c.Context(), &f, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f.target.register(c)
	s := c.Flags()
	s.Float64Var(&f.rate, "rate", 10, "operations per second")
	s.DurationVar(&f.duration, "duration", 10*time.Second, "how long to offer them")
	s.IntVar(&f.workers, "workers", 64, "operations at once; more wait, and are late")
	s.DurationVar(&f.timeout, "timeout", 5*time.Second, "of one operation")
	s.StringVarP(&f.output, "output", "o", "table", "table or json")
	s.StringVar(&f.app, "app", "bench", "app that is written, or asked for")
	if k.name == "query" {
		s.StringVar(&f.sql, "sql", "SELECT count(*) FROM fleet_current", "the SELECT")
	}
	return c
}

func (f *flags) check() error {
	var errs []error
	if f.rate <= 0 || f.rate > 1e6 {
		errs = append(errs, fmt.Errorf("--rate %v: want operations per second, above 0 and up to 1,000,000", f.rate))
	}
	if f.duration <= 0 || f.timeout <= 0 {
		errs = append(errs, errors.New("--duration and --timeout: want a time above zero"))
	}
	if f.workers < 1 || f.workers > 10_000 {
		errs = append(errs, fmt.Errorf("--workers %d is not in 1..10000", f.workers))
	}
	if f.output != "table" && f.output != "json" {
		errs = append(errs, fmt.Errorf("--output %q: want table or json", f.output))
	}
	return errors.Join(append(errs, fleet.App(f.app).Check())...)
}

// cleanupTime bounds the taking back of what was written, also after Ctrl-C.
const cleanupTime = 10 * time.Second

func (k kind) run(ctx context.Context, f *flags, out, stderr io.Writer) error {
	ops, err := k.open(ctx, f)
	if err != nil {
		return err
	}
	faults := newFaults()
	p := newProgress(stderr, k.name, f.duration)
	stop := p.start()
	r, err := load.Run(ctx, load.Config{
		Rate: f.rate, Duration: f.duration, Workers: f.workers,
		Each: func(latency time.Duration, err error) {
			faults.add(err)
			p.add(latency, err)
		},
	}, func(ctx context.Context, i uint64, due time.Time) error {
		ctx, cancel := context.WithTimeout(ctx, f.timeout)
		defer cancel()
		return ops.do(ctx, i, due)
	})
	stop()
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	if undo := ops.close(cleanup); undo != nil {
		faults.add(fmt.Errorf("take back what was written: %w", undo))
	}
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	return newReport(k.name, f, r, faults).print(out, f.output)
}
