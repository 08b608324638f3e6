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
	"github.com/firebreak-dev/firebreak/region/table"
)

// oldEnd is how old an end of a machine that was ever granted, or that had
// another worker's row, must be before its row may go.
const oldEnd = 24 * time.Hour

// settlesPerRound bounds one round: a mass end is removed in paced steps.
const settlesPerRound = record.MaxRecords

// ended is a row that may go once it is settled.
type ended struct {
	id fleet.MachineID
	at record.Point
}

// Settle removes rows of ended machines that every known node has received:
// those at epoch 1 without grant, reclaim or another worker's row at once, the
// others a day later if nobody claims the machine. It returns how many it
// removed, and how many wait for some node.
func (l *Ledger) Settle(ctx context.Context) (removed, waiting int, err error) {
	if !l.cfg.Index.Ended(l.cfg.Worker) {
		return 0, 0, nil
	}
	rows, err := l.endedRows(ctx)
	if err != nil || len(rows) == 0 {
		return 0, 0, err
	}
	points := make([]record.Point, len(rows))
	for i, r := range rows {
		points[i] = r.at
	}
	everywhere, err := l.cfg.Peers.Everywhere(ctx, points)
	if err != nil {
		return 0, len(rows), err
	}
	settled := map[fleet.MachineID]record.Point{}
	for i, r := range rows {
		if everywhere[i] {
			settled[r.id] = r.at
		}
	}
	removed, err = l.remove(ctx, settled)
	return removed, len(rows) - len(settled), err
}

// endedRows returns the rows that would go if they were settled. Machines of
// which some row is withheld stay: it might be a claim.
func (l *Ledger) endedRows(ctx context.Context) ([]ended, error) {
	snap, err := l.cfg.Store.Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for ended machines: %w", err)
	}
	defer snap.Close()
	hidden, err := withheldIDs(snap)
	if err != nil {
		return nil, fmt.Errorf("look for withheld machines: %w", err)
	}
	var out []ended
	err = snap.Scan(table.Machines, store.Row{record.Of(string(l.cfg.Worker))}, func(row store.Row, at record.Point, wall int64) error {
		m, err := table.MachineOf(row)
		if err == nil && m.State == claim.Ended && !hidden[m.ID] && len(out) < settlesPerRound && l.mayGo(m, wall) {
			out = append(out, ended{m.ID, at})
		}
		return err
	})
	return out, err
}

// mayGo judges by this worker's row alone: the others are looked at when it
// goes.
func (l *Ledger) mayGo(m table.Machine, wall int64) bool {
	young := l.cfg.Now().Sub(time.UnixMilli(wall)) < oldEnd
	if !young {
		return true
	}
	return m.Epoch == 1 && m.Grant == 0 && len(l.cfg.Index.Siblings(m.ID)) <= 1
}

// remove deletes the rows of settled ends, if nothing speaks against it now.
func (l *Ledger) remove(ctx context.Context, settled map[fleet.MachineID]record.Point) (int, error) {
	if len(settled) == 0 {
		return 0, nil
	}
	done, err := l.begin(ctx) // from here on no row of this worker changes
	if err != nil {
		return 0, err
	}
	defer done()
	walls, err := l.unchanged(ctx, settled)
	if err != nil {
		return 0, err
	}
	var out Written
	err = l.update(ctx, &out, func(tx store.Tx) (int, error) {
		n := 0
		for _, id := range slices.Sorted(maps.Keys(walls)) {
			f, err := l.family(tx, id)
			if err != nil {
				return 0, err
			}
			if f.live() || !f.known || !l.settledGoes(f, walls[id]) {
				continue
			}
			if err := tx.Delete(table.Machines, record.Of(string(l.cfg.Worker)), record.Of(string(id))); err != nil {
				return 0, err
			}
			n++
		}
		return n, nil
	})
	return int(out.Changed), err
}

func (l *Ledger) settledGoes(f family, wall int64) bool {
	if f.own.Epoch == 1 && f.own.Grant == 0 && len(f.rows) == 1 && len(f.reclaims) == 0 {
		return true
	}
	if l.cfg.Now().Sub(time.UnixMilli(wall)) < oldEnd {
		return false
	}
	for _, r := range f.rows {
		if r.Claim() {
			return false
		}
	}
	return true
}

// unchanged returns when the rows that still stand as they were settled were
// written. What was received while others were asked is in the index by then.
func (l *Ledger) unchanged(ctx context.Context, settled map[fleet.MachineID]record.Point) (map[fleet.MachineID]int64, error) {
	snap, err := l.cfg.Store.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	out := map[fleet.MachineID]int64{}
	err = snap.Scan(table.Machines, store.Row{record.Of(string(l.cfg.Worker))}, func(row store.Row, at record.Point, wall int64) error {
		id := fleet.MachineID(row[1].Data)
		if p, ok := settled[id]; ok && p == at {
			out[id] = wall
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, l.cfg.Index.WaitPosition(ctx, snap.Position())
}

// withheldIDs returns the machines of which some row or reclaim is withheld.
func withheldIDs(snap store.Snapshot) (map[fleet.MachineID]bool, error) {
	list, err := snap.Withheld()
	if err != nil {
		return nil, err
	}
	out := map[fleet.MachineID]bool{}
	for _, w := range list {
		cols, err := w.Key.Columns()
		switch {
		case err != nil:
		case w.Table == table.Machines && len(cols) == 2:
			out[fleet.MachineID(cols[1].Data)] = true
		case w.Table == table.Reclaims && len(cols) == 1:
			out[fleet.MachineID(cols[0].Data)] = true
		}
	}
	return out, nil
}
