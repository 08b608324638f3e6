package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

var voidID = store.VoidSchema().ID

const (
	sqlVoids    = `SELECT node, boot, above FROM ` + store.VoidTable + ` ORDER BY node, boot, above`
	sqlHeldVoid = `SELECT ` + heldColumns + ` FROM _fb_withheld WHERE w = ? AND foreign_w = 0 AND foreign_v = 0 AND kind = ? AND ord >= ?`
)

func loadVoids(c *conn, st *state) error {
	return c.rows(context.Background(), sqlVoids, nil, func(r []record.Value) error {
		st.voids, _ = st.voids.With(store.Void{Node: record.Node(r[0].Data), Boot: uint64(r[1].Int), Above: r[2].Int})
		return nil
	})
}

// voidsFirst returns records with those of VoidTable before the others: what a
// node stamps again ranks below what it makes void.
func voidsFirst(records []record.Record) []record.Record {
	isVoid := func(r record.Record) bool { return r.Table == voidID }
	if !slices.ContainsFunc(records, isVoid) {
		return records
	}
	return slices.SortedStableFunc(slices.Values(records), func(a, b record.Record) int {
		switch {
		case isVoid(a) == isVoid(b):
			return 0
		case isVoid(a):
			return -1
		}
		return 1
	})
}

// voidBy drops what a row of VoidTable makes void, whatever came first.
func (w *work) voidBy(t *table, row store.Row, by record.Writer) error {
	if t.ID != voidID || row == nil {
		return nil
	}
	v, err := store.VoidOf(row, by)
	if err != nil {
		return err // it was judged before
	}
	voids, news := w.st.voids.With(v)
	if !news {
		return nil
	}
	w.st.voids = voids
	for _, s := range w.writersOf(v.Node) {
		if s.writer.Boot > v.Boot {
			continue
		}
		for _, t := range w.db.tables().all {
			if t.Kind == record.Shared {
				err = w.dropVoid(t, s.id, v)
			}
			if err != nil {
				return err
			}
		}
		if err := w.dropVoidHeld(s, v); err != nil {
			return err
		}
	}
	w.join = true
	return nil
}

// voidIn lists what t keeps of a writer and v makes void.
func (w *work) voidIn(t *table, id int64, v store.Void) (keys [][]record.Value, kept []*standing, err error) {
	sql := "SELECT " + sideColumns + ", " + list(quoteAll(t.Names()[:len(t.Key)])) + " FROM " + t.side + " WHERE _fb_w = ? AND _fb_ord >= ?"
	args := []driver.Value{id, []byte(record.StampOrder(v.First()))}
	err = w.c.rows(context.Background(), sql, args, func(r []record.Value) error {
		s := new(standing)
		readSide(r, s)
		keys, kept = append(keys, slices.Clone(r[sideWidth:])), append(kept, s)
		return nil
	})
	for i, s := range kept {
		if err == nil && !s.deleted {
			s.row, err = w.c.get(t.getRow, keys[i])
		}
	}
	return keys, kept, err
}

func (w *work) dropVoid(t *table, id int64, v store.Void) error {
	keys, kept, err := w.voidIn(t, id, v)
	if err != nil {
		return err
	}
	for i, s := range kept {
		key, err := record.EncodeKey(keys[i]...)
		if err != nil {
			return err
		}
		held, err := w.held(t.ID, key)
		if err != nil {
			return err
		}
		w.retop(t.Kind, w.top(t.Kind, s, held), held)
		w.changed[id] = true
		if err := w.dropRow(t, key, keys[i], s); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) heldVoid(id int64, v store.Void) ([]*heldRecord, error) {
	return w.list(sqlHeldVoid, id, int64(record.Shared), []byte(record.StampOrder(v.First())))
}

func (w *work) dropVoidHeld(s *writerState, v store.Void) error {
	held, err := w.heldVoid(s.id, v)
	if err != nil {
		return err
	}
	for _, h := range held {
		w.changed[s.id] = true
		if err := w.dropHeldRecord(h, w.st.point(h.writer, h.version)); err != nil {
			return err
		}
	}
	return nil
}

// ResetClock implements [store.Store].
func (db *DB) ResetClock(ctx context.Context) (store.ClockReset, error) {
	var out store.ClockReset
	err := db.do(ctx, func(w *work) (err error) {
		out, err = w.resetClock()
		return err
	})
	if err != nil {
		return store.ClockReset{}, fmt.Errorf("reset the clock of shared tables: %w", err)
	}
	return out, nil
}

func (w *work) resetClock() (store.ClockReset, error) {
	self, now := w.st.get(w.st.self).writer, w.db.cfg.Now()
	v := store.Void{Node: self.Node, Boot: self.Boot, Above: max(0, now.UnixMilli())}
	shown, held, err := w.stampedIn(v)
	if err != nil {
		return store.ClockReset{}, err
	}
	next, err := w.newWriter(0)
	if err != nil {
		return store.ClockReset{}, err
	}
	w.st.clock = hlc.Clock{}
	first, err := w.db.tables().byID[voidID].encode(v.Row(), "")
	if err != nil {
		return store.ClockReset{}, err
	}
	out := store.ClockReset{Writer: next, Above: now, Again: len(shown) + len(held)}
	before := []record.Record{first}
	for len(before)+len(shown)+len(held) > 0 {
		n := fitting(shown, record.MaxRecords-1)
		quiet := slices.Concat(before, shown[:n])
		loud := held[:0]
		if shown = shown[n:]; n == 0 {
			loud = held[:fitting(held, record.MaxRecords-1)]
		}
		if err := w.stampAgain(quiet, loud); err != nil {
			return store.ClockReset{}, err
		}
		before, held = nil, held[len(loud):]
	}
	return out, nil
}

// stampAgain writes shared records again under a stamp of now, and the others
// as they are. Nobody but peers is told of quiet ones, whose rows are shown
// already.
func (w *work) stampAgain(quiet, loud []record.Record) error {
	stamp, err := w.st.clock.Now(w.db.cfg.Now())
	if err != nil {
		return err
	}
	for _, records := range [][]record.Record{quiet, loud} {
		for i := range records {
			if records[i].Kind == record.Shared {
				records[i].Order = record.StampOrder(stamp)
			}
		}
	}
	_, err = w.writeAgain(quiet, loud)
	return err
}

// stampedIn lists the records of this node that v makes void: those that are
// shown, and those that are withheld above what is shown.
func (w *work) stampedIn(v store.Void) (shown, above []record.Record, err error) {
	for _, s := range w.writersOf(v.Node) {
		held, err := w.heldVoid(s.id, v)
		if err != nil {
			return nil, nil, err
		}
		for _, h := range held {
			if h.Stub == nil {
				above = append(above, h.Record)
			}
		}
		for _, t := range w.db.tables().all {
			if t.Kind != record.Shared {
				continue
			}
			keys, kept, err := w.voidIn(t, s.id, v)
			if err != nil {
				return nil, nil, err
			}
			for i := range kept {
				if !kept[i].deleted && kept[i].row == nil {
					continue // damaged: nobody knows what it was
				}
				r, err := kept[i].record(t, keys[i])
				if err != nil {
					return nil, nil, err
				}
				h, err := w.heldRecord(t.ID, r.Key)
				if err != nil {
					return nil, nil, err
				}
				if h == nil || h.Stub != nil || w.st.get(h.writer).writer.Node != v.Node {
					shown = append(shown, r)
				}
			}
		}
	}
	return shown, above, nil
}
