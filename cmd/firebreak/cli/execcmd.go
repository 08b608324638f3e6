package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/cell"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/shell"
	clusterpb "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionpb "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// maxScript bounds what --file reads: one transaction is not a dump.
const maxScript = 16 << 20

func (e *env) execCommand() *cobra.Command {
	var file string
	var local bool
	c := e.asks(&cobra.Command{
		Use:   "exec SQL [ARG...]",
		Short: "Run statements that write, as one transaction on one region node",
		Long: `Run statements that write, as one transaction: all of them, or none. Several are
separated by semicolons. Each takes as many of the arguments as it has
parameters, in order; an argument is a number, null, {"blob":"hex"},
"quoted text", or text as it stands.

It prints the rows each statement affected, those of RETURNING, and the
changesets written, which 'firebreak wait' takes.`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			text, args, err := e.script(file, args)
			if err != nil {
				return exit.With(exit.Usage, err)
			}
			values, err := queryArgs(args)
			if err != nil {
				return exit.With(exit.Usage, err)
			}
			return e.exec(c.Context(), text, values, local)
		},
	})
	c.Flags().StringVarP(&file, "file", "f", "", "read the statements from this file; - is standard input")
	c.Flags().BoolVar(&local, "local", false, "allow CREATE and DROP of tables of the node alone, which nobody else gets")
	return c
}

// script is the statements' text, and the arguments after it.
func (e *env) script(file string, args []string) (string, []string, error) {
	if file == "" {
		if len(args) == 0 {
			return "", nil, errors.New("give the SQL, or --file")
		}
		return args[0], args[1:], nil
	}
	in := e.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxScript+1))
	if err != nil {
		return "", nil, fmt.Errorf("read %s: %w", file, err)
	}
	if len(text) > maxScript {
		return "", nil, fmt.Errorf("%s is over %d bytes: one transaction is not a dump; 'firebreak import' splits", file, maxScript)
	}
	return strings.TrimPrefix(string(text), "\ufeff"), args, nil
}

func (e *env) exec(ctx context.Context, text string, args []*clusterpb.Value, local bool) error {
	stmts, rest := shell.Split(text + "\n;")
	if strings.TrimSpace(rest) != "" {
		return exit.With(exit.Usage, errors.New("the SQL ends within a text, a name or a comment"))
	}
	if len(stmts) == 0 {
		return exit.With(exit.Usage, errors.New("there is no statement"))
	}
	bound, err := bindAll(stmts, args)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	return e.session(ctx, func(ctx context.Context, n regionpb.RegionServiceClient, _ place) error {
		a, err := (&nodeDB{node: n, timeout: e.timeout, local: local}).write(ctx, bound)
		if err != nil {
			return err
		}
		return e.printExecuted(a)
	})
}

func (e *env) printExecuted(a executed) error {
	switch e.format {
	case formatJSON:
		return e.json(a)
	case formatNDJSON:
		for _, r := range a.Results {
			if err := e.json(r); err != nil {
				return err
			}
		}
		return e.json(struct {
			Changed   uint64   `json:"changed"`
			Points    []string `json:"points"`
			Standing  []string `json:"standing,omitempty"`
			DelayedMs int64    `json:"delayed_ms,omitempty"`
		}{a.Changed, a.Points, a.Standing, a.DelayedMs})
	}
	total := int64(0)
	for i, r := range a.Results {
		total += r.Affected
		if len(a.Results) > 1 {
			fmt.Fprintf(e.out, "%d: %d rows affected\n", i+1, r.Affected)
		}
		if len(r.Columns) == 0 {
			continue
		}
		if err := e.table(r.Columns, texts(r.Rows)); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(e.out, shell.Told(total, a.Points, a.Standing))
	return err
}

func texts(rows [][]cell.Value) [][]string {
	out := make([][]string, len(rows))
	for i, row := range rows {
		for _, v := range row {
			out[i] = append(out[i], v.Text())
		}
	}
	return out
}
