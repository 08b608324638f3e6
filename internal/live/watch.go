package live

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// Watch is a query whose result is followed: one for all who ask the same
// query with the same parameters. It rests while nobody reads it; what
// happened meanwhile becomes changes when somebody comes back.
type Watch struct {
	e    *Engine
	id   uuid.UUID
	hash string
	sql  string
	args []record.Value

	mu       sync.Mutex
	readers  int
	resting  bool // not followed; rows are in the journal
	ready    bool // the first look since it was woken is done
	fresh    bool // it never told anything
	err      error
	used     time.Time // when the last reader left
	plan     *plan
	rows     map[string]*Row // by identity; written by publish alone, which one evaluator calls
	bytes    int             // of rows
	progress progress
	recent   []Change // the last ones; never written to again
	size     int      // their bytes
	more     chan struct{}
	dirty    map[record.Key]struct{}
	all      bool          // the whole query must be looked at
	late     bool          // its last look was over the limit of time
	anew     bool          // the schema changed since its plan was made
	running  bool          // an evaluator has it, or it waits for one
	earliest time.Time     // of the next look at the whole query
	cost     time.Duration // of the last one
	snap     *result       // for readers of snapshots; nil if none came since the last change

	coarse bool // in the index with its tables alone; owned by e.mu
}

// ID returns the watch's id, which survives restarts.
func (w *Watch) ID() uuid.UUID { return w.id }

// Is reports whether it is the watch of a query.
func (w *Watch) Is(sql string, args []record.Value) bool {
	stmt, _, err := sqltext.Single(strings.TrimSpace(sql))
	return err == nil && textOf(strings.TrimSpace(stmt), args) == textOf(w.sql, w.args)
}

// Hash returns 16 hex digits of the query and its parameters.
func (w *Watch) Hash() string { return w.hash }

// Columns returns what the query selects.
func (w *Watch) Columns() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.plan.columns
}

// wait returns once cond, which is called with w.mu held, is true.
func (w *Watch) wait(ctx context.Context, cond func() bool) error {
	for {
		w.mu.Lock()
		done, err, more := cond(), w.err, w.more
		w.mu.Unlock()
		switch {
		case err != nil:
			return err
		case done:
			return nil
		}
		select {
		case <-more:
		case <-w.e.stopped:
			return ErrStopping
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Next waits for changes after one, and returns some of them, in order.
// ErrFuture says that there is no such change, ErrBehind that what followed it
// is no longer kept.
func (w *Watch) Next(ctx context.Context, after uint64) ([]Change, error) {
	if err := w.wait(ctx, func() bool { return w.ready && after != w.progress.last }); err != nil {
		return nil, err
	}
	w.mu.Lock()
	p, recent := w.progress, w.recent
	w.mu.Unlock()
	switch {
	case after > p.last:
		return nil, fmt.Errorf("%w: %d is after %d, the last", ErrFuture, after, p.last)
	case after+1 < p.from:
		return nil, fmt.Errorf("%w: %d is before %d, the oldest", ErrBehind, after+1, p.from)
	case len(recent) > 0 && after+1 >= recent[0].ID:
		return recent[after+1-recent[0].ID:], nil
	}
	out, err := w.e.book().read(w.id, after, maxRead)
	if err == nil && (len(out) == 0 || out[0].ID != after+1) {
		err = fmt.Errorf("%w: %d", ErrBehind, after+1)
	}
	return out, err
}

// Check reports at once whether Next could go on after a change.
func (w *Watch) Check(ctx context.Context, after uint64) error {
	if err := w.wait(ctx, func() bool { return w.ready }); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case after > w.progress.last:
		return fmt.Errorf("%w: %d is after %d, the last", ErrFuture, after, w.progress.last)
	case after+1 < w.progress.from:
		return fmt.Errorf("%w: %d is before %d, the oldest", ErrBehind, after+1, w.progress.from)
	}
	return nil
}

// Release ends one reader's use.
func (w *Watch) Release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.readers--
	w.used = w.e.cfg.Now()
}

// mark notes that something changed: a key, or with none the whole query.
func (w *Watch) mark(key record.Key, whole bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.resting || w.err != nil {
		return
	}
	if whole || w.plan.point == nil || len(w.dirty) >= maxDirty {
		w.all, w.dirty = true, nil
	} else if !w.all {
		if w.dirty == nil {
			w.dirty = map[record.Key]struct{}{}
		}
		w.dirty[key] = struct{}{}
	}
	w.schedule()
}

// schedule hands the watch to an evaluator, now or when its turn comes. Called
// with w.mu held.
func (w *Watch) schedule() {
	if w.running {
		return
	}
	w.running = true
	q := w.queue()
	if d := w.earliest.Sub(w.e.cfg.Now()); d > 0 && w.all && !w.anew {
		time.AfterFunc(d, func() { q.push(w) })
		return
	}
	q.push(w)
}

func (w *Watch) belongs() *queue {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.queue()
}

// queue is where the watch waits for its next look. Called with w.mu held.
func (w *Watch) queue() *queue {
	switch {
	case !w.all && w.ready:
		return w.e.points
	case w.cost > slow:
		return w.e.heavy
	case w.plan.point != nil && w.plan.point.match != nil:
		return w.e.points
	}
	return w.e.queries
}

// look brings the watch up to date. Only one evaluator has it at a time.
func (w *Watch) look(ctx context.Context) {
	w.mu.Lock()
	keys, all, anew := w.dirty, w.all, w.anew
	w.dirty, w.all, w.anew = nil, false, false
	w.mu.Unlock()
	start := time.Now()
	var err error
	if anew {
		err = w.replan(ctx)
	}
	if err == nil {
		err = w.evaluate(ctx, keys, all)
	}
	if refusal := (*queryError)(nil); errors.As(err, &refusal) {
		err = w.again(ctx, refusal)
	}
	cost := time.Since(start)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = false
	if over := (*sqlite.LimitError)(nil); errors.As(err, &over) && over.What == "time" && w.ready && !w.late {
		w.late, w.all, w.anew, err = true, true, w.anew || anew, nil // once it may be the machine's fault
		all = true
	} else if err == nil {
		w.late = false
	}
	if err != nil && w.err == nil {
		if ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
			err = ErrStopping
		}
		w.fail(err)
		return
	}
	if all {
		// A query may take a tenth of one processor, and no more.
		w.cost, w.earliest = cost, w.e.cfg.Now().Add(min(9*cost, maxPause))
	}
	if w.all || len(w.dirty) > 0 {
		w.schedule()
	}
}

// fail ends the watch for all its readers. Called with w.mu held.
func (w *Watch) fail(err error) {
	w.err = err
	close(w.more)
	w.more = make(chan struct{})
}

// publish makes a step that is in the journal visible.
func (w *Watch) publish(s step) { w.e.shelf.outdate(w.show(s)) }

// show returns the result that readers may still read, if it is another now.
func (w *Watch) show(s step) (old *result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil { // it was forgotten meanwhile, with the rows that it had
		w.e.bytes.Add(int64(-s.bytes))
		return nil
	}
	for identity, r := range s.initial {
		w.rows[identity] = r
	}
	if len(s.changes) > 0 {
		old, w.snap = w.snap, nil
	}
	for i, c := range s.changes {
		if c.Kind == Delete {
			delete(w.rows, s.identity[i])
		} else {
			w.rows[s.identity[i]] = &Row{c.Row.ID, c.Row.Cells}
		}
	}
	w.bytes += s.bytes
	w.progress, w.ready, w.fresh = s.progress, true, false
	w.recent = append(w.recent, s.changes...)
	for _, c := range s.changes {
		w.size += c.size()
	}
	drop := 0
	for drop < len(w.recent) && (len(w.recent)-drop > maxRecent || w.size > maxRecentSize) {
		w.size -= w.recent[drop].size()
		drop++
	}
	w.recent = w.recent[drop:]
	close(w.more)
	w.more = make(chan struct{})
	return old
}
