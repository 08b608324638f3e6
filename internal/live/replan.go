package live

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// replanAll has every plan made anew if the schema changed: a column may have
// come between those that a plan names by their places, or a table may be gone.
// Until that is done a watch looks at every change of its tables.
func (e *Engine) replanAll() {
	version := e.cfg.DB.SchemaVersion()
	e.mu.Lock()
	same := version == e.schema
	e.mu.Unlock()
	if same {
		return // as before every change
	}
	known := map[string]bool{}
	for _, t := range e.cfg.DB.Tables() {
		known[t.Name] = true
	}
	var stale []*Watch
	e.mu.Lock()
	e.schema = version
	for _, w := range e.index.all() {
		if w.plan.schema == version {
			continue
		}
		e.index.remove(w)
		w.coarse = true
		e.index.add(w)
		stale = append(stale, w)
	}
	for table, of := range e.notices {
		for u := range of {
			if !known[table] {
				u.end(fmt.Errorf("%w: table %s is gone", ErrSchema, table))
			}
		}
	}
	e.mu.Unlock()
	for _, w := range stale {
		w.outdate()
	}
}

// outdate has the next look begin with a new plan.
func (w *Watch) outdate() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.resting || w.err != nil {
		return
	}
	w.anew, w.all, w.dirty = true, true, nil
	w.schedule()
}

// replan makes the plan anew. A query that gives other columns now is another
// one to its clients: it ends.
func (w *Watch) replan(ctx context.Context) error {
	p, err := w.e.newPlan(ctx, w.sql, w.args)
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		return fmt.Errorf("%w: %w", ErrSchema, err)
	case err != nil:
		return err
	case !slices.Equal(p.columns, w.Columns()):
		return fmt.Errorf("%w: its columns are %q now", ErrSchema, p.columns)
	}
	w.e.mu.Lock()
	defer w.e.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.e.index.remove(w)
	w.plan, w.coarse = p, false
	w.e.index.add(w)
	return nil
}

// again looks once more at a query that the store refused, if the schema moved
// under its plan. Else some row is to blame: nobody can say what the result is,
// and a watch that showed an old one as if it still held would be wrong.
func (w *Watch) again(ctx context.Context, refusal *queryError) error {
	w.mu.Lock()
	was := w.plan.schema
	w.mu.Unlock()
	err := w.replan(ctx)
	if err != nil {
		return err
	}
	w.mu.Lock()
	moved := w.plan.schema != was
	w.mu.Unlock()
	err = refusal
	if moved {
		err = w.evaluate(ctx, nil, true)
	}
	if errors.As(err, &refusal) {
		return fmt.Errorf("%w: %w", ErrFault, err)
	}
	return err
}
