package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// Collect implements [store.Store]. What is due is looked for by a reader; the
// loop looks at each again before it drops it.
func (db *DB) Collect(ctx context.Context, ages store.Ages, limit int) (out store.Collected, err error) {
	var may collectable
	err = db.do(ctx, func(w *work) error {
		may, err = w.collectable()
		return err
	})
	var due []tombstone
	if err == nil {
		due, err = db.oldTombstones(ctx, ages, limit, may)
	}
	if err == nil {
		err = db.inLoop(ctx, func() error {
			out, err = db.collect(due)
			return err
		})
	}
	if err != nil {
		return store.Collected{}, fmt.Errorf("collect tombstones: %w", err)
	}
	return out, nil
}

// tombstone is one that is old enough.
type tombstone struct {
	table   *table
	key     []record.Value
	version record.Version
}

// oldTombstones lists up to limit that are due. Those of writers that may not
// be collected from are passed over, so that they hold up no others.
func (db *DB) oldTombstones(ctx context.Context, ages store.Ages, limit int, may collectable) (due []tombstone, err error) {
	now := db.cfg.Now()
	err = db.inside.with(ctx, func(c *conn) error {
		for _, t := range db.tables().all {
			age := ages.Owned
			if t.Kind == record.Shared {
				age = ages.Shared
			}
			if t.Kind != record.Owned && t.Kind != record.Shared {
				continue
			}
			keys := quoteAll(t.Names()[:len(t.Key)])
			sql := fmt.Sprintf("SELECT _fb_w, _fb_v, %s FROM %s WHERE _fb_del AND _fb_wall <= ?", list(keys), t.side)
			err := c.rows(ctx, sql, []driver.Value{now.Add(-age).UnixMilli()}, func(r []record.Value) error {
				if len(due) >= limit {
					return errEnough
				}
				if may.of(t.Kind, r[0].Int) {
					due = append(due, tombstone{t, r[2:], record.Version(r[1].Int)})
				}
				return nil
			})
			if err != nil && !errors.Is(err, errEnough) {
				return err
			}
		}
		return nil
	})
	return due, err
}

func (db *DB) collect(due []tombstone) (out store.Collected, err error) {
	var forgotten []*writerState
	err = db.transaction(false, func(w *work) error {
		w.begin()
		may, err := w.collectable()
		if err != nil {
			return err
		}
		for _, d := range due {
			done, err := w.collectOne(d, may)
			if err != nil {
				return err
			}
			if done {
				out.Tombstones++
			}
		}
		if forgotten, err = w.forget(); err != nil {
			return err
		}
		out.Writers = len(forgotten)
		return w.told()
	})
	if err != nil {
		return store.Collected{}, err
	}
	for _, s := range forgotten {
		delete(db.st.writers, s.id)
		delete(db.st.ids, s.writer)
	}
	return out, nil
}

// collectable says of which tombstones no gap can ask any more.
type collectable struct {
	owned  map[int64]bool // of these writers
	shared bool           // of all
}

func (c collectable) of(k record.Kind, writer int64) bool {
	return k == record.Owned && c.owned[writer] || k == record.Shared && c.shared
}

func (w *work) collectable() (collectable, error) {
	gaps := map[record.Node]bool{}
	var closers []*writerState
	w.st.each(func(s *writerState) {
		if len(s.recv.Gaps) > 0 && !w.st.over(s.writer) {
			gaps[s.writer.Node] = true
		}
		if s.closed > 0 {
			closers = append(closers, s)
		}
	})
	may := collectable{owned: map[int64]bool{}, shared: len(gaps) == 0}
	for _, s := range closers {
		if gaps[s.writer.Node] {
			continue
		}
		_, ok, err := w.closing(s)
		if err != nil {
			return may, err
		}
		may.owned[s.id] = ok
	}
	return may, nil
}

func (w *work) collectOne(d tombstone, may collectable) (bool, error) {
	s, err := w.c.shown(d.table, d.key)
	if err != nil || s == nil || !s.deleted || s.version != d.version || !may.of(d.table.Kind, s.writer) {
		return false, err
	}
	key, err := record.EncodeKey(d.key...)
	if err != nil {
		return false, err
	}
	if held, err := w.held(d.table.ID, key); err != nil || held != nil {
		return false, err
	}
	c := w.st.change(s.writer)
	floor := &c.floors[d.table.Kind-1]
	*floor = max(*floor, s.version)
	w.changed[s.writer] = true
	return true, w.c.write(d.table.removeSide, d.key)
}

// forget drops the writers up to their node's complete boot of whom no record
// is left.
func (w *work) forget() ([]*writerState, error) {
	var old []*writerState
	w.st.each(func(s *writerState) {
		if s.writer.Boot <= w.st.node(s.writer.Node).Complete && !slices.Contains(w.st.started, s.id) {
			old = append(old, s)
		}
	})
	slices.SortFunc(old, func(a, b *writerState) int { return a.writer.Compare(b.writer) })
	var out []*writerState
	for _, s := range old {
		left, err := w.anyOf(s)
		if err != nil {
			return nil, err
		}
		if left {
			continue
		}
		if err := w.c.exec(`DELETE FROM _fb_writers WHERE id = ?`, s.id); err != nil {
			return nil, err
		}
		delete(w.st.writers, s.id)
		delete(w.changed, s.id)
		w.gone = append(w.gone, s.writer)
		out = append(out, s)
	}
	return out, nil
}

// anyOf reports whether any record of a writer is left.
func (w *work) anyOf(s *writerState) (bool, error) {
	for _, t := range w.db.tables().all {
		if t.Kind == 0 {
			continue
		}
		sql, args := t.byWriter(s.writer.Node, s.id, 1, maxVersion)
		if r, err := w.c.row(sql+" LIMIT 1", args...); err != nil || r != nil {
			return true, err
		}
	}
	r, err := w.c.row(`SELECT 1 FROM _fb_withheld WHERE w = ? LIMIT 1`, s.id)
	return r != nil, err
}
