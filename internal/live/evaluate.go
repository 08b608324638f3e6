package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// evaluate looks at the result, or at the rows of some keys, and tells what
// changed.
func (w *Watch) evaluate(ctx context.Context, keys map[record.Key]struct{}, all bool) error {
	w.mu.Lock()
	first := w.rows == nil
	p, plan := w.progress, w.plan
	w.mu.Unlock()
	if first {
		if err := w.load(); err != nil {
			return err
		}
	}
	s := step{progress: p, position: w.e.reached()}
	var err error
	if all || first || plan.point == nil {
		w.e.metrics.looks.WithLabelValues("query").Inc()
		err = w.whole(ctx, plan, &s)
	} else {
		w.e.metrics.looks.WithLabelValues("rows").Inc()
		err = w.some(ctx, plan, keys, &s)
	}
	if err != nil {
		return err
	}
	if n := len(w.rows) + s.rows; n > w.e.cfg.MaxRows {
		return w.tooMany(n)
	}
	if err := w.e.room(s.bytes); err != nil {
		return err
	}
	if len(s.changes) > 0 || s.initial != nil {
		if s.progress, err = w.e.book().write(w.id, s); err != nil {
			w.e.bytes.Add(int64(-s.bytes))
			return err
		}
	} else if !first {
		return nil
	}
	w.e.metrics.changes.Add(float64(len(s.changes)))
	w.publish(s)
	return nil
}

// load reads what the watch knew before it rested.
func (w *Watch) load() error {
	rows, err := w.e.book().rows(w.id)
	if err != nil {
		return err
	}
	n := 0
	for identity, r := range rows {
		n += weight(identity, r.Cells)
	}
	if err := w.e.room(n); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil { // it was forgotten meanwhile
		w.e.bytes.Add(int64(-n))
		return w.err
	}
	w.rows, w.bytes = rows, n
	return nil
}

// weight is what a row costs in memory, about.
func weight(identity string, cells []record.Value) int { return 128 + len(identity) + sizeOf(cells) }

// found is one row of the result.
type found struct {
	identity string
	cells    store.Row
}

// queryError is the store's refusal of a query: the schema is another one now,
// or the query fails on the rows that there are.
type queryError struct{ err error }

func (e *queryError) Error() string { return e.err.Error() }

func (e *queryError) Unwrap() error { return e.err }

// run asks the store, and gives every row its identity.
func (w *Watch) run(ctx context.Context, p *plan, sql string, extra int, args []record.Value) ([]found, error) {
	var out []found
	seen := map[string]int{}
	width := len(p.columns)
	limit := w.e.cfg.MaxRows
	_, err := w.e.cfg.DB.Query(ctx, query(sql, args), func(columns []string, r store.Row) error {
		if r == nil {
			if len(columns) != width+extra || !slices.Equal(columns[:width], p.columns) {
				return fmt.Errorf("its columns are %v now", columns) // places would name others
			}
			return nil
		}
		if len(out) == limit {
			return w.tooMany(limit + 1)
		}
		id := identityOf(p.identity(r))
		n := seen[id]
		if seen[id] = n + 1; n > 0 {
			id = fmt.Sprintf("%s#%d", id, n)
		}
		out = append(out, found{id, r[:width:width]})
		return nil
	})
	var over *sqlite.LimitError
	switch {
	case err == nil, ctx.Err() != nil, errors.Is(err, store.ErrClosed), errors.Is(err, ErrTooLarge):
		return out, err
	case errors.As(err, &over):
		return nil, fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return nil, &queryError{err}
}

func (w *Watch) tooMany(n int) error {
	return fmt.Errorf("%w: it has %d rows or more, and may have %d; watch a narrower query", ErrTooLarge, n, w.e.cfg.MaxRows)
}

// identity returns the values by which a row is told apart.
func (p *plan) identity(r store.Row) []record.Value {
	if p.whole {
		return r[:len(p.columns)]
	}
	out := make([]record.Value, len(p.ids))
	for i, at := range p.ids {
		out[i] = r[at]
	}
	return out
}

// whole compares the whole result with what is known.
func (w *Watch) whole(ctx context.Context, p *plan, s *step) error {
	rows, err := w.run(ctx, p, p.sql, p.extra, p.args)
	if err != nil {
		return err
	}
	if w.isNew() {
		s.initial = make(map[string]*Row, len(rows))
		for _, f := range rows {
			s.progress.row++
			s.initial[f.identity] = &Row{s.progress.row, f.cells}
			s.bytes += weight(f.identity, f.cells)
		}
		return nil
	}
	there := make(map[string]bool, len(rows))
	for _, f := range rows {
		there[f.identity] = true
	}
	var gone []string
	for id := range w.rows {
		if !there[id] {
			gone = append(gone, id)
		}
	}
	w.compare(s, gone, rows)
	return nil
}

// isNew reports whether the watch never told anything.
func (w *Watch) isNew() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fresh
}

// some compares the rows of a few keys with what is known. A query with a
// point has the table's key for its rows' identity.
func (w *Watch) some(ctx context.Context, p *plan, keys map[record.Key]struct{}, s *step) error {
	args := slices.Clone(p.args)
	asked := make([]string, 0, len(keys))
	for k := range keys {
		cols, err := k.Columns()
		if err != nil {
			return err
		}
		asked = append(asked, identityOf(cols))
		args = append(args, cols...)
	}
	rows, err := w.run(ctx, p, p.point.sql(len(keys)), len(p.point.key), args)
	if err != nil {
		return err
	}
	var gone []string
	for _, id := range asked {
		_, known := w.rows[id]
		if known && !slices.ContainsFunc(rows, func(f found) bool { return f.identity == id }) {
			gone = append(gone, id)
		}
	}
	w.compare(s, gone, rows)
	return nil
}

// compare adds the changes to s: first what is gone, then what is new or
// otherwise, in the order of the query. It reads w.rows, which only this
// evaluator writes.
func (w *Watch) compare(s *step, gone []string, rows []found) {
	add := func(kind Kind, identity string, r Row) {
		s.progress.last++
		s.changes = append(s.changes, Change{s.progress.last, kind, r})
		s.identity = append(s.identity, identity)
	}
	slices.SortFunc(gone, func(a, b string) int { return cmp.Compare(w.rows[a].ID, w.rows[b].ID) })
	for _, id := range gone {
		r := w.rows[id]
		s.bytes -= weight(id, r.Cells)
		s.rows--
		add(Delete, id, *r)
	}
	for _, f := range rows {
		r, known := w.rows[f.identity]
		if known && slices.EqualFunc(r.Cells, f.cells, record.Value.Equal) {
			continue
		}
		s.bytes += weight(f.identity, f.cells)
		if known {
			s.bytes -= weight(f.identity, r.Cells)
			add(Update, f.identity, Row{r.ID, f.cells})
			continue
		}
		s.progress.row++
		s.rows++
		add(Insert, f.identity, Row{s.progress.row, f.cells})
	}
}
