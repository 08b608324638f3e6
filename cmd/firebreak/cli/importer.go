package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/cell"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/load"
	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	regionpb "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// imported is what import prints of a table. Its keys are a contract.
type imported struct {
	Table string `json:"table"`
	load.Counts
	DryRun bool `json:"dry_run,omitempty"`
}

// importer writes rows through one region node.
type importer struct {
	env        *env
	dryRun     bool
	maxRefused int64

	db *nodeDB // set by run
}

// outage is how long an import waits for a node that does not answer.
const outage = 30 * time.Second

// progressEvery is how often a person is told how far it is.
const progressEvery = time.Second

func (im *importer) run(ctx context.Context, use func(context.Context) error) error {
	return im.env.session(ctx, func(ctx context.Context, n regionpb.RegionServiceClient, _ place) error {
		im.db = &nodeDB{node: n, timeout: im.env.timeout}
		// Later that code means a row of another owner.
		if _, err := im.exec(ctx, &regionpb.ExecRequest{}); status.Code(err) == codes.PermissionDenied {
			return err
		}
		return use(ctx)
	})
}

// database imports tables of an SQLite file. Whatever does not fit the node's
// tables is said before anything is written.
func (im *importer) database(ctx context.Context, path string, only []string, choose func([]sqlite.ForeignTable) []sqlite.ForeignTable) error {
	f, err := sqlite.OpenForeign(path)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	defer f.Close()
	all, err := f.Tables(ctx)
	if err != nil {
		return err
	}
	tables, err := chosen(choose(all), only, path)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	return im.run(ctx, func(ctx context.Context) error {
		targets := make([]load.Table, len(tables))
		var errs []error
		for i := range tables {
			if targets[i], err = im.target(ctx, tables[i].Name); err == nil {
				err = im.fit(&tables[i], targets[i])
			}
			errs = append(errs, err)
		}
		if err := errors.Join(errs...); err != nil {
			return exit.With(exit.Usage, fmt.Errorf("nothing was written: %w", err))
		}
		for i := range tables {
			src, err := load.NewDatabase(ctx, f, tables[i])
			if err == nil {
				err = im.load(ctx, targets[i], src)
			}
			if code := exit.Code(err); err != nil && (code != exit.Failed || !errors.Is(err, errRefused)) {
				return err
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

// chosen takes those of tables that are asked for, or all.
func chosen(tables []sqlite.ForeignTable, only []string, path string) ([]sqlite.ForeignTable, error) {
	if len(only) == 0 {
		if len(tables) == 0 {
			return nil, fmt.Errorf("%s has no table to import", path)
		}
		return tables, nil
	}
	var out []sqlite.ForeignTable
	for _, name := range only {
		i := slices.IndexFunc(tables, func(t sqlite.ForeignTable) bool { return strings.EqualFold(t.Name, name) })
		if i < 0 {
			return nil, fmt.Errorf("%s has no table %s to import", path, name)
		}
		out = append(out, tables[i])
	}
	return out, nil
}

// fit leaves out what the node computes, and refuses what it does not have.
func (im *importer) fit(from *sqlite.ForeignTable, to load.Table) error {
	var keep []string
	var errs []error
	for _, c := range from.Columns {
		switch {
		case has(to.Computed, c):
			im.env.note("column %s of table %s is computed on the node: it is left out", c, from.Name)
		case !has(to.Columns, c):
			errs = append(errs, to.Unknown(c))
		default:
			keep = append(keep, c)
		}
	}
	from.Columns = keep
	if len(to.Key) > 0 { // the order in which the node keeps them
		from.Key = slices.DeleteFunc(slices.Clone(to.Key), func(c string) bool { return !has(keep, c) })
	}
	return errors.Join(errs...)
}

// target asks the node for a table.
func (im *importer) target(ctx context.Context, name string) (load.Table, error) {
	t := load.Table{Name: name}
	arg := cell.Value{Type: record.Text, Data: name}
	r, err := im.db.read(ctx, "SELECT t.name, x.name, x.pk, x.hidden FROM pragma_table_list t, pragma_table_xinfo(t.name) x WHERE t.schema = 'main' AND t.type = 'table' AND t.name = ? COLLATE NOCASE ORDER BY x.cid", arg)
	if err != nil {
		return t, err
	}
	key := map[int64]string{}
	for _, row := range plainRows(r.rows) {
		t.Name = row[0].Data
		if row[2].Int > 0 {
			key[row[2].Int] = row[1].Data
		}
		if row[3].Int == 0 {
			t.Columns = append(t.Columns, row[1].Data)
		} else {
			t.Computed = append(t.Computed, row[1].Data)
		}
	}
	for i := range len(key) {
		t.Key = append(t.Key, key[int64(i)+1])
	}
	switch {
	case len(t.Columns) == 0:
		return t, exit.With(exit.Usage, fmt.Errorf("the node has no table %s: 'firebreak schema apply' makes it", name))
	case len(t.Key) == 0:
		im.env.note("table %s has no key: rows are added to those that are there, also if this is not the first time", t.Name)
	}
	return t, nil
}

// errRefused ends an import that is whole except for what was refused.
var errRefused = errors.New("some rows were refused")

// load writes the rows of a source into a table.
func (im *importer) load(ctx context.Context, t load.Table, src load.Source) error {
	start := time.Now()
	told := start
	cfg := load.Config{Table: t, MaxRefused: im.maxRefused,
		Write:   func(ctx context.Context, stmts []load.Statement) (int64, error) { return im.write(ctx, t, stmts) },
		Refused: func(place string, err error) { im.env.note("%s: %s: refused: %v", t.Name, place, err) },
		Progress: func(c load.Counts, part float64) {
			if now := time.Now(); now.Sub(told) >= progressEvery {
				told = now
				im.env.note("%s: %s", t.Name, progress(c, part, now.Sub(start)))
			}
		},
	}
	if im.dryRun {
		cfg.Write = func(context.Context, []load.Statement) (int64, error) { return 0, nil }
	}
	counts, err := load.Load(ctx, cfg, src)
	if im.dryRun {
		counts.Written = 0
	}
	if printErr := im.print(imported{t.Name, counts, im.dryRun}, time.Since(start)); printErr != nil {
		return printErr
	}
	switch {
	case err != nil:
		err = fmt.Errorf("%s: %w: what is written stays; the same command goes on", t.Name, err)
		if exit.Code(err) == exit.Complete || exit.Code(err) == exit.Unanswered {
			return exit.With(exit.Failed, err) // or another node would be asked
		}
		return exit.With(exit.Code(err), err)
	case counts.Refused > 0:
		return exit.With(exit.Failed, fmt.Errorf("%s: %d of %d rows: %w", t.Name, counts.Refused, counts.Rows, errRefused))
	}
	return nil
}

func (im *importer) print(a imported, took time.Duration) error {
	if im.env.format != formatTable {
		return im.env.json(a)
	}
	what := fmt.Sprintf("%d rows written, %d of them changed something", a.Written, a.Changed)
	if im.dryRun {
		what = "nothing was written"
	}
	_, err := fmt.Fprintf(im.env.out, "%s: %d rows read, %s, %d refused, in %v\n", a.Table, a.Rows, what, a.Refused, took.Round(time.Millisecond))
	return err
}

// progress says how far an import is.
func progress(c load.Counts, part float64, took time.Duration) string {
	text := fmt.Sprintf("%d rows, %.0f/s", c.Rows, float64(c.Rows)/took.Seconds())
	if part > 0 {
		left := time.Duration(float64(took) * (1 - part) / part)
		text += fmt.Sprintf(", %.0f%%, %v left", part*100, left.Round(time.Second))
	}
	return text
}

// write runs one batch. A node that does not answer is waited for, if what it
// may have written already is no write.
func (im *importer) write(ctx context.Context, t load.Table, stmts []load.Statement) (int64, error) {
	req := &regionpb.ExecRequest{}
	for _, s := range stmts {
		one := &regionpb.Statement{Sql: s.SQL}
		for _, v := range s.Args {
			one.Args = append(one.Args, v.Proto())
		}
		req.Statements = append(req.Statements, one)
	}
	retry := backoff.New(backoff.Config{Base: 100 * time.Millisecond, Max: 5 * time.Second}, rand.Uint64())
	until := time.Now().Add(outage)
	for {
		r, err := im.exec(ctx, req)
		switch s, _ := status.FromError(err); {
		case err == nil:
			return changedRows(r), nil
		case s.Code() == codes.InvalidArgument, s.Code() == codes.PermissionDenied, slow(s) && len(stmts) > 1:
			return 0, &load.RefusedError{Err: errors.New(s.Message())}
		case exit.Code(err) != exit.Unanswered && !slow(s), len(t.Key) == 0, time.Now().After(until):
			return 0, inWords(err)
		default:
			im.env.note("%s: not written yet, trying again: %s", t.Name, s.Message())
		}
		if err := backoff.Wait(ctx, retry.Next()); err != nil {
			return 0, err
		}
	}
}

// slow says that a batch took more time than a transaction has: fewer rows may
// do, and if one does not it is the node that is busy.
func slow(s *status.Status) bool { return s.Code() == codes.ResourceExhausted }

func (im *importer) exec(ctx context.Context, req *regionpb.ExecRequest) (*regionpb.ExecResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, im.env.timeout)
	defer cancel()
	return im.db.node.Exec(ctx, req)
}

// changedRows is how many rows were otherwise before. A table of the node alone
// has no changesets, so there every row counts that was written.
func changedRows(r *regionpb.ExecResponse) int64 {
	w := r.GetWritten()
	if len(w.GetPoints()) > 0 || len(w.GetStanding()) > 0 {
		return int64(w.GetChanged())
	}
	n := int64(0)
	for _, res := range r.GetResults() {
		n += res.GetRowsAffected()
	}
	return n
}

func has(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}
