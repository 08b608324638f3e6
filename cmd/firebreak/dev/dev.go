// Package dev runs a whole federation on one machine, with real sockets and
// real certificates, feeds it with the churn of a fleet, and checks at the end
// that every tier shows exactly what is true.
package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/datadir"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/screen"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/trace"
)

// Command returns `firebreak dev`. Version is this binary's. The end of the
// command's context is a person's Ctrl-C.
func Command(version string) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole federation on this machine",
		Long: `Run a whole federation on this machine: regions, global nodes and routers on
loopback ports, with certificates of a throw-away authority, and invented
traffic or the replay of a trace.

With --exit-after, or at --trace-until, it stops the traffic, waits until all
is quiet, and checks that every node of each region is equal and that the
directory, the routers and a catalog show what is true. It exits 0, or 1 and
says what differs.

The other commands find it by --dev DIR, else $FIREBREAK_DEV, else the default.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := f.parse(cmd.Flags())
			if err != nil {
				return exit.With(exit.Usage, err)
			}
			s := &session{options: o, version: version, out: cmd.OutOrStdout(), say: newProgress(cmd.ErrOrStderr())}
			return s.run(cmd.Context())
		},
	}
	f.register(cmd.Flags())
	cmd.AddCommand(ctlCommand(), compareCommand(version))
	return cmd
}

// progress tells a person what happens. Safe for concurrent use.
type progress struct {
	start time.Time

	mu     sync.Mutex
	out    io.Writer
	screen *screen.Screen // that has the lines of a view below; nil for none
}

func newProgress(out io.Writer) *progress { return &progress{start: time.Now(), out: out} }

func (p *progress) say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line = fmt.Sprintf("%7.1fs  %s", time.Since(p.start).Seconds(), line)
	if p.screen != nil {
		p.screen.Line(p.out, line)
		return
	}
	fmt.Fprintln(p.out, line)
}

// above makes lines appear above a view.
func (p *progress) above(s *screen.Screen) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.screen = s
}

func (p *progress) sayf(format string, args ...any) { p.say(fmt.Sprintf(format, args...)) }

// run is the command, its flags parsed. The end of ctx is a person's Ctrl-C.
func (s *session) run(ctx context.Context) error {
	if err := s.readTrace(); err != nil {
		return exit.With(exit.Usage, err)
	}
	dir, err := datadir.Open(s.data)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	defer dir.Close()
	former, err := s.formerPlan(dir)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	if s.binary == "" {
		if s.binary, err = os.Executable(); err != nil {
			return fmt.Errorf("find this binary: %w", err)
		}
	}
	links, err := s.readFaults(former)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	s.federation, err = federation.Open(federation.Config{
		Links: links,
		Dir:   dir, Spec: s.spec, Former: former, Processes: s.processes, Binary: s.binary,
		Enforce: s.enforce, Schema: s.schema, Version: s.version, Progress: s.say.say,
	})
	if err != nil {
		return err
	}
	if err := s.listenToOthers(); err != nil {
		return errors.Join(err, s.federation.Close())
	}
	defer s.ctl.Close()
	s.say.sayf("starting %d nodes in %s", len(s.federation.Plan().Nodes), dir.Path)
	err = s.federation.Run(ctx, s.work)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil // Ctrl-C while it was starting
	}
	s.say.say("stopped; the files stay in " + dir.Path)
	return err
}

func (s *session) readTrace() error {
	if s.replay == nil {
		return nil
	}
	machines, err := trace.Open(s.replay.file, s.replay.columns)
	if err != nil {
		return err
	}
	s.schedule = trace.NewSchedule(machines, s.replay.until)
	s.say.sayf("trace %s: %d machines, %d of them from before, %d events", s.replay.file, len(machines), len(s.schedule.Initial), len(s.schedule.Events))
	return nil
}

func (s *session) formerPlan(dir *datadir.Dir) (*federation.Plan, error) {
	if !s.resume {
		return nil, nil
	}
	var p federation.Plan
	found, err := dir.Load(&p)
	if err != nil {
		return nil, err
	}
	if !found {
		s.say.sayf("nothing to go on with in %s: starting anew", dir.Path)
		return nil, nil
	}
	return s.former(p)
}
