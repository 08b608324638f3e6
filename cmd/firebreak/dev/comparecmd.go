package dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/compare"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/fault"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/rate"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// comparison is the flags of `firebreak dev compare`.
type comparison struct {
	fault, traffic, requests, output string
	regions                          []string
	workers                          int
	duration                         time.Duration
	seed                             uint64
	version                          string
}

// compareCommand returns `firebreak dev compare`.
func compareCommand(version string) *cobra.Command {
	c := comparison{version: version}
	cmd := &cobra.Command{
		Use:   "compare --fault FAULT",
		Short: "Show what a fault does to two levels, and to one flat cluster",
		Long: `Run the same nodes, traffic and fault twice, one after the other: as regions, and
as one flat region. Print what the fault did to each, side by side. The fault is
of the first region; it begins after a quarter of the duration.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&c.fault, "fault", "", "storm, mass-delete, poison, upgrade, kill, stop or partition")
	f.StringSliceVar(&c.regions, "regions", []string{"iad", "ams", "nrt"}, "names of the regions")
	f.IntVar(&c.workers, "workers", 3, "workers of each region")
	f.DurationVar(&c.duration, "duration", 20*time.Second, "of each run, from when it is ready")
	f.StringVar(&c.traffic, "traffic", "20/s", "invented changes, as N/s")
	f.StringVar(&c.requests, "requests", defaultRequests, "requests through the edges, as N/s, or off")
	f.Uint64Var(&c.seed, "seed", 1, "seed of the invented traffic")
	f.StringVarP(&c.output, "output", "o", "table", "table or json")
	return cmd
}

// options returns the flags as those of a dev with two levels, and the fault.
func (c *comparison) options() (options, fault.Command, error) {
	o := options{
		spec: federation.Spec{Workers: c.workers, Globals: 3, Routers: 1}, given: map[string]bool{"data": true},
		seed: c.seed, exitAfter: c.duration,
	}
	for _, r := range c.regions {
		o.spec.Regions = append(o.spec.Regions, fleet.Region(strings.TrimSpace(r)))
	}
	errs := []error{o.spec.Check()}
	if errs[0] == nil {
		errs = append(errs, o.spec.Flat().Check())
	}
	var err error
	if o.rate, err = rate.Parse(c.traffic); err != nil {
		errs = append(errs, fmt.Errorf("--traffic: %w", err))
	}
	if o.requests, err = rate.Parse(c.requests); err != nil {
		errs = append(errs, fmt.Errorf("--requests: %w", err))
	}
	if c.duration < 4*time.Second {
		errs = append(errs, fmt.Errorf("--duration %v: want at least 4s", c.duration))
	}
	if c.output != "table" && c.output != "json" {
		errs = append(errs, fmt.Errorf("--output %q: want table or json", c.output))
	}
	cmd := fault.Command{}
	if c.fault == "" {
		errs = append(errs, errors.New("--fault: want one, as in --fault storm"))
	} else if len(o.spec.Regions) > 0 {
		if cmd, err = fault.Parse([]string{c.fault, "region", string(o.spec.Regions[0])}); err != nil {
			errs = append(errs, fmt.Errorf("--fault: %w", err))
		}
	}
	return o, cmd, errors.Join(errs...)
}

func (c *comparison) run(cmd *cobra.Command) error {
	o, what, err := c.options()
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	dir, err := os.MkdirTemp("", "firebreak-compare-")
	if err != nil {
		return fmt.Errorf("directory of the federations: %w", err)
	}
	defer os.RemoveAll(dir) // throw-away federations
	say := newProgress(cmd.ErrOrStderr())
	t := compare.Table{
		Fault: what.String(), Regions: len(o.spec.Regions), Workers: o.spec.Workers,
		Seed: c.seed, Duration: c.duration.Seconds(), Version: c.version,
	}
	for _, side := range []struct {
		name string
		spec federation.Spec
		into *compare.Side
	}{{"two-levels", o.spec, &t.TwoLevels}, {"flat", o.spec.Flat(), &t.Flat}} {
		say.say("running " + side.name)
		o.spec, o.data = side.spec, filepath.Join(dir, side.name)
		if *side.into, err = c.side(cmd.Context(), o, what, say); err != nil {
			return fmt.Errorf("%s: %w", side.name, err)
		}
	}
	if c.output == "json" {
		out := json.NewEncoder(cmd.OutOrStdout())
		out.SetIndent("", "  ")
		return out.Encode(t)
	}
	return t.Write(cmd.OutOrStdout())
}

var errInterrupted = errors.New("interrupted")

// side runs one federation.
func (c *comparison) side(ctx context.Context, o options, what fault.Command, say *progress) (compare.Side, error) {
	s := &session{options: o, version: c.version, out: io.Discard, say: say}
	s.steps = fault.Script{{At: c.duration / 4, Command: what, Line: 1}}
	if err := s.run(ctx); err != nil {
		return compare.Side{}, err
	}
	if len(s.result.Faults) == 0 {
		return compare.Side{}, errors.Join(errInterrupted, ctx.Err())
	}
	v, e := s.result.Faults[0], s.result.Edges
	out := compare.Side{
		Nodes: len(s.federation.Plan().Of(federation.Region)), Touched: v.Nodes, Rows: v.Written, Withheld: v.Held,
		Requests: e.Requests, Failed: e.Errors,
	}
	for _, r := range v.Regions {
		out.Bytes += r.Bytes
		out.Restarts += r.Restarts
	}
	return out, nil
}
