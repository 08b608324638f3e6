package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/load"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

const importHelp = `
The tables must be there: 'firebreak schema apply' makes them. Rows are written
as INSERT … ON CONFLICT DO UPDATE, in transactions of at most 1,000 rows and
1 MiB, which is what one changeset holds: the import is not one transaction. A
row that is there as it is is no write, so an import that was interrupted is
started again.

Every row that is refused is told with its place and the reason; the others are
written. Exit code 1: some were refused, or it ended before all was read.
`

func (e *env) importCommand() *cobra.Command {
	c := &cobra.Command{Use: "import", Short: "Write rows of a file into tables of a region node", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(e.importSQLite(), e.importCorrosion(), e.importCSV(), e.importNDJSON())
	return c
}

func (e *env) importing(im *importer, c *cobra.Command) *cobra.Command {
	im.env = e
	e.asks(c)
	c.Flags().BoolVar(&im.dryRun, "dry-run", false, "read and check everything, write nothing")
	c.Flags().Int64Var(&im.maxRefused, "max-refused", 1000, "end after more refused rows than this")
	return c
}

func (e *env) importSQLite() *cobra.Command {
	var im importer
	var only []string
	c := e.importing(&im, &cobra.Command{
		Use: "sqlite FILE", Short: "Import tables of an SQLite database",
		Long: "Import tables of an SQLite database, in the order of their keys, values as they\nare stored. The file is read as of one moment and not changed.\n" + importHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return im.database(c.Context(), args[0], only, func(all []sqlite.ForeignTable) []sqlite.ForeignTable {
				var out []sqlite.ForeignTable
				for _, t := range all {
					if !load.Books(t.Name) {
						out = append(out, t)
					}
				}
				return out
			})
		},
	})
	c.Flags().StringArrayVar(&only, "table", nil, "import this table only (repeatable); without it all of the file's")
	return c
}

func (e *env) importCorrosion() *cobra.Command {
	var im importer
	var only []string
	c := e.importing(&im, &cobra.Command{
		Use: "corrosion FILE", Short: "Import the replicated tables of a Corrosion database",
		Long: `Import the replicated tables of a Corrosion database: those with a
__crsql_clock table beside them. Its books and cr-sqlite's are left out; what
rows its nodes were still exchanging is not in the file. Tables of one node
alone are named, and imported if --table asks for them. Stop the agent first,
or write to both (see docs/guides/from-corrosion.md).

This is tested on databases that were built to the layout of Corrosion's files,
not on one that Corrosion wrote.
` + importHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return im.database(c.Context(), args[0], only, func(all []sqlite.ForeignTable) []sqlite.ForeignTable {
				replicated, local := load.OfCorrosion(all)
				for _, t := range local {
					if len(only) == 0 {
						e.note("table %s is not replicated and is left out: --table %s imports it", t.Name, t.Name)
					}
				}
				if len(only) > 0 {
					return append(replicated, local...)
				}
				return replicated
			})
		},
	})
	c.Flags().StringArrayVar(&only, "table", nil, "import this table only (repeatable)")
	return c
}

func (e *env) importCSV() *cobra.Command {
	var im importer
	var table, null string
	var columns []string
	c := e.importing(&im, &cobra.Command{
		Use: "csv FILE --table TABLE", Short: "Import comma-separated values",
		Long: `Import comma-separated values (RFC 4180), in the order of the file; - is standard
input. The first line names the columns, unless --columns does. A field is text:
the column's type makes numbers of it, as SQLite does. An empty field is the
empty text, unless --null ''. Line ends within quotes become \n.
` + importHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return im.file(c.Context(), args[0], table, func(r io.Reader, size int64) (load.Source, []string, error) {
				src, err := load.NewCSV(r, size, columns)
				if err != nil {
					return nil, nil, err
				}
				if c.Flags().Changed("null") {
					src.Null = &null
				}
				return src, src.Columns, nil
			})
		},
	})
	c.Flags().StringVar(&table, "table", "", "where the rows go; required")
	c.Flags().StringVar(&null, "null", "", "the field that is NULL (default none)")
	c.Flags().StringSliceVar(&columns, "columns", nil, "the columns, if the first line does not name them")
	return c
}

func (e *env) importNDJSON() *cobra.Command {
	var im importer
	var table string
	c := e.importing(&im, &cobra.Command{
		Use: "ndjson FILE --table TABLE", Short: "Import JSON objects, one a line",
		Long: `Import JSON objects, one a line, in the order of the file; - is standard input.
Keys are columns; a column that is missing keeps its value, or gets its default.
Values are as in docs/reference/cli.md ({"blob":"hex"}); any other object or list
is its own JSON text; true and false are 1 and 0.
` + importHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return im.file(c.Context(), args[0], table, func(r io.Reader, size int64) (load.Source, []string, error) {
				return load.NewNDJSON(r, size), nil, nil
			})
		},
	})
	c.Flags().StringVar(&table, "table", "", "where the rows go; required")
	return c
}

// file imports a file of text into one table.
func (im *importer) file(ctx context.Context, path, table string, open func(io.Reader, int64) (load.Source, []string, error)) error {
	if table == "" {
		return exit.With(exit.Usage, errors.New("say which table: --table"))
	}
	in, size := im.env.in, int64(0)
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return exit.With(exit.Usage, err)
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
		in = f
	}
	src, columns, err := open(in, size)
	if err != nil {
		return exit.With(exit.Usage, fmt.Errorf("%s: %w", path, err))
	}
	return im.run(ctx, func(ctx context.Context) error {
		t, err := im.target(ctx, table)
		if err != nil {
			return err
		}
		var errs []error
		for _, c := range columns {
			if !has(t.Columns, c) {
				errs = append(errs, t.Unknown(c))
			}
		}
		if len(errs) > 0 {
			return exit.With(exit.Usage, errors.Join(errs...))
		}
		return im.load(ctx, t, src)
	})
}
