package memory

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// tx collects the rows that one Update touches; nil is a deleted one.
type tx struct {
	s    *Store
	rows map[place]store.Row
}

func (t *tx) table(name string) (schema.Table, error) {
	for _, tab := range t.s.cfg.Tables {
		if tab.Name == name {
			return tab, nil
		}
	}
	return schema.Table{}, fmt.Errorf("no such table: %s", name)
}

// own refuses a row of an owned table that is not in this node's name.
func (t *tx) own(tab schema.Table, key []record.Value) error {
	if t.s.cfg.Forge != nil && t.s.cfg.Forge() {
		return nil
	}
	if tab.Kind != record.Owned || len(key) == 0 || key[0].Equal(record.Of(string(t.s.cfg.Node))) {
		return nil
	}
	return &store.NotOwnerError{Table: tab.Name, Key: key, Owner: key[0].Data, Node: t.s.cfg.Node}
}

func (t *tx) place(name string, key []record.Value) (schema.Table, place, error) {
	tab, err := t.table(name)
	if err != nil {
		return tab, place{}, err
	}
	if len(key) != len(tab.Key) {
		return tab, place{}, fmt.Errorf("table %s: key of %d columns, want %d", name, len(key), len(tab.Key))
	}
	k, err := record.EncodeKey(key...)
	return tab, place{tab.ID, k}, err
}

// Get implements store.Tx.
func (t *tx) Get(name string, key ...record.Value) (store.Row, bool, error) {
	_, p, err := t.place(name, key)
	if err != nil {
		return nil, false, err
	}
	row := t.current(p)
	return row, row != nil, nil
}

func (t *tx) current(p place) store.Row {
	if row, ok := t.rows[p]; ok {
		return row
	}
	return t.s.st.row(p, t.s.st.slots[p].shown)
}

// Scan implements store.Tx.
func (t *tx) Scan(name string, prefix []record.Value, fn func(store.Row) error) error {
	tab, err := t.table(name)
	if err != nil {
		return err
	}
	k, err := record.EncodeKey(prefix...)
	if err != nil {
		return err
	}
	places := slices.Concat(slices.Collect(maps.Keys(t.s.st.slots)), slices.Collect(maps.Keys(t.rows)))
	slices.SortFunc(places, place.compare)
	for _, p := range slices.Compact(places) {
		if p.table != tab.ID || !strings.HasPrefix(string(p.key), string(k)) {
			continue
		}
		if row := t.current(p); row != nil {
			if err := fn(row); err != nil {
				return err
			}
		}
	}
	return nil
}

// Put implements store.Tx.
func (t *tx) Put(name string, row store.Row) error {
	tab, err := t.table(name)
	if err != nil {
		return err
	}
	if len(row) != tab.Width() {
		return fmt.Errorf("table %s: row of %d values, want %d", name, len(row), tab.Width())
	}
	_, p, err := t.place(name, row[:len(tab.Key)])
	if err != nil {
		return err
	}
	if err := errors.Join(t.own(tab, row[:len(tab.Key)]), t.s.st.constrain(tab, row)); err != nil {
		return err
	}
	t.rows[p] = slices.Clone(row)
	return nil
}

// Delete implements store.Tx.
func (t *tx) Delete(name string, key ...record.Value) error {
	tab, p, err := t.place(name, key)
	if err != nil {
		return err
	}
	if err := t.own(tab, key); err != nil {
		return err
	}
	t.rows[p] = nil
	return nil
}

// records returns what changed, by table and key, and the points of the
// records that stand where nothing did.
func (t *tx) records() (out []record.Record, standing []record.Point, err error) {
	now := t.s.cfg.Now()
	order := ""
	for _, p := range slices.SortedFunc(maps.Keys(t.rows), place.compare) {
		tab, row, top := t.s.st.tables[p.table], t.rows[p], t.s.st.slots[p].top
		if unchanged(tab, row, top) {
			if top.at.Version > 0 && !slices.Contains(standing, top.at) {
				standing = append(standing, top.at)
			}
			continue
		}
		if top.reason == store.ReasonClock {
			return nil, nil, fmt.Errorf("table %s: overtaken by %v, which is stamped ahead of the wall", tab.Name, top.at)
		}
		if tab.Kind == record.Shared && order == "" {
			stamp, err := t.s.clock.Now(now)
			if err != nil {
				return nil, nil, err
			}
			order = record.StampOrder(stamp)
		}
		r := record.Record{Table: p.table, Kind: tab.Kind, Key: p.key, Deleted: true, Order: order}
		if row != nil {
			if r, err = tab.Record(row, order); err != nil {
				return nil, nil, err
			}
		} else if tab.Kind == record.Owned {
			r.Order = ""
		} else if tab.Kind == record.Ranked {
			return nil, nil, fmt.Errorf("table %s is ranked: its rows are outranked, never deleted", tab.Name)
		}
		if size := len(r.Key) + len(r.Cells); size > record.MaxRow {
			return nil, nil, fmt.Errorf("table %s: row of %d bytes, cap %d: %w", tab.Name, size, record.MaxRow, store.ErrTooLarge)
		}
		if top.at.Version > 0 && !record.Wins(r.Rank(record.Point{Writer: t.s.writer, Version: t.s.next}), top.rec.Rank(top.at)) {
			return nil, nil, fmt.Errorf("table %s: the write ranks below %v", tab.Name, top.at)
		}
		out = append(out, r)
	}
	if len(out) > record.MaxRecords {
		return nil, nil, fmt.Errorf("transaction of %d records, cap %d: %w", len(out), record.MaxRecords, store.ErrTooLarge)
	}
	return out, standing, nil
}

// unchanged reports whether writing row would leave the received record's
// bytes as they are.
func unchanged(tab schema.Table, row store.Row, top held) bool {
	if top.at.Version == 0 || top.rec.Deleted {
		return row == nil
	}
	if row == nil {
		return false
	}
	r, err := tab.Record(row, top.rec.Order)
	return err == nil && r.Order == top.rec.Order && string(r.Cells) == string(top.rec.Cells)
}
