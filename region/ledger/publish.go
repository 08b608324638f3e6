package ledger

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/region/machine"
	"github.com/firebreak-dev/firebreak/region/table"
)

// The bounds of one list.
const (
	MaxList      = 100_000  // machines
	MaxListBytes = 64 << 20 // of their rows
)

// LimitError refuses a list that is over a limit.
type LimitError struct{ Reason string }

func (e *LimitError) Error() string { return e.Reason }

// CheckList refuses a list with an id twice.
func CheckList(list []machine.Input) error {
	at := make(map[fleet.MachineID]int, len(list))
	for i, in := range list {
		if first, ok := at[in.Machine.ID]; ok {
			return fmt.Errorf("machine %d: id %q is there already, as machine %d", i+1, in.Machine.ID, first+1)
		}
		at[in.Machine.ID] = i
	}
	return nil
}

// Publish writes machines as they are described, all of them or none. The list
// must fit into one changeset.
func (l *Ledger) Publish(ctx context.Context, list []machine.Input) (Written, error) {
	if rows := rowsOf(list); rows > record.MaxRecords {
		return Written{}, &LimitError{fmt.Sprintf("%d rows (machines and their health) are over the limit of %d of one publish: send them as a stream", rows, record.MaxRecords)}
	}
	end, err := l.begin(ctx)
	if err != nil {
		return Written{}, err
	}
	defer end()
	var out Written
	return out, l.publish(ctx, list, &out)
}

// PublishList writes a list of any length up to the bounds, in parts.
func (l *Ledger) PublishList(ctx context.Context, list []machine.Input) (Written, error) {
	end, err := l.begin(ctx)
	if err != nil {
		return Written{}, err
	}
	defer end()
	return l.publishParts(ctx, list)
}

// publishParts checks the whole list, then writes it.
func (l *Ledger) publishParts(ctx context.Context, list []machine.Input) (Written, error) {
	var out Written
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b machine.Input) int { return strings.Compare(string(a.Machine.ID), string(b.Machine.ID)) })
	if err := l.rehearse(sorted); err != nil {
		return out, err
	}
	for _, part := range parts(sorted) {
		if err := l.publish(ctx, part, &out); err != nil {
			return out, err
		}
	}
	return out, nil
}

// rehearse finds what a later part would be refused for, before the first is
// written: all else was checked as the list was read.
func (l *Ledger) rehearse(list []machine.Input) error {
	for _, in := range list {
		if in.Machine.State != claim.Starting {
			continue
		}
		rows, _ := l.cfg.Index.Machine(in.Machine.ID)
		runs := slices.ContainsFunc(rows, func(r claim.Row) bool { return r.Place == l.self && r.Claim() })
		if by, gone := claim.DestroyedBy(rows); gone && !runs {
			return &DestroyedError{ID: in.Machine.ID, By: by.Place.Worker}
		}
	}
	return nil
}

func (l *Ledger) publish(ctx context.Context, part []machine.Input, out *Written) error {
	ids := make([]fleet.MachineID, len(part))
	err := l.update(ctx, out, func(tx store.Tx) (int, error) {
		for i, in := range part {
			ids[i] = in.Machine.ID
			m, err := l.row(tx, in)
			if err == nil {
				err = tx.Put(table.Machines, m.Row())
			}
			if err == nil && in.Health != 0 {
				err = l.putHealth(tx, table.HealthRow{ID: m.ID, Status: in.Health})
			}
			if err != nil {
				return 0, err
			}
		}
		return rowsOf(part), nil
	})
	if err != nil {
		return err
	}
	l.keep(ids)
	l.cfg.Spoke(ids, false)
	return nil
}

// row is the row to write for what the daemon says runs.
func (l *Ledger) row(tx store.Tx, in machine.Input) (table.Machine, error) {
	m := in.Machine
	f, err := l.family(tx, m.ID)
	if err != nil {
		return m, err
	}
	if by, gone := claim.DestroyedBy(f.rows); gone && m.State == claim.Starting && !f.live() {
		return m, &DestroyedError{ID: m.ID, By: by.Place.Worker}
	}
	m.Epoch = claim.Epoch(l.self, f.rows, f.reclaims)
	if f.own.State == claim.Moved && m.Epoch == f.own.Epoch {
		// It runs on while it is granted away; only a take-back undoes that.
		m.State, m.Grant, m.MovedTo = claim.Moved, f.own.Grant, f.own.MovedTo
	}
	return m, nil
}

// putHealth writes a health row; its time is that of the change of status.
func (l *Ledger) putHealth(tx store.Tx, h table.HealthRow) error {
	h.Worker, h.Since = l.cfg.Worker, l.cfg.Now().UnixMilli()
	row, ok, err := tx.Get(table.Health, record.Of(string(h.Worker)), record.Of(string(h.ID)))
	if err != nil {
		return err
	}
	if ok {
		was, err := table.HealthOf(row)
		if err != nil {
			return err
		}
		if was.Status == h.Status {
			return nil
		}
	}
	return tx.Put(table.Health, h.Row())
}

// keep takes machines that run off the list of ends that wait.
func (l *Ledger) keep(ids []fleet.MachineID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		delete(l.pending, id)
	}
}

func rowsOf(list []machine.Input) int {
	n := len(list)
	for _, in := range list {
		if in.Health != 0 {
			n++
		}
	}
	return n
}

// room is left in a changeset for its head and for what each record has beside
// its row.
const room = 64 << 10

// parts splits a list so that each part fits into one changeset.
func parts(list []machine.Input) [][]machine.Input {
	var out [][]machine.Input
	from, rows, bytes := 0, 0, 0
	for i, in := range list {
		r, b := 1, in.Size()
		if in.Health != 0 {
			r, b = 2, b+256
		}
		if i > from && (rows+r > record.MaxRecords || bytes+b > record.MaxChangeset-room) {
			out = append(out, list[from:i])
			from, rows, bytes = i, 0, 0
		}
		rows, bytes = rows+r, bytes+b
	}
	if from < len(list) {
		out = append(out, list[from:])
	}
	return out
}

// SetHealth writes the health of machines that run here, all or none. An
// unknown status removes the row.
func (l *Ledger) SetHealth(ctx context.Context, list []table.HealthRow) (Written, error) {
	var out Written
	if len(list) > record.MaxRecords {
		return out, &LimitError{fmt.Sprintf("%d rows are over the limit of %d of one call", len(list), record.MaxRecords)}
	}
	end, err := l.begin(ctx)
	if err != nil {
		return out, err
	}
	defer end()
	return out, l.update(ctx, &out, func(tx store.Tx) (int, error) {
		for _, h := range list {
			f, err := l.family(tx, h.ID)
			switch {
			case err != nil:
			case !f.live():
				err = &UnknownError{ID: h.ID, Worker: l.cfg.Worker}
			case h.Status == 0:
				err = tx.Delete(table.Health, record.Of(string(l.cfg.Worker)), record.Of(string(h.ID)))
			default:
				err = l.putHealth(tx, h)
			}
			if err != nil {
				return 0, err
			}
		}
		return len(list), nil
	})
}

// UnknownError says that a machine does not run on this worker.
type UnknownError struct {
	ID     fleet.MachineID
	Worker fleet.Worker
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("machine %q does not run on worker %q", e.ID, e.Worker)
}

// SetWorker writes this worker's row, as change makes it from the one that is
// there (or from an active one without anything).
func (l *Ledger) SetWorker(ctx context.Context, change func(*table.Worker)) (Written, error) {
	var out Written
	end, err := l.begin(ctx)
	if err != nil {
		return out, err
	}
	defer end()
	return out, l.update(ctx, &out, func(tx store.Tx) (int, error) {
		w := table.Worker{State: table.WorkerActive}
		row, ok, err := tx.Get(table.Workers, record.Of(string(l.cfg.Worker)))
		if ok && err == nil {
			w, err = table.WorkerOf(row)
		}
		if err != nil {
			return 0, err
		}
		change(&w)
		w.Worker = l.cfg.Worker
		return 1, tx.Put(table.Workers, w.Row())
	})
}
