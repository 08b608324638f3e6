package ledger

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/region/machine"
	"github.com/firebreak-dev/firebreak/region/table"
)

// endsPerPart bounds one changeset of ends: each is a row and its health.
const endsPerPart = record.MaxRecords / 2

// Withdraw ends machines of this worker and returns the ids that it does not
// have. A machine that ended before stays as it is, but a destroy is noted.
func (l *Ledger) Withdraw(ctx context.Context, ids []fleet.MachineID, why claim.Why) (out Written, unknown []fleet.MachineID, err error) {
	done, err := l.begin(ctx)
	if err != nil {
		return out, nil, err
	}
	defer done()
	unknown, err = l.end(ctx, ids, why, &out)
	return out, unknown, err
}

// end writes ends, in parts.
func (l *Ledger) end(ctx context.Context, ids []fleet.MachineID, why claim.Why, out *Written) (unknown []fleet.MachineID, err error) {
	sorted := slices.Compact(slices.Sorted(slices.Values(ids)))
	for part := range slices.Chunk(sorted, endsPerPart) {
		var missing []fleet.MachineID
		err := l.update(ctx, out, func(tx store.Tx) (int, error) {
			missing = nil
			for _, id := range part {
				known, err := l.endOne(tx, id, why)
				if err != nil {
					return 0, err
				}
				if !known {
					missing = append(missing, id)
				}
			}
			return len(part) - len(missing), nil
		})
		if err != nil {
			return unknown, err
		}
		unknown = append(unknown, missing...)
		l.keep(part)
	}
	return unknown, nil
}

func (l *Ledger) endOne(tx store.Tx, id fleet.MachineID, why claim.Why) (known bool, err error) {
	f, err := l.family(tx, id)
	if err != nil || !f.known {
		return false, err
	}
	if !f.live() && (why != claim.Destroyed || f.own.Why == claim.Destroyed) {
		return true, nil
	}
	f.own.State, f.own.Why = claim.Ended, why
	if err := tx.Put(table.Machines, f.own.Row()); err != nil {
		return true, err
	}
	return true, tx.Delete(table.Health, record.Of(string(l.cfg.Worker)), record.Of(string(id)))
}

// ShrinkError refuses a list that would end too much without saying so.
type ShrinkError struct{ Ends, Claims int }

func (e *ShrinkError) Error() string {
	return fmt.Sprintf("the list would end %d of the %d machines of this worker; a list that is empty, or that ends more than half and more than %d, must say allow_shrink", e.Ends, e.Claims, freeEnds)
}

// freeEnds may always end.
const freeEnds = 10

// Reconciled is the answer to a full list.
type Reconciled struct {
	Written Written
	Ended   []fleet.MachineID
	Pending []fleet.MachineID // will end once this node is caught up
}

// waitEnds is how long a reconcile waits to be caught up.
const waitEnds = 2 * time.Second

// Reconcile takes the full list of what runs: it is published, and what is not
// in it ends.
func (l *Ledger) Reconcile(ctx context.Context, list []machine.Input, allowShrink bool) (Reconciled, error) {
	out, ends, err := l.takeList(ctx, list, allowShrink)
	if err != nil || len(ends) == 0 {
		return out, err
	}
	wait, cancel := context.WithTimeout(ctx, waitEnds)
	defer cancel()
	if l.cfg.Peers.CaughtUp(wait) != nil {
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		out.Pending = ends
		return out, nil
	}
	out.Ended, err = l.endPending(ctx, ends, &out.Written)
	return out, err
}

// takeList publishes the list and notes the ends that it implies.
func (l *Ledger) takeList(ctx context.Context, list []machine.Input, allowShrink bool) (out Reconciled, ends []fleet.MachineID, err error) {
	done, err := l.begin(ctx)
	if err != nil {
		return out, nil, err
	}
	defer done()
	claims, err := l.claims(ctx)
	if err != nil {
		return out, nil, err
	}
	total := len(claims)
	for _, in := range list {
		delete(claims, in.Machine.ID)
	}
	n := len(claims)
	if !allowShrink && n > 0 && (len(list) == 0 || n > freeEnds && 2*n > total) {
		return out, nil, &ShrinkError{Ends: n, Claims: total}
	}
	if out.Written, err = l.publishParts(ctx, list); err != nil {
		return out, nil, err
	}
	l.mu.Lock()
	l.pending = claims
	l.mu.Unlock()
	l.cfg.Spoke(nil, true)
	return out, slices.Sorted(maps.Keys(claims)), nil
}

// claims returns what this worker claims.
func (l *Ledger) claims(ctx context.Context) (map[fleet.MachineID]struct{}, error) {
	snap, err := l.cfg.Store.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	out := map[fleet.MachineID]struct{}{}
	err = snap.Scan(table.Machines, store.Row{record.Of(string(l.cfg.Worker))}, func(row store.Row, _ record.Point, _ int64) error {
		m, err := table.MachineOf(row)
		if m.State != claim.Ended {
			out[m.ID] = struct{}{}
		}
		return err
	})
	return out, err
}

// endPending ends those of ids whose end still waits: a machine that was
// published since the list, or listed since, is left alone.
func (l *Ledger) endPending(ctx context.Context, ids []fleet.MachineID, out *Written) ([]fleet.MachineID, error) {
	done, err := l.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	l.mu.Lock()
	ids = slices.DeleteFunc(slices.Clone(ids), func(id fleet.MachineID) bool { _, ok := l.pending[id]; return !ok })
	l.mu.Unlock()
	if len(ids) == 0 {
		return nil, nil
	}
	_, err = l.end(ctx, ids, claim.Withdrawn, out)
	return ids, err
}

// Pending returns the ends that wait until this node is caught up.
func (l *Ledger) Pending() []fleet.MachineID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.pending))
}

// EndPending makes the ends that wait, if this node is caught up.
func (l *Ledger) EndPending(ctx context.Context) error {
	ids := l.Pending()
	if len(ids) == 0 {
		return nil
	}
	if err := l.cfg.Peers.CaughtUp(ctx); err != nil {
		return err
	}
	_, err := l.endPending(ctx, ids, &Written{})
	return err
}
