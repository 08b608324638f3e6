// Package cli is the operator's commands: they ask routers and nodes over gRPC
// and print tables, JSON or NDJSON. What the JSON holds and what each exit
// code means is a documented contract: docs/reference/cli.md.
package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
)

// env is what the commands of one invocation share.
type env struct {
	in       io.Reader
	out, err io.Writer
	version  string

	// Set by flags.
	format  format
	target  target
	timeout time.Duration

	started bool // past the parsing of arguments
}

// defaultTimeout bounds a command that asks for an answer.
const defaultTimeout = 10 * time.Second

// Config is what a process gives its commands.
type Config struct {
	Args     []string // without the program's name
	In       io.Reader
	Out, Err io.Writer
	Version  string
	Extra    []*cobra.Command // commands of other packages
}

// Main runs one command until it ends, or ctx does, and returns the process's
// exit code.
func Main(ctx context.Context, cfg Config) int {
	e := &env{in: cfg.In, out: cfg.Out, err: cfg.Err, version: cfg.Version, format: formatTable}
	root := e.root(cfg.Extra)
	root.SetArgs(cfg.Args)
	c, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exit.Complete
	}
	if text := strings.TrimSpace(err.Error()); text != "" {
		fmt.Fprintln(cfg.Err, "firebreak:", text)
	}
	if !e.started { // cobra's own: unknown command, flag or argument
		if meant := meant(c); meant != "" {
			fmt.Fprintf(cfg.Err, "did you mean '%s'?\n", meant)
		}
		fmt.Fprintf(cfg.Err, "see '%s --help'\n", c.CommandPath())
		return exit.Usage
	}
	return exit.Code(err)
}

// meant is the command that somebody who mistyped one below c may have meant:
// of those at the top cobra says so by itself.
func meant(c *cobra.Command) string {
	typed := c.Flags().Arg(0)
	if !c.HasParent() || !c.HasSubCommands() || typed == "" {
		return ""
	}
	c.SuggestionsMinimumDistance = 2 // letters
	if names := c.SuggestionsFor(typed); len(names) > 0 {
		return c.CommandPath() + " " + names[0]
	}
	return ""
}

func (e *env) root(extra []*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use:   "firebreak",
		Short: "Which machines run where, across regions, in milliseconds",
		Long: `Firebreak tells a whole fleet which machines run where, and keeps one region's
trouble in that region.

Exit codes: 0 complete, 1 failed, 2 usage or configuration, 3 not found,
4 partial (some region is not covered), 5 no router or node answered,
6 denied.`,
		Version:       e.version,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetIn(e.in)
	root.SetOut(e.out)
	root.SetErr(e.err)
	root.AddCommand(
		e.statusCommand(), e.whereCommand(), e.queryCommand(), e.watchCommand(), e.waitCommand(),
		e.machineCommand(), e.regionCommand(), e.schemaCommand(), e.tlsCommand(), e.configCommand(), e.versionCommand(),
		e.withheldCommand(), e.nodeCommand(), e.clockCommand(),
		e.sqlCommand(), e.execCommand(), e.importCommand(),
	)
	root.AddCommand(extra...)
	root.SetFlagErrorFunc(flagError)
	root.SetVersionTemplate("{{.Version}}\n")
	e.notice(root)
	return root
}

// flagError tells those who meant a negative number, or text that begins with a
// minus sign, how to say so.
func flagError(c *cobra.Command, err error) error {
	if strings.Contains(err.Error(), "unknown shorthand flag") && strings.Contains(c.Use, "ARG") {
		return fmt.Errorf("%w: an argument that begins with - stands behind --: firebreak exec --node NODE SQL -- -5", err)
	}
	return err
}

// notice makes every command below c say that cobra is done with its arguments.
func (e *env) notice(c *cobra.Command) {
	if run := c.RunE; run != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			e.started = true
			return run(c, args)
		}
	}
	for _, sub := range c.Commands() {
		e.notice(sub)
	}
}

// asks gives a command the flags of those that ask a router or node.
func (e *env) asks(c *cobra.Command) *cobra.Command {
	e.prints(c)
	e.target.register(c)
	positiveVar(c.Flags(), &e.timeout, "timeout", defaultTimeout, "how long to wait for an answer")
	return c
}

// prints gives a command the flag of those that print an answer.
func (e *env) prints(c *cobra.Command) *cobra.Command {
	c.Flags().VarP(&e.format, "output", "o", "table, json or ndjson")
	offer(c, "output", formats()...)
	return c
}

func (e *env) versionCommand() *cobra.Command {
	return e.prints(&cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if e.format == formatTable {
				_, err := fmt.Fprintln(e.out, e.version)
				return err
			}
			return e.json(struct {
				Version string `json:"version"`
			}{e.version})
		},
	})
}
