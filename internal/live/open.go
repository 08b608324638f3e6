package live

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
)

// textOf is what makes two watches the same.
func textOf(sql string, args []record.Value) string { return sql + "\x00" + identityOf(args) }

func hashOf(sql string, args []record.Value) string {
	sum := sha256.Sum256([]byte(textOf(sql, args)))
	return hex.EncodeToString(sum[:8])
}

// Open returns the watch of a query, a new one if there is none. The caller
// releases it.
func (e *Engine) Open(ctx context.Context, sql string, args []record.Value) (*Watch, error) {
	return e.open(ctx, sql, args, true)
}

// Existing is Open for a query that must be known: ErrUnknown if it is not.
func (e *Engine) Existing(ctx context.Context, sql string, args []record.Value) (*Watch, error) {
	return e.open(ctx, sql, args, false)
}

func (e *Engine) open(ctx context.Context, sql string, args []record.Value, create bool) (*Watch, error) {
	stmt, _, err := sqltext.Single(strings.TrimSpace(sql))
	stmt = strings.TrimSpace(stmt)
	if err != nil {
		return nil, &RefusedError{err.Error()}
	}
	if err := e.wait(ctx); err != nil {
		return nil, err
	}
	if w := e.use(func() *Watch { return e.byText[textOf(stmt, args)] }); w != nil {
		return w, e.wake(ctx, w)
	}
	if !create {
		return nil, ErrUnknown
	}
	p, err := e.newPlan(ctx, stmt, args)
	if err != nil {
		e.metrics.refused.Inc()
		return nil, err
	}
	w, err := e.add(stmt, args, p)
	if err != nil {
		return nil, err
	}
	return w, e.wake(ctx, w)
}

// Find returns the watch with an id: ErrUnknown if there is none. The caller
// releases it.
func (e *Engine) Find(ctx context.Context, id uuid.UUID) (*Watch, error) {
	if err := e.wait(ctx); err != nil {
		return nil, err
	}
	w := e.use(func() *Watch { return e.byID[id] })
	if w == nil {
		return nil, ErrUnknown
	}
	return w, e.wake(ctx, w)
}

func (e *Engine) wait(ctx context.Context) error {
	select {
	case <-e.stopped:
		return ErrStopping
	case <-e.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// use counts one more reader of the watch that find returns. One that has
// ended is forgotten.
func (e *Engine) use(find func() *Watch) *Watch {
	e.mu.Lock()
	w := find()
	ended := false
	if w != nil {
		w.mu.Lock()
		if ended = w.err != nil; !ended {
			w.readers++
		}
		w.mu.Unlock()
	}
	e.mu.Unlock()
	if ended {
		e.forget(w)
		return nil
	}
	return w
}

// add makes a watch that rests, unless somebody else was faster.
func (e *Engine) add(sql string, args []record.Value, p *plan) (*Watch, error) {
	w := &Watch{
		e: e, id: uuid.New(), hash: hashOf(sql, args), sql: sql, args: args, plan: p,
		resting: true, fresh: true, readers: 1, used: e.cfg.Now(), progress: progress{from: 1}, more: make(chan struct{}),
	}
	text := textOf(sql, args)
	if o := e.use(func() *Watch { return e.byText[text] }); o != nil {
		return o, nil
	}
	if err := e.makeRoom(); err != nil {
		return nil, err
	}
	if err := e.book().define(w.id, w.definition()); err != nil {
		return nil, fmt.Errorf("watch journal: %w", err)
	}
	e.mu.Lock()
	o := e.byText[text]
	if o == nil {
		e.byID[w.id], e.byText[text] = w, w
	} else { // it may have ended already: then its readers are told why
		o.mu.Lock()
		o.readers++
		o.mu.Unlock()
	}
	e.mu.Unlock()
	if o != nil {
		return o, e.book().drop(w.id)
	}
	return w, nil
}

func (w *Watch) definition() definition {
	var b []byte
	for _, v := range w.args {
		b = record.AppendValue(b, v)
	}
	return definition{SQL: w.sql, Args: b}
}

// wake has a resting watch followed again. If it cannot be, its reader is
// released.
func (e *Engine) wake(ctx context.Context, w *Watch) error {
	w.mu.Lock()
	resting, p := w.resting, w.plan
	w.mu.Unlock()
	if !resting {
		return nil
	}
	if p == nil {
		var err error
		if p, err = e.newPlan(ctx, w.sql, w.args); err != nil {
			w.Release()
			var r *RefusedError
			if errors.As(err, &r) {
				e.forget(w) // the schema is another one now
				return fmt.Errorf("%w: %w", ErrUnknown, err)
			}
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.resting {
		return nil // somebody else was faster
	}
	w.plan, w.resting, w.ready, w.all, w.coarse = p, false, false, true, false
	w.anew = p.schema != e.cfg.DB.SchemaVersion()
	e.index.add(w)
	w.schedule()
	return nil
}

const tidyEvery = 5 * time.Second

// tidy lets watches rest that nobody reads, and forgets old ones and those
// that ended.
func (e *Engine) tidy(ctx context.Context) error {
	for backoff.Wait(ctx, tidyEvery) == nil {
		e.sweep()
	}
	return nil
}

func (e *Engine) sweep() {
	now := e.cfg.Now()
	var old []*Watch
	active := 0
	e.mu.Lock()
	for _, w := range e.byID {
		w.mu.Lock()
		switch idle := now.Sub(w.used); {
		case w.err != nil && !errors.Is(w.err, ErrStopping):
			old = append(old, w)
		case w.readers > 0:
		case w.resting && idle > e.cfg.Retain:
			old = append(old, w)
		case !w.resting && idle > e.cfg.Linger && !w.running:
			e.rest(w)
		}
		if !w.resting {
			active++
		}
		w.mu.Unlock()
	}
	total := len(e.byID)
	e.mu.Unlock()
	e.metrics.watches.WithLabelValues("followed").Set(float64(active))
	e.metrics.watches.WithLabelValues("resting").Set(float64(total - active))
	for _, w := range old {
		e.forget(w)
	}
}

// rest stops following w. Called with e.mu and w.mu held.
func (e *Engine) rest(w *Watch) {
	e.index.remove(w)
	e.bytes.Add(int64(-w.bytes))
	w.resting, w.ready, w.rows, w.bytes, w.recent, w.size, w.dirty, w.all, w.snap = true, false, nil, 0, nil, 0, nil, false, nil
	w.plan = nil // the schema may change
}

// forget ends w for good, unless somebody came to read it.
func (e *Engine) forget(w *Watch) {
	e.mu.Lock()
	w.mu.Lock()
	inUse := w.readers > 0 && w.err == nil
	var old *result
	if !inUse {
		old = e.strike(w, ErrUnknown)
	}
	w.mu.Unlock()
	e.mu.Unlock()
	e.shelf.outdate(old)
	if inUse {
		return
	}
	if err := e.book().drop(w.id); err != nil {
		e.cfg.Logger.Warn("a forgotten watch stays in the journal", "err", err)
	}
}

// makeRoom forgets the watch that has been without readers for longest, if
// there are as many as may be.
func (e *Engine) makeRoom() error {
	e.mu.Lock()
	var oldest *Watch
	var since time.Time
	full := len(e.byID) >= e.cfg.Watches
	if full {
		for _, w := range e.byID {
			w.mu.Lock()
			if w.readers == 0 && (oldest == nil || w.used.Before(since)) {
				oldest, since = w, w.used
			}
			w.mu.Unlock()
		}
	}
	e.mu.Unlock()
	switch {
	case !full:
		return nil
	case oldest == nil:
		return fmt.Errorf("%w: %d, all of them read", ErrTooMany, e.cfg.Watches)
	}
	e.forget(oldest)
	return nil
}
