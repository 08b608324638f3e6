// Package read answers what is known of machines: rows from one snapshot of
// the store, with what follows from them (current, contested, routable) and
// what only this node knows (suspect, unconfirmed).
package read

import (
	"context"
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region/machine"
	"github.com/firebreak-dev/firebreak/region/roster"
	"github.com/firebreak-dev/firebreak/region/table"
)

// Index says where to look, and what no row says.
type Index interface {
	// Siblings returns the keys of all rows of one machine.
	Siblings(id fleet.MachineID) []roster.Key
	// Suspect reports whether a worker's node is dead or restarting.
	Suspect(w fleet.Worker) bool
	// Unconfirmed reports whether a row waits for its daemon's word.
	Unconfirmed(k roster.Key) bool
}

// Reader reads. Safe for concurrent use.
type Reader struct {
	Region fleet.Region
	Store  store.Store
	Index  Index
}

// Machines returns what is known of keys, all as of one snapshot taken now: an
// answer per key, nil where there is no row.
func (r *Reader) Machines(ctx context.Context, keys []roster.Key) ([]*regionv1.Machine, error) {
	snap, err := r.Store.Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("read machines: %w", err)
	}
	defer snap.Close()
	v := view{Reader: r, snap: snap, ids: map[fleet.MachineID]*rows{}, workers: map[fleet.Worker]bool{}}
	out := make([]*regionv1.Machine, len(keys))
	for i, k := range keys {
		if out[i], err = v.answer(k); err != nil {
			return nil, fmt.Errorf("read machine %q of worker %q: %w", k.ID, k.Worker, err)
		}
	}
	return out, nil
}

// Rows returns the rows of a table with these keys, as of one snapshot taken
// now: nil where there is none.
func (r *Reader) Rows(ctx context.Context, name string, keys []record.Key) ([]store.Row, error) {
	snap, err := r.Store.Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	defer snap.Close()
	out := make([]store.Row, len(keys))
	for i, k := range keys {
		cols, err := k.Columns()
		if err != nil {
			return nil, fmt.Errorf("read rows: %w", err)
		}
		if out[i], err = get(snap, name, cols...); err != nil {
			return nil, fmt.Errorf("read rows of %s: %w", name, err)
		}
	}
	return out, nil
}

// Keys returns the keys of all rows of a table.
func (r *Reader) Keys(ctx context.Context, name string) ([]record.Key, error) {
	width := 0
	for _, t := range r.Store.Tables() {
		if t.Name == name {
			width = len(t.Key)
		}
	}
	if width == 0 {
		return nil, fmt.Errorf("read keys: there is no table %q", name)
	}
	snap, err := r.Store.Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	defer snap.Close()
	var out []record.Key
	err = snap.Scan(name, nil, func(row store.Row, _ record.Point, _ int64) error {
		k, err := record.EncodeKey(row[:width]...)
		out = append(out, k)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read keys of %s: %w", name, err)
	}
	return out, nil
}

// view is one snapshot and what was read of it.
type view struct {
	*Reader
	snap    store.Snapshot
	ids     map[fleet.MachineID]*rows
	workers map[fleet.Worker]bool // draining
}

// rows is everything of one id.
type rows struct {
	machines map[fleet.Worker]table.Machine
	verdicts map[fleet.Worker]claim.Verdict
}

func (v *view) answer(k roster.Key) (*regionv1.Machine, error) {
	all, err := v.machine(k)
	if err != nil {
		return nil, err
	}
	m, ok := all.machines[k.Worker]
	if !ok {
		return nil, nil
	}
	f := machine.Facts{Suspect: v.Index.Suspect(k.Worker), Unconfirmed: v.Index.Unconfirmed(k)}
	if f.Draining, err = v.draining(k.Worker); err != nil {
		return nil, err
	}
	row, err := get(v.snap, table.Health, record.Of(string(k.Worker)), record.Of(string(k.ID)))
	if err != nil {
		return nil, err
	}
	if row != nil {
		if f.Health, err = table.HealthOf(row); err != nil {
			return nil, err
		}
	}
	return machine.Answer(m, all.verdicts[k.Worker], f), nil
}

// machine reads every row of k's id and judges them.
func (v *view) machine(k roster.Key) (*rows, error) {
	keys := v.Index.Siblings(k.ID)
	if !slices.Contains(keys, k) {
		keys = append(keys, k)
	}
	if got, ok := v.ids[k.ID]; ok && len(got.machines) >= len(keys) {
		return got, nil
	}
	out := &rows{machines: map[fleet.Worker]table.Machine{}, verdicts: map[fleet.Worker]claim.Verdict{}}
	var claims []claim.Row
	for _, key := range keys {
		row, err := get(v.snap, table.Machines, record.Of(string(key.Worker)), record.Of(string(key.ID)))
		if err != nil {
			return nil, err
		}
		if row == nil {
			continue
		}
		m, err := table.MachineOf(row)
		if err != nil {
			return nil, err
		}
		out.machines[key.Worker] = m
		claims = append(claims, m.Claim(v.Region))
	}
	reclaims, err := v.reclaims(k.ID)
	if err != nil {
		return nil, err
	}
	for _, verdict := range claim.Judge(claims, reclaims) {
		out.verdicts[verdict.Row.Place.Worker] = verdict
	}
	v.ids[k.ID] = out
	return out, nil
}

func (v *view) reclaims(id fleet.MachineID) ([]claim.Reclaim, error) {
	row, err := get(v.snap, table.Reclaims, record.Of(string(id)))
	if row == nil || err != nil {
		return nil, err
	}
	c, err := table.ReclaimOf(v.Region, row)
	if err != nil {
		return nil, err
	}
	return []claim.Reclaim{c}, nil
}

func (v *view) draining(w fleet.Worker) (bool, error) {
	if d, ok := v.workers[w]; ok {
		return d, nil
	}
	row, err := get(v.snap, table.Workers, record.Of(string(w)))
	if err != nil {
		return false, err
	}
	var d bool
	if row != nil {
		worker, err := table.WorkerOf(row)
		if err != nil {
			return false, err
		}
		d = worker.Draining()
	}
	v.workers[w] = d
	return d, nil
}

// get reads one row by its whole key, nil if there is none.
func get(snap store.Snapshot, name string, key ...record.Value) (store.Row, error) {
	var out store.Row
	err := snap.Scan(name, key, func(r store.Row, _ record.Point, _ int64) error {
		out = slices.Clone(r)
		return nil
	})
	return out, err
}
