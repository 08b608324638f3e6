package runner

import (
	"context"
	"errors"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/store"
)

const (
	restampRows  = 200         // rows written again at one time
	collectEvery = time.Minute // between two collections
	collectRows  = 500         // tombstones of one transaction
	confirmEvery = time.Second // between two looks at what is confirmed
)

// closingStep is what the core wants done next about a closing: rows written
// again, or, if a writer is named, the closing of what is earlier than it.
type closingStep struct{ close record.Writer }

// closeEarlier does the steps of a closing, as the core asks for them.
func (r *Runner) closeEarlier(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case step := <-r.closes:
			r.tell(r.closingStep(ctx, step))
		}
	}
}

func (r *Runner) closingStep(ctx context.Context, step closingStep) replica.Event {
	if step.close.IsZero() {
		left, err := r.cfg.Store.Restamp(ctx, restampRows)
		if errors.Is(err, store.ErrUnsupported) {
			return replica.Restamped{Unsupported: true}
		}
		if err != nil {
			r.closingFailed(ctx, err)
		}
		return replica.Restamped{Left: left, Failed: err != nil}
	}
	if !r.cfg.Confirmed() { // it may have changed while rows were written
		return replica.ClosedEarlier{Failed: true}
	}
	c, err := r.cfg.Store.CloseEarlier(ctx, step.close)
	if err != nil {
		r.closingFailed(ctx, err)
		return replica.ClosedEarlier{Failed: true}
	}
	if c.Point.Version > 0 {
		r.cfg.Logger.Info("closed the earlier starts of this node", "writer", c.Point.Writer.String(), "version", uint64(c.Point.Version))
	}
	return replica.ClosedEarlier{}
}

func (r *Runner) closingFailed(ctx context.Context, err error) {
	if ctx.Err() == nil && r.warn.Allow() {
		r.cfg.Logger.Warn("close earlier starts of this node; will try again", "err", err)
	}
}

// take hands pages of listings to the store, one at a time.
func (r *Runner) take(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-r.takes:
			err := r.cfg.Store.TakeListing(ctx, ListingPage(p))
			if err != nil && ctx.Err() == nil && r.warn.Allow() {
				r.cfg.Logger.Warn("take a listing; will ask again", "err", err)
			}
			r.tell(replica.TookPage{Failed: err != nil})
		}
	}
}

// keep collects tombstones now and then, and tells the core whether the rows
// of this node are confirmed.
func (r *Runner) keep(ctx context.Context) {
	collect, confirm := time.NewTicker(collectEvery), time.NewTicker(confirmEvery)
	defer collect.Stop()
	defer confirm.Stop()
	confirmed := r.cfg.Confirmed()
	for {
		select {
		case <-ctx.Done():
			return
		case <-confirm.C:
			if now := r.cfg.Confirmed(); now != confirmed {
				confirmed = now
				r.tell(replica.Confirmed{Yes: now})
			}
		case <-collect.C:
			if !r.collect(ctx) {
				collect.Stop()
			}
		}
	}
}

// collect drops what may be dropped, and reports whether to go on doing so.
func (r *Runner) collect(ctx context.Context) bool {
	for ctx.Err() == nil {
		c, err := r.cfg.Store.Collect(ctx, r.cfg.Ages, collectRows)
		switch {
		case errors.Is(err, store.ErrUnsupported), errors.Is(err, store.ErrClosed):
			return false
		case err != nil && ctx.Err() == nil:
			r.cfg.Logger.Warn("collect tombstones; will try again", "err", err)
			return true
		}
		r.collected.Add(uint64(c.Tombstones))
		r.forgotten.Add(uint64(c.Writers))
		if c.Tombstones < collectRows {
			return true
		}
	}
	return false
}

// members names those whom the mesh knows.
func (r *Runner) members() replica.Members {
	var out []record.Node
	for _, p := range r.cfg.Mesh.Peers() {
		out = append(out, p.Node)
	}
	return replica.Members{Nodes: out}
}
