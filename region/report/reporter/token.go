package reporter

import (
	"context"
	"slices"
	"time"
)

// token is one that a global node asked with.
type token struct {
	global int
	token  uint64
	came   time.Time
}

// ask notes a token. A newer one of the same global node replaces it, so there
// are never more than global nodes.
func (r *Reporter) ask(t token) {
	r.mu.Lock()
	r.asked = append(slices.DeleteFunc(r.asked, func(o token) bool { return o.global == t.global }), t)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default: // it is awake
	}
}

func (r *Reporter) takeAsked() []token {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := r.asked
	r.asked = nil
	return asked
}

// catchUp answers tokens: each is answered from a state that holds whatever the
// region's live members had when it came. One wait serves all that came before
// it began.
func (r *Reporter) catchUp(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		}
		asked := r.takeAsked()
		if len(asked) == 0 || !r.active.Load() {
			continue // whoever does not report confirms nothing
		}
		if !r.cfg.View.Fit() || !r.caughtUp(ctx) {
			r.metrics.unconfirm.Add(float64(len(asked)))
			continue
		}
		select {
		case r.answer <- asked:
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *Reporter) caughtUp(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, catchUpIn)
	defer cancel()
	if err := r.cfg.View.WaitCaughtUp(ctx); err != nil {
		r.cfg.Logger.Debug("not caught up for a confirmation", "err", err)
		return false
	}
	return r.cfg.View.Fit()
}
