// Package checkpointcmd is `firebreak checkpoint`: what copies of databases
// there are, and how to get one back. Litestream's work is done in child
// processes, so that this process can open what they wrote.
package checkpointcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/checkpoint"
	"github.com/firebreak-dev/firebreak/internal/checkpoint/child"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/region/table"
)

// flags of all subcommands.
type flags struct {
	dir, node, at, to, as, database, output string
}

// Command returns `firebreak checkpoint`.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use: "checkpoint", Short: "List, make, verify and restore copies of a node's database", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(listCommand(), createCommand(), verifyCommand(), restoreCommand(), copyCommand(), fetchCommand())
	return c
}

// ChildCommand is the arguments of this binary that run a child of a
// checkpoint.Supervisor.
func ChildCommand() []string { return []string{"checkpoint", "child"} }

func (f *flags) chains(c *cobra.Command) {
	c.Flags().StringVar(&f.dir, "dir", "", "directory of the checkpoints, as in the node's configuration")
	c.Flags().StringVar(&f.node, "node", "", "name of the node")
	c.Flags().StringVarP(&f.output, "output", "o", "table", "table or json")
	must(c.MarkFlagRequired("dir"))
}

func (f *flags) moment(c *cobra.Command) {
	must(c.MarkFlagRequired("node"))
	c.Flags().StringVar(&f.at, "at", "", "the moment, as 2006-01-02T15:04:05Z; the last copy without it")
}

func must(err error) {
	if err != nil {
		panic(err) // only for a flag that was not registered above
	}
}

func (f *flags) print(out io.Writer, v any, table func(w io.Writer)) error {
	switch f.output {
	case "json":
		return json.NewEncoder(out).Encode(v)
	case "table":
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		table(w)
		return w.Flush()
	}
	return exit.With(exit.Usage, fmt.Errorf("output %q: want table or json", f.output))
}

// found is a chain as it is printed.
type found struct {
	Node  string    `json:"node"`
	Boot  uint64    `json:"boot"`
	Bits  string    `json:"bits"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	path  string
}

// find lists the chains that hold something, a node's newest start first.
func (f *flags) find(ctx context.Context) ([]found, error) {
	chains, err := checkpoint.Chains(f.dir, record.Node(f.node))
	if err != nil {
		return nil, err
	}
	out := []found{}
	for _, c := range chains {
		first, last, err := child.Bounds(ctx, c.Path)
		if err != nil {
			return nil, err
		}
		if !last.IsZero() {
			out = append(out, found{string(c.Writer.Node), c.Writer.Boot, fmt.Sprintf("%016x", c.Writer.Bits), first.UTC(), last.UTC(), c.Path})
		}
	}
	return out, nil
}

func listCommand() *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use: "list --dir DIR", Short: "List what can be restored, and to which moments", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := f.find(c.Context())
			if err != nil {
				return err
			}
			return f.print(c.OutOrStdout(), struct {
				Checkpoints []found `json:"checkpoints"`
			}{all}, func(w io.Writer) {
				fmt.Fprintln(w, "node\tboot\tbits\tfirst\tlast")
				for _, x := range all {
					fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", x.Node, x.Boot, x.Bits, x.First.Format(time.RFC3339), x.Last.Format(time.RFC3339))
				}
			})
		},
	}
	f.chains(c)
	return c
}

func createCommand() *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use: "create --database FILE --to FILE", Short: "Write a copy of a database, which a node may be using, to a new file",
		Long: `Write a copy of a database, which a node may be using, to a new file, as of one
moment, without Litestream.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return sqlite.Copy(c.Context(), f.database, f.to) },
	}
	c.Flags().StringVar(&f.database, "database", "", "the node's database file")
	c.Flags().StringVar(&f.to, "to", "", "the new file")
	must(c.MarkFlagRequired("database"))
	must(c.MarkFlagRequired("to"))
	return c
}

func restoreCommand() *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use: "restore --dir DIR --node NODE --to FILE", Short: "Write a database as it was at a moment",
		Long: `Write a database as it was at a moment to a new file, checked, and without what
was its node's own. Put it into the data directory of that node, or of the node
that --as names, while that does not run. What was written later it gets from
its peers.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := f.restore(c.Context(), f.to, c.ErrOrStderr())
			if err != nil {
				return err
			}
			return f.report(c.OutOrStdout(), s)
		},
	}
	f.chains(c)
	f.moment(c)
	c.Flags().StringVar(&f.to, "to", "", "the new file")
	c.Flags().StringVar(&f.as, "as", "", "node of the same cluster that will use it; the one that it was of without it")
	must(c.MarkFlagRequired("to"))
	return c
}

func verifyCommand() *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use: "verify --dir DIR --node NODE", Short: "Restore to a temporary directory, check all of it, and remove it", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			tmp, err := os.MkdirTemp("", "firebreak-verify-")
			if err != nil {
				return err
			}
			s, err := f.restore(c.Context(), filepath.Join(tmp, "node.db"), c.ErrOrStderr())
			if err = errors.Join(err, os.RemoveAll(tmp)); err != nil {
				return err
			}
			return f.report(c.OutOrStdout(), s)
		},
	}
	f.chains(c)
	f.moment(c)
	return c
}

// restored is what restore and verify print.
type restored struct {
	Fleet     string    `json:"fleet"`
	Cluster   string    `json:"cluster"`
	Node      string    `json:"node"`
	Rows      int64     `json:"rows"`
	Withheld  int64     `json:"withheld"`
	Unread    []string  `json:"unread,omitempty"`
	Unchecked int       `json:"unchecked"`
	Last      time.Time `json:"last"`
}

func (f *flags) report(out io.Writer, r restored) error {
	return f.print(out, r, func(w io.Writer) {
		fmt.Fprintf(w, "sound: fleet %s, %s, node %s, %d rows, %d withheld\n", r.Fleet, r.Cluster, r.Node, r.Rows, r.Withheld)
		if len(r.Unread) > 0 {
			fmt.Fprintf(w, "not read, because this program does not know them: tables %s\n", strings.Join(r.Unread, ", "))
		}
		if r.Unchecked > 0 {
			fmt.Fprintf(w, "of %d writers the rows were not added up, because records are withheld\n", r.Unchecked)
		}
	})
}

// restore writes the file, by a child, and makes it fit for its node.
func (f *flags) restore(ctx context.Context, to string, errs io.Writer) (restored, error) {
	var at time.Time
	if f.at != "" {
		var err error
		if at, err = time.Parse(time.RFC3339Nano, f.at); err != nil {
			return restored{}, exit.With(exit.Usage, fmt.Errorf("--at: %w", err))
		}
	}
	chain, err := f.pick(ctx, at)
	if err != nil {
		return restored{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return restored{}, fmt.Errorf("find this program: %w", err)
	}
	args := append(fetchArgs(), "--to", to, "--at", f.at, chain.path)
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr = errs
	if err := cmd.Run(); err != nil {
		return restored{}, fmt.Errorf("restore %s: %w", chain.path, err)
	}
	s, err := sqlite.Strip(ctx, to, record.Node(f.as), table.All())
	if err != nil {
		return restored{}, errors.Join(err, os.Remove(to))
	}
	return restored{s.Owner.Fleet, s.Owner.Cluster, string(s.Owner.Node), s.Rows, s.Withheld, s.Unread, s.Unchecked, chain.Last}, nil
}

// pick chooses the chain that holds a moment: the newest that had begun.
func (f *flags) pick(ctx context.Context, at time.Time) (found, error) {
	all, err := f.find(ctx)
	if err != nil {
		return found{}, err
	}
	for _, c := range all {
		if at.IsZero() || !c.First.After(at) {
			return c, nil
		}
	}
	if len(all) == 0 {
		return found{}, exit.With(exit.NotFound, fmt.Errorf("%s has no checkpoints of node %q", f.dir, f.node))
	}
	return found{}, exit.With(exit.NotFound, fmt.Errorf("the first checkpoint of node %q is of %s", f.node, all[len(all)-1].First.Format(time.RFC3339)))
}

// copyCommand is what a supervisor starts.
func copyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "child", Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			return child.Copy(c.Context(), c.InOrStdin(), c.OutOrStdout(), log)
		},
	}
}

func fetchArgs() []string { return []string{"checkpoint", "fetch"} }

// fetchCommand is what restore starts.
func fetchCommand() *cobra.Command {
	var to, at string
	c := &cobra.Command{
		Use: "fetch CHAIN", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var moment time.Time
			if strings.TrimSpace(at) != "" {
				var err error
				if moment, err = time.Parse(time.RFC3339Nano, at); err != nil {
					return err
				}
			}
			return child.Restore(c.Context(), args[0], moment, to, c.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&to, "to", "", "")
	c.Flags().StringVar(&at, "at", "", "")
	return c
}
