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
	if all || first {
		w.e.metrics.looks.WithLabelValues("query").Inc()
		err = w.whole(ctx, plan, &s)
	} else {
		w.e.metrics.looks.WithLabelValues("rows").Inc()
		err = w.some(ctx, plan, keys, &s)
	}
	if err != nil {
		return err
	}
	if err := w.e.room(s.bytes); err != nil {
		return err
	}
	if len(s.changes) > 0 || s.initial != nil {
		if s.progress, err = w.e.journal.write(w.id, s); err != nil {
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
	rows, err := w.e.journal.rows(w.id)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rows, w.bytes = rows, 0
	for _, r := range rows {
		w.bytes += sizeOf(r.Cells)
	}
	return nil
}

// found is one row of the result.
type found struct {
	identity string
	cells    store.Row
}

// run asks the store, and gives every row its identity.
func (w *Watch) run(ctx context.Context, p *plan, sql string, args []record.Value) ([]found, error) {
	var out []found
	seen := map[string]int{}
	width := len(p.columns)
	limit := w.e.cfg.MaxRows
	_, err := w.e.cfg.DB.Query(ctx, sqlite.Query{SQL: sql, Args: args}, func(columns []string, r store.Row) error {
		if r == nil {
			if len(columns) < width || !slices.Equal(columns[:width], p.columns) {
				return fmt.Errorf("%w: the columns of the query are %v now", ErrSchema, columns[:min(width, len(columns))])
			}
			return nil
		}
		if len(out) == limit {
			return fmt.Errorf("%w: it has more than %d rows; watch a narrower query", ErrTooLarge, limit)
		}
		id := identityOf(p.identity(r))
		n := seen[id]
		if seen[id] = n + 1; n > 0 {
			id = fmt.Sprintf("%s#%d", id, n)
		}
		out = append(out, found{id, r[:width:width]})
		return nil
	})
	if err != nil && ctx.Err() == nil && isPrepare(err) {
		err = fmt.Errorf("%w: %w", ErrSchema, err)
	}
	return out, err
}

// isPrepare reports whether a query that once was good is refused now: no limit
// was hit, and the store is well.
func isPrepare(err error) bool {
	var limit *sqlite.LimitError
	return !errors.As(err, &limit) && !errors.Is(err, store.ErrClosed) && !errors.Is(err, ErrSchema) && !errors.Is(err, ErrTooLarge)
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
	rows, err := w.run(ctx, p, p.sql, p.args)
	if err != nil {
		return err
	}
	if w.isNew() {
		s.initial = make(map[string]*Row, len(rows))
		for _, f := range rows {
			s.progress.row++
			s.initial[f.identity] = &Row{s.progress.row, f.cells}
			s.bytes += sizeOf(f.cells)
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
	rows, err := w.run(ctx, p, p.point.sql(len(keys)), args)
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
		s.bytes -= sizeOf(r.Cells)
		add(Delete, id, *r)
	}
	for _, f := range rows {
		r, known := w.rows[f.identity]
		if known && slices.EqualFunc(r.Cells, f.cells, record.Value.Equal) {
			continue
		}
		s.bytes += sizeOf(f.cells)
		if known {
			s.bytes -= sizeOf(r.Cells)
			add(Update, f.identity, Row{r.ID, f.cells})
			continue
		}
		s.progress.row++
		add(Insert, f.identity, Row{s.progress.row, f.cells})
	}
}
