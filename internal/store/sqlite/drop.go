package sqlite

import (
	"context"
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// dropGone drops the records in scope that a responder knows to be gone, and
// returns the places where it dropped the highest one. What is shown below a
// withheld record is judged as if it were that.
func (w *work) dropGone(scopes []store.Scope, g goner) (map[slot]bool, error) {
	dropped := map[slot]bool{}
	for _, t := range w.db.tables().all {
		for _, scope := range scopes {
			if t.Kind == 0 || t.Kind != scope.Kind {
				continue
			}
			if err := w.dropGoneOf(t, scope.Node, g, dropped); err != nil {
				return nil, fmt.Errorf("table %s: %w", t.Name, err)
			}
		}
	}
	held, err := w.list(sqlHeldAll)
	if err != nil {
		return nil, err
	}
	for _, h := range held {
		at := w.st.point(h.writer, h.version)
		if !slices.Contains(scopes, store.ScopeOf(at.Writer, h.Kind)) || !g.gone(h.Record, at, w.db.hasher.Hash(h.Record, at)) {
			continue
		}
		if err := w.dropHeldRecord(h, at); err != nil {
			return nil, err
		}
		dropped[slot{h.Table, h.Key}] = true
	}
	return dropped, nil
}

// dropHeldRecord drops a withheld record, or a stub of another node's row. If
// a record is shown below it, that is counted in its place.
func (w *work) dropHeldRecord(h *heldRecord, at record.Point) error {
	if h.ForeignOwner(at.Writer) {
		w.retop(h.Kind, &h.standing, nil)
		w.count(&h.standing, -1)
		return w.c.exec(`DELETE FROM _fb_withheld WHERE tbl = ? AND key = ? AND foreign_w = ? AND foreign_v = ?`,
			int64(h.Table), []byte(h.Key), h.writer, int64(h.version))
	}
	var shown *standing
	if t := w.db.tables().byID[h.Table]; t != nil {
		cols, err := h.Key.Columns()
		if err != nil {
			return err
		}
		if len(cols) == len(t.Key) && t.Kind == h.Kind {
			if shown, err = w.c.shown(t, cols); err != nil {
				return err
			}
		}
	}
	w.retop(h.Kind, &h.standing, shown)
	return w.dropHeld(h.Table, h.Key, &h.standing)
}

func (w *work) dropGoneOf(t *table, owner record.Node, g goner, dropped map[slot]bool) error {
	var after []record.Value
	for {
		type one struct {
			key  []record.Value
			side standing
		}
		var page []one
		sql, args := t.page(owner, after)
		err := w.c.rows(context.Background(), sql, args, func(r []record.Value) error {
			o := one{key: r[sideWidth : sideWidth+len(t.Key)]}
			readSide(r, &o.side)
			if rest := r[sideWidth+len(t.Key):]; rest[0].Type != record.Null {
				o.side.row = rest
			}
			page = append(page, o)
			return nil
		})
		if err != nil {
			return err
		}
		for i := range page {
			if err := w.dropShown(t, page[i].key, &page[i].side, g, dropped); err != nil {
				return err
			}
			after = page[i].key
		}
		if len(page) < listPage {
			return nil
		}
	}
}

func (w *work) dropShown(t *table, cols []record.Value, s *standing, g goner, dropped map[slot]bool) error {
	key, err := record.EncodeKey(cols...)
	if err != nil {
		return err
	}
	at := w.st.point(s.writer, s.version)
	r := record.Record{Table: t.ID, Kind: t.Kind, Key: key, Order: s.order, Deleted: s.deleted}
	hash := s.hash
	if g.whole {
		hash = record.Hash{} // of a row that is not there
		if s.deleted || s.row != nil {
			if r, err = s.record(t, cols); err != nil {
				return err
			}
			hash = w.db.hasher.Hash(r, at)
		}
	}
	if !g.gone(r, at, hash) {
		return nil
	}
	held, err := w.held(t.ID, key)
	if err != nil {
		return err
	}
	if held == nil {
		w.retop(t.Kind, s, nil)
		dropped[slot{t.ID, key}] = true
	}
	w.changed[s.writer] = true
	return w.dropRow(t, key, cols, s)
}

// dropRow takes a row and its books away. The sums are the caller's.
func (w *work) dropRow(t *table, key record.Key, cols []record.Value, s *standing) error {
	if err := w.putRow(t, cols, s.row, nil); err != nil {
		return err
	}
	if err := w.c.write(t.removeSide, cols); err != nil {
		return err
	}
	if t.ID == closedID {
		w.st.change(s.writer).closed = 0
	}
	old := s.row
	after := *s
	after.row = nil
	w.note(t, key, old, &after)
	return nil
}

// sumAnew computes the fingerprints of scopes from the rows that are there.
func (w *work) sumAnew(scopes []store.Scope) error {
	w.st.each(func(s *writerState) {
		for i, k := range record.Kinds {
			if slices.Contains(scopes, store.ScopeOf(s.writer, k)) {
				w.st.change(s.id).prints[i] = record.Fingerprint{}
				w.changed[s.id] = true
			}
		}
	})
	for _, t := range w.db.tables().all {
		for _, scope := range scopes {
			if t.Kind != 0 && t.Kind == scope.Kind {
				if err := w.sumTable(t, scope.Node); err != nil {
					return fmt.Errorf("table %s: %w", t.Name, err)
				}
			}
		}
	}
	held, err := w.list(sqlHeldAll)
	for _, h := range held {
		at := w.st.point(h.writer, h.version)
		if !h.deleted && slices.Contains(scopes, store.ScopeOf(at.Writer, h.Kind)) {
			w.st.count(h.writer, h.Kind, w.db.hasher.Hash(h.Record, at), true)
		}
	}
	return err
}

func (w *work) sumTable(t *table, owner record.Node) error {
	var after []record.Value
	for {
		n := 0
		var live []*standing
		var keys [][]record.Value
		sql, args := t.page(owner, after)
		err := w.c.rows(context.Background(), sql, args, func(r []record.Value) error {
			n++
			after = r[sideWidth : sideWidth+len(t.Key)]
			s := new(standing)
			readSide(r, s)
			if !s.deleted {
				s.row = store.Row(r[sideWidth+len(t.Key):])
				live, keys = append(live, s), append(keys, after)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i, s := range live {
			r, err := s.record(t, keys[i])
			if err != nil {
				return err
			}
			held, err := w.held(t.ID, r.Key)
			if err != nil {
				return err
			}
			if held == nil {
				w.st.count(s.writer, t.Kind, w.db.hasher.Hash(r, w.st.point(s.writer, s.version)), true)
			}
		}
		if n < listPage {
			return nil
		}
	}
}
