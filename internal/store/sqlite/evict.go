package sqlite

import (
	"context"
	"database/sql/driver"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// evictBy drops what a row of a table that evicts says is over: the owned
// records of a node up to a boot, whatever came first. The effect outlives the
// row, and no lower boot takes it back.
func (w *work) evictBy(t *table, row store.Row) error {
	if !t.Evicts || row == nil {
		return nil
	}
	n := w.st.node(record.Node(row[0].Data))
	boot := uint64(row[t.bootAt].Int)
	if boot <= n.Evicted {
		return nil
	}
	n.Evicted = boot
	if err := w.setNode(n); err != nil {
		return err
	}
	return w.dropOver(n)
}

func (w *work) setNode(n store.NodeState) error {
	w.st.nodes[n.Node] = n
	w.nodes[n.Node] = true
	return w.c.exec(sqlPutNode, string(n.Node), int64(n.Closed), int64(n.Evicted), int64(n.Complete))
}

// dropOver drops the owned records of a node that are over.
func (w *work) dropOver(n store.NodeState) error {
	var ids []int64
	w.st.each(func(s *writerState) {
		if s.writer.Node == n.Node && s.writer.Boot <= n.Over() {
			ids = append(ids, s.id)
		}
	})
	slices.Sort(ids)
	for _, t := range w.db.tables().all {
		if t.Kind == record.Owned {
			if err := w.dropOwned(t, n.Node, ids); err != nil {
				return err
			}
		}
	}
	for _, id := range ids {
		if err := w.dropHeldOwned(id); err != nil {
			return err
		}
		s := w.st.change(id)
		s.prints[record.Owned-1], s.closed = record.Fingerprint{}, 0
		w.changed[id] = true
	}
	return nil
}

func (w *work) dropOwned(t *table, node record.Node, ids []int64) error {
	type gone struct {
		key []record.Value
		s   *standing
	}
	var all []gone
	err := w.c.rows(context.Background(), t.ofOwner(), []driver.Value{string(node)}, func(r []record.Value) error {
		s := new(standing)
		readSide(r, s)
		if !slices.Contains(ids, s.writer) {
			return nil
		}
		g := gone{key: slices.Clone(r[sideWidth : sideWidth+len(t.Key)]), s: s}
		if !s.deleted {
			s.row = store.Row(r[sideWidth+len(t.Key):])
		}
		all = append(all, g)
		return nil
	})
	if err != nil {
		return err
	}
	for _, g := range all {
		if err := w.putRow(t, g.key, g.s.row, nil); err != nil {
			return err
		}
		if err := w.c.write(t.removeSide, g.key); err != nil {
			return err
		}
		key, err := record.EncodeKey(g.key...)
		if err != nil {
			return err
		}
		old := g.s.row
		g.s.row = nil
		w.note(t, key, old, g.s)
	}
	return nil
}

func (w *work) dropHeldOwned(id int64) error {
	held, err := w.list(sqlHeldOf, id, int64(0), int64(maxVersion))
	if err != nil {
		return err
	}
	for _, h := range held {
		if h.Kind == record.Owned {
			w.count(&h.standing, -1)
		}
	}
	return w.c.exec(`DELETE FROM _fb_withheld WHERE w = ? AND kind = ?`, id, int64(record.Owned))
}

// ofOwner selects bookkeeping, key and row of one owner, tombstones included.
func (t *table) ofOwner() string {
	cols := quoteAll(t.Names())
	key := cols[:len(t.Key)]
	on := make([]string, len(key))
	for i, k := range key {
		on[i] = "t." + k + " = r." + k
	}
	return "SELECT " + sideColumns + ", " + list(prefix("r.", key)) + ", " + list(prefix("t.", cols)) +
		" FROM " + t.side + " r LEFT JOIN " + schema.Quote(t.Name) + " t ON " + join(on, " AND ") +
		" WHERE r." + key[0] + " = ? ORDER BY " + list(prefix("r.", key))
}

// each calls fn for every writer, as it is now.
func (s *state) each(fn func(*writerState)) {
	seen := map[int64]bool{}
	for ; s != nil; s = s.parent {
		for id, w := range s.writers {
			if !seen[id] {
				seen[id] = true
				fn(w)
			}
		}
	}
}
