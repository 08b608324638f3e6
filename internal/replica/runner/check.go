package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// check sums rows when the core asks for it, at most one time at once.
func (r *Runner) check(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.checks:
			out, err := CheckRows(ctx, r.cfg.Store.Snapshot)
			if err != nil && ctx.Err() == nil && r.warn.Allow() {
				level := slog.LevelWarn
				if out.Damaged {
					level = slog.LevelError
				}
				r.cfg.Logger.Log(ctx, level, "sum the shared and ranked rows of this node", "err", err)
			}
			r.tell(out)
		}
	}
}

// CheckRows sums the shared and ranked rows of a snapshot, as a listing of them
// would. The error says what is damaged, or why it cannot be told.
func CheckRows(ctx context.Context, open func(context.Context) (store.Snapshot, error)) (replica.Checked, error) {
	snap, err := open(ctx)
	if err != nil {
		return replica.Checked{Failed: true}, fmt.Errorf("open snapshot: %w", err)
	}
	defer func() { _ = snap.Close() }()
	l, err := NewLister(snap, store.Exchange, Plan{Scopes: []store.Scope{{Kind: record.Shared}, {Kind: record.Ranked}}})
	for err == nil && ctx.Err() == nil {
		var p store.ListingPage
		if p, err = l.Page(replica.PageSize); err == nil && p.End != nil {
			return replica.Checked{}, nil
		}
	}
	if err == nil {
		err = ctx.Err()
	}
	damaged := errors.Is(err, store.ErrDamaged)
	return replica.Checked{Damaged: damaged, Failed: !damaged}, err
}
