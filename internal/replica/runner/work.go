package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// States converts a store's view of its writers to the core's.
func States(ws []store.WriterState) []replica.State {
	out := make([]replica.State, len(ws))
	for i, w := range ws {
		out[i] = replica.State{Writer: w.Writer, Received: w.Received, Fingerprints: w.Fingerprints}
	}
	return out
}

// Boots converts a store's view of nodes to the core's.
func Boots(ns []store.NodeState) []replica.Boots {
	out := make([]replica.Boots, len(ns))
	for i, n := range ns {
		out[i] = replica.Boots(n)
	}
	return out
}

// Entries converts feed entries to the core's.
func Entries(es []store.Entry) []replica.Entry {
	out := make([]replica.Entry, len(es))
	for i, e := range es {
		out[i] = replica.Entry{Local: e.Local, States: States(e.States), Boots: Boots(e.Nodes), Forgotten: e.Forgotten}
	}
	return out
}

// Outcomes converts a store's outcomes to the core's.
func Outcomes(os []store.Outcome) []replica.Outcome {
	out := make([]replica.Outcome, len(os))
	for i, o := range os {
		switch o.Status {
		case store.Applied:
			out[i] = replica.Taken
		case store.Duplicate:
			out[i] = replica.Known
		default:
			out[i] = replica.Malformed
		}
	}
	return out
}

// snapshot reads all that was received, and where the feed goes on from there.
func (r *Runner) snapshot(ctx context.Context) (replica.Reloaded, store.Position, error) {
	snap, err := r.cfg.Store.Snapshot(ctx)
	if err != nil {
		return replica.Reloaded{}, store.Position{}, fmt.Errorf("open snapshot: %w", err)
	}
	defer snap.Close()
	all, err := Read(snap)
	return all, snap.Position(), err
}

// Read returns all that a store has received, as a core wants it.
func Read(snap store.Snapshot) (replica.Reloaded, error) {
	ws, err := snap.Writers()
	if err != nil {
		return replica.Reloaded{}, fmt.Errorf("read received sets: %w", err)
	}
	ns, err := snap.Nodes()
	if err != nil {
		return replica.Reloaded{}, fmt.Errorf("read closed and evicted boots: %w", err)
	}
	return replica.Reloaded{States: States(ws), Boots: Boots(ns)}, nil
}

// follow hands the store's feed to the core. After a resync all is read anew.
func (r *Runner) follow(ctx context.Context, feed store.Feed) error {
	owned := map[string]bool{}
	for _, t := range r.cfg.Store.Tables() {
		owned[t.Name] = t.Kind == record.Owned
	}
	for {
		entries, err := feed.Next(ctx)
		if errors.Is(err, store.ErrResync) {
			_ = feed.Close()
			var all replica.Reloaded
			if all, feed, err = r.open(ctx); err != nil {
				return err
			}
			r.cfg.Logger.Warn("fell behind the feed of the store; peers are owed a sync")
			r.tell(all)
			continue
		}
		if err != nil {
			_ = feed.Close()
			return fmt.Errorf("follow feed: %w", err)
		}
		r.announce()
		r.tell(replica.Committed{Entries: Entries(entries)})
		if slices.ContainsFunc(entries, func(e store.Entry) bool {
			return IsOwnTail(r.cfg.Node, e, func(table string) bool { return owned[table] })
		}) {
			r.cfg.OnOwnTail()
		}
	}
}

// announce tells the core and the mesh of a writer that the store took, by
// itself or because it was told to.
func (r *Runner) announce() {
	w := r.cfg.Store.Writer()
	if !r.view.setWriter(w) {
		return
	}
	r.cfg.Logger.Info("an earlier start of this node had a higher boot; took a higher one", "writer", w.String())
	if s, ok := r.cfg.Mesh.(interface{ SetWriter(boot, bits uint64) }); ok {
		s.SetWriter(w.Boot, w.Bits)
	}
	r.tell(replica.Renewed{Writer: w})
}

// open reads all that was received, and opens the feed from there.
func (r *Runner) open(ctx context.Context) (replica.Reloaded, store.Feed, error) {
	all, at, err := r.snapshot(ctx)
	if err != nil {
		return all, nil, err
	}
	feed, err := r.cfg.Store.Feed(at)
	if err != nil {
		return all, nil, fmt.Errorf("open feed: %w", err)
	}
	return all, feed, nil
}

// IsOwnTail reports whether an earlier writer of node, come from a peer,
// changed one of its own rows.
func IsOwnTail(node record.Node, e store.Entry, owned func(table string) bool) bool {
	return e.Local == nil && e.Point.Writer.Node == node &&
		slices.ContainsFunc(e.Changes, func(c store.Change) bool { return owned(c.Table) && c.Point.Writer == e.Point.Writer })
}

// apply offers batches to the store, one at a time.
func (r *Runner) apply(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case batch := <-r.applies:
			out, err := r.cfg.Store.Apply(ctx, batch)
			switch {
			case errors.Is(err, store.ErrClosed):
				return fmt.Errorf("apply %d deliveries: %w", len(batch), err)
			case err != nil:
				if r.warn.Allow() {
					r.cfg.Logger.Warn("apply; will offer again", "deliveries", len(batch), "err", err)
				}
				r.tell(replica.ApplyFailed{})
			default:
				r.tell(replica.Applied{Outcomes: Outcomes(out)})
			}
		}
	}
}

// renew takes a higher boot when the core finds that an earlier writer of this
// node outranks the present one.
func (r *Runner) renew(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case boot := <-r.renews:
			if _, err := r.cfg.Store.Renew(ctx, boot); err != nil {
				r.cfg.Logger.Error("take a higher boot; will try again", "boot", boot, "err", err)
				r.tell(replica.Renewed{})
				continue
			}
			r.announce()
		}
	}
}

// serve reads what peers want, one snapshot each.
func (r *Runner) serve(ctx context.Context) {
	answers := NewAnswers(r.cfg.Store.Snapshot)
	defer answers.Close()
	expire := time.NewTicker(listingIdle)
	defer expire.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-expire.C:
			answers.Expire(now)
		case s := <-r.serves:
			frames, err := answers.Serve(ctx, s, time.Now())
			if err != nil && ctx.Err() == nil && r.warn.Allow() {
				level := slog.LevelWarn
				if errors.Is(err, store.ErrDamaged) {
					level = slog.LevelError // and nothing of it is served
				}
				r.cfg.Logger.Log(ctx, level, "serve a peer", "peer", string(s.To), "err", err)
			}
			for i, f := range frames {
				frames[i] = r.cfg.Packing.Answer(f)
			}
			r.tell(replica.Served{To: s.To, ID: s.ID, Frames: frames})
		}
	}
}
