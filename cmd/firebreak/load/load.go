// Package load writes rows of files into tables that are there: in batches of
// what one changeset may hold, each a transaction. A row is written as a whole
// or refused, and every refused one is told with its place and the reason. To
// write what is there already is no write, so whoever was interrupted begins
// again at the start.
package load

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/cell"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

// What one batch holds: no more than one changeset does.
const (
	maxRows  = 1000
	maxBytes = 1 << 20
)

// Table is where rows go.
type Table struct {
	Name     string
	Columns  []string
	Key      []string // empty: there is none, so rows are only added
	Computed []string // columns that cannot be written
}

// Row is one row of a source.
type Row struct {
	Place   string // for people: "line 3"
	Columns []string
	Values  []cell.Value
	Err     error // why it cannot be read; the source goes on
}

// Source calls fn for each of its rows, until fn fails.
type Source interface {
	Each(ctx context.Context, fn func(Row) error) error
	// Part is how much of it has been read, in 0 to 1; negative if nobody knows.
	Part() float64
}

// Statement is one row as SQL.
type Statement struct {
	SQL  string
	Args []cell.Value
}

// RefusedError says that a transaction was refused for what is in it.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return e.Err.Error() }
func (e *RefusedError) Unwrap() error { return e.Err }

// Counts is how far a load is.
type Counts struct {
	Rows    int64 `json:"rows"`    // read
	Written int64 `json:"written"` // of those: they are in the table
	Changed int64 `json:"changed"` // of those: they were not there before, or were otherwise
	Refused int64 `json:"refused"` // of those read: they are not in the table
}

// Config of a load.
type Config struct {
	Table Table
	// Write runs statements as one transaction and returns how many rows
	// changed. It returns a [RefusedError] if what they hold is to blame.
	Write      func(ctx context.Context, stmts []Statement) (changed int64, err error)
	Refused    func(place string, err error)
	Progress   func(c Counts, part float64) // called after each batch
	MaxRefused int64                        // refused rows after which it ends
}

// ErrTooManyRefused ends a load.
var ErrTooManyRefused = errors.New("too many rows were refused")

// loader is one load.
type loader struct {
	Config
	names  map[string]string // columns of the table, by their name in lower case
	counts Counts
	batch  []placed
	bytes  int
}

type placed struct {
	place string
	Statement
}

// Load writes the rows of a source. The counts hold also if it fails.
func Load(ctx context.Context, cfg Config, src Source) (Counts, error) {
	l := &loader{Config: cfg, names: map[string]string{}}
	for _, c := range cfg.Table.Columns {
		l.names[strings.ToLower(c)] = c
	}
	err := src.Each(ctx, func(r Row) error { return l.add(ctx, r, src) })
	if err == nil {
		err = l.flush(ctx, src)
	}
	return l.counts, err
}

func (l *loader) add(ctx context.Context, r Row, src Source) error {
	l.counts.Rows++
	if r.Err == nil {
		r.Err = l.check(r)
	}
	if r.Err != nil {
		return l.refuse(r.Place, r.Err)
	}
	size := 0
	for _, v := range r.Values {
		size += len(v.Data) + 10
	}
	if size > maxBytes {
		return l.refuse(r.Place, fmt.Errorf("the row has %d bytes, over the %d of a changeset", size, maxBytes))
	}
	if len(l.batch) == maxRows || l.bytes+size > maxBytes {
		if err := l.flush(ctx, src); err != nil {
			return err
		}
	}
	l.batch = append(l.batch, placed{r.Place, l.upsert(r)})
	l.bytes += size
	return nil
}

// check refuses what the table cannot take, whatever its values.
func (l *loader) check(r Row) error {
	if len(r.Columns) == 0 {
		return errors.New("the row is empty")
	}
	seen := map[string]bool{}
	for i, c := range r.Columns {
		name, ok := l.names[strings.ToLower(c)]
		switch {
		case !ok:
			return l.Table.Unknown(c)
		case seen[name]:
			return fmt.Errorf("column %s is there twice", c)
		}
		seen[name] = true
		r.Columns[i] = name
	}
	return nil
}

// Unknown says that a table has no such column to write.
func (t Table) Unknown(column string) error {
	for _, c := range t.Computed {
		if strings.EqualFold(c, column) {
			return fmt.Errorf("column %s of table %s is computed: leave it out", column, t.Name)
		}
	}
	return fmt.Errorf("table %s has no column %s (it has %s)", t.Name, column, strings.Join(t.Columns, ", "))
}

// upsert is the statement that makes a row be there as it is.
func (l *loader) upsert(r Row) Statement {
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s (%s) VALUES (?%s)", schema.Quote(l.Table.Name), quoteAll(r.Columns), strings.Repeat(", ?", len(r.Columns)-1))
	if len(l.Table.Key) == 0 {
		return Statement{b.String(), r.Values}
	}
	fmt.Fprintf(&b, " ON CONFLICT (%s) DO ", quoteAll(l.Table.Key))
	sep := "UPDATE SET "
	for _, c := range r.Columns {
		if !contains(l.Table.Key, c) {
			b.WriteString(sep + schema.Quote(c) + " = excluded." + schema.Quote(c))
			sep = ", "
		}
	}
	if sep == "UPDATE SET " {
		b.WriteString("NOTHING")
	}
	return Statement{b.String(), r.Values}
}

func (l *loader) flush(ctx context.Context, src Source) error {
	err := l.write(ctx, l.batch)
	clear(l.batch)
	l.batch, l.bytes = l.batch[:0], 0
	if l.Progress != nil {
		l.Progress(l.counts, src.Part())
	}
	return err
}

// write writes a batch. One that is refused is cut in half until what is to
// blame stands alone.
func (l *loader) write(ctx context.Context, batch []placed) error {
	if len(batch) == 0 {
		return nil
	}
	stmts := make([]Statement, len(batch))
	for i, p := range batch {
		stmts[i] = p.Statement
	}
	changed, err := l.Write(ctx, stmts)
	var refused *RefusedError
	switch {
	case err == nil:
		l.counts.Written += int64(len(batch))
		l.counts.Changed += changed
		return nil
	case !errors.As(err, &refused):
		return fmt.Errorf("write the rows from %s on: %w", batch[0].place, err)
	case len(batch) == 1:
		return l.refuse(batch[0].place, refused.Err)
	}
	half := len(batch) / 2
	if err := l.write(ctx, batch[:half]); err != nil {
		return err
	}
	return l.write(ctx, batch[half:])
}

func (l *loader) refuse(place string, err error) error {
	l.counts.Refused++
	l.Refused(place, err)
	if l.counts.Refused > l.MaxRefused {
		return fmt.Errorf("%w: more than %d", ErrTooManyRefused, l.MaxRefused)
	}
	return nil
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

func quoteAll(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = schema.Quote(n)
	}
	return strings.Join(out, ", ")
}
