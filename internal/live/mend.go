package live

import (
	"context"

	"github.com/firebreak-dev/firebreak/internal/backoff"
)

// mend begins the journal anew whenever it is found damaged. Nothing that was
// told before can be gone on with: every watch ends with ErrLost, and its
// readers begin anew.
func (e *Engine) mend(ctx context.Context) error {
	for {
		select {
		case <-e.book().hurt:
		case <-ctx.Done():
			return nil
		}
		err := e.renew()
		if err == nil {
			e.metrics.renewed.Inc()
			e.cfg.Logger.Error("the journal of watches was damaged and is begun anew; look at the disk", "path", e.cfg.Path)
			continue
		}
		e.cfg.Logger.Error("the damaged journal of watches cannot be begun anew yet; no query can be watched", "err", err)
		if backoff.Wait(ctx, tidyEvery) != nil {
			return nil
		}
	}
}

// renew puts an empty journal in the place of the one that is damaged. That is
// never closed: its locks may be held for ever.
func (e *Engine) renew() error {
	j, _, _, err := openJournal(e.cfg.Path, uint64(e.cfg.Keep), e.onLine)
	if err != nil {
		return err
	}
	e.journal.Store(j)
	var old []*result
	e.mu.Lock()
	for _, w := range e.byID {
		w.mu.Lock()
		old = append(old, e.strike(w, ErrLost))
		w.mu.Unlock()
	}
	e.mu.Unlock()
	for _, r := range old {
		e.shelf.outdate(r)
	}
	return nil
}

// strike ends w for good, and returns the result that its readers may still
// read. Called with e.mu and w.mu held.
func (e *Engine) strike(w *Watch, why error) *result {
	if !w.resting {
		e.index.remove(w)
		e.bytes.Add(int64(-w.bytes))
		w.resting, w.bytes = true, 0
	}
	if w.err == nil {
		w.fail(why)
	}
	delete(e.byID, w.id)
	if text := textOf(w.sql, w.args); e.byText[text] == w {
		delete(e.byText, text)
	}
	old := w.snap
	w.snap = nil
	return old
}
