package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/shell"
	regionpb "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

func (e *env) sqlCommand() *cobra.Command {
	var local, keepGoing bool
	c := e.asks(&cobra.Command{
		Use:   "sql [SQL]",
		Short: "An SQL shell on one region node",
		Long: `An SQL shell on one region node. At a terminal it edits lines, completes tables
and dot-commands, and keeps a history; else it reads a script from standard
input, or runs SQL and ends. A statement ends with a semicolon and may span
lines; one that writes is a transaction of its own ('firebreak exec' runs
several as one). .help lists the dot-commands; -o sets the first mode.

At a terminal an error does not end the shell. A script ends at the first one
with exit code 1, or at its end with --keep-going.`,
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			return e.session(c.Context(), func(ctx context.Context, n regionpb.RegionServiceClient, p place) error {
				db := &nodeDB{node: n, timeout: e.timeout, local: local}
				cfg := shell.Config{DB: db, Out: e.out, Err: e.err, Mode: shell.Mode(e.format), Script: true, KeepGoing: keepGoing}
				switch {
				case len(args) > 0:
					cfg.Lines = shell.NewScript(strings.NewReader(args[0]))
				case terminal(e.in):
					return interact(ctx, cfg, p, e.out)
				default:
					cfg.Lines = shell.NewScript(e.in)
				}
				return ended(shell.Run(ctx, cfg))
			})
		},
	})
	c.Flags().BoolVar(&keepGoing, "keep-going", false, "a script goes on after an error")
	c.Flags().BoolVar(&local, "local", false, "allow CREATE and DROP of tables of the node alone, which nobody else gets")
	return c
}

// ended is how a shell's end ends the command.
func ended(err error) error {
	var failed *shell.FailedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &failed) && failed.Count == 1:
		return exit.With(exit.Failed, nil) // it has been told
	case errors.Is(err, context.Canceled):
		return exit.With(exit.Failed, errors.New("interrupted"))
	}
	return exit.With(exit.Failed, fmt.Errorf("the shell ended: %w", err))
}
