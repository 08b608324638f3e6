package sqlite

import (
	"cmp"
	"context"
	"database/sql/driver"
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

var closedID = store.ClosedSchema().ID

const (
	sqlClosers = `SELECT DISTINCT _fb_w, _fb_v FROM "_fb_rows__fb_closed" WHERE _fb_del = 0`
	sqlClosing = `SELECT node, boot, bits, part, base, parts, list FROM ` + store.ClosedTable + ` WHERE node = ? AND boot = ? AND bits = ? ORDER BY part`
)

// closedBy refuses a closing in the name of another writer than the one that
// brought it.
func closedBy(row store.Row, w record.Writer) error {
	if row[0].Data != string(w.Node) || row[1].Int != int64(w.Boot) || row[2].Int != int64(w.Bits) {
		return fmt.Errorf("closing of %v/%d/%016x brought by %v", row[0].Data, row[1].Int, uint64(row[2].Int), w)
	}
	return nil
}

// closing returns what a writer has closed, if that is in effect: all its
// parts are here, and no gap is below it.
func (w *work) closing(s *writerState) (record.Closing, bool, error) {
	if s.closed == 0 || !s.recv.Covers(record.Range{From: 1, To: s.closed}) {
		return record.Closing{}, false, nil
	}
	var rows []store.Row
	args := []driver.Value{string(s.writer.Node), int64(s.writer.Boot), int64(s.writer.Bits)}
	err := w.c.rows(context.Background(), sqlClosing, args, func(r []record.Value) error {
		rows = append(rows, r)
		return nil
	})
	if err != nil {
		return record.Closing{}, false, err
	}
	c, bad := store.ClosingOf(rows, s.writer)
	return c, bad == nil, nil
}

// settle brings closings of a node into effect, and raises its complete boot.
func (w *work) settle(node record.Node) error {
	if !w.st.waits(node) {
		return nil
	}
	n := w.st.node(node)
	before, waits := n, false
	for _, s := range w.writersOf(node) {
		if s.closed == 0 {
			continue
		}
		c, ok, err := w.closing(s)
		if err != nil {
			return err
		}
		if ok {
			n.Closed = max(n.Closed, c.Up())
			ok = w.fulfils(c, n.Complete)
		}
		if ok {
			n.Complete = max(n.Complete, c.Up())
		}
		waits = waits || !ok
	}
	w.st.pending[node] = waits
	if n == before {
		return nil
	}
	if err := w.setNode(n); err != nil {
		return err
	}
	if n.Closed == before.Closed {
		return nil
	}
	return w.dropOver(n)
}

// writersOf lists the writers of a node that are known, lowest first.
func (w *work) writersOf(node record.Node) []*writerState {
	var out []*writerState
	w.st.each(func(s *writerState) {
		if s.writer.Node == node {
			out = append(out, s)
		}
	})
	slices.SortFunc(out, func(a, b *writerState) int { return a.writer.Compare(b.writer) })
	return out
}

// fulfils reports whether whoever is complete up to a boot has all that c lists.
func (w *work) fulfils(c record.Closing, complete uint64) bool {
	if complete < c.Base {
		return false
	}
	for _, l := range c.Writers {
		var have record.Received
		if id, ok := w.st.id(l.Writer); ok {
			have = w.st.get(id).recv
		}
		if l.Writer.Boot > complete && len(have.Minus(l.Received)) > 0 {
			return false
		}
	}
	return true
}

// unstamped lists the live owned records of this node that stand under earlier
// writers than the one of now.
func (w *work) unstamped() ([]record.Record, error) {
	self := w.st.get(w.st.self)
	var out []record.Record
	for _, s := range w.writersOf(self.writer.Node) {
		if s.id == self.id || s.prints[record.Owned-1] == (record.Fingerprint{}) {
			continue
		}
		before := len(out)
		if err := w.unstampedOf(s, &out); err != nil {
			return nil, err
		}
		if len(out) > before && s.writer.Boot >= self.writer.Boot {
			return nil, fmt.Errorf("rows of %v rank above %v: take a higher boot first: %w", s.writer, self.writer, store.ErrOvertaken)
		}
	}
	slices.SortFunc(out, func(a, b record.Record) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Key, b.Key))
	})
	return out, nil
}

func (w *work) unstampedOf(s *writerState, out *[]record.Record) error {
	for _, t := range w.db.tables().all {
		if t.Kind != record.Owned || t.ID == closedID {
			continue
		}
		var keys [][]record.Value
		sql, args := t.byWriter(s.writer.Node, s.id, 1, maxVersion)
		err := w.c.rows(context.Background(), sql, args, func(r []record.Value) error {
			keys = append(keys, r[1:])
			return nil
		})
		for _, key := range keys {
			if err == nil {
				err = w.unstampedRow(t, key, out)
			}
		}
		if err != nil {
			return err
		}
	}
	held, err := w.list(sqlHeldOf, s.id, int64(0), int64(maxVersion))
	for _, h := range held {
		if h.Kind == record.Owned && !h.deleted && h.Stub == nil && h.Table != closedID {
			*out = append(*out, h.Record)
		}
	}
	return err
}

func (w *work) unstampedRow(t *table, key []record.Value, out *[]record.Record) error {
	shown, err := w.c.shown(t, key)
	if err != nil || shown == nil || shown.deleted {
		return err
	}
	r, err := shown.record(t, key)
	if err != nil {
		return err
	}
	held, err := w.held(t.ID, r.Key)
	if err == nil && held == nil {
		*out = append(*out, r)
	}
	return err
}

// writeAgain makes the next changeset of this node of records as they are, and
// merges it as if a peer had sent it. Nobody but peers is told of quiet ones.
func (w *work) writeAgain(quiet, loud []record.Record) (record.Changeset, error) {
	self := w.st.get(w.st.self)
	c := record.Changeset{Writer: self.writer, Version: self.recv.Head + 1, Wall: w.db.cfg.Now().UnixMilli(), Records: slices.Concat(quiet, loud)}
	if n := len(record.AppendDelivery(nil, record.Pushed(c))); n > record.MaxChangeset {
		return c, fmt.Errorf("changeset of %d bytes (limit %d): %w", n, record.MaxChangeset, store.ErrTooLarge)
	}
	w.begin()
	for _, part := range []struct {
		quiet   bool
		records []record.Record
	}{{true, quiet}, {false, loud}} {
		w.quiet = part.quiet
		some := c
		some.Records = part.records
		if err := w.mergeAll(&delivery{}, some, w.st.self); err != nil {
			return c, err
		}
	}
	s := w.st.change(w.st.self)
	s.recv = s.recv.With(record.Range{From: c.Version, To: c.Version})
	w.changed[w.st.self] = true
	if err := w.settle(self.writer.Node); err != nil {
		return c, err
	}
	w.enter(c.Point(), &c)
	return c, nil
}

// fitting returns how many of the first records, limit at most, make one
// changeset.
func fitting(records []record.Record, limit int) (n int) {
	limit = min(limit, len(records), record.MaxRecords)
	for size := 0; n < limit && size < record.MaxChangeset/2; n++ {
		size += len(records[n].Key) + len(records[n].Cells) + 64
	}
	return n
}

// Restamp implements [store.Store].
func (db *DB) Restamp(ctx context.Context, limit int) (left int, err error) {
	err = db.do(ctx, func(w *work) error {
		records, err := w.unstamped()
		if err != nil || len(records) == 0 {
			return err
		}
		n := fitting(records, max(1, limit))
		left = len(records) - n
		_, err = w.writeAgain(records[:n], nil)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("write rows of earlier starts again: %w", err)
	}
	return left, nil
}

// CloseEarlier implements [store.Store].
func (db *DB) CloseEarlier(ctx context.Context, as record.Writer) (commit store.Commit, err error) {
	err = db.do(ctx, func(w *work) error {
		commit, err = w.closeEarlier(as)
		return err
	})
	if err != nil {
		return store.Commit{}, fmt.Errorf("close earlier writers: %w", err)
	}
	return commit, nil
}

func (w *work) closeEarlier(as record.Writer) (store.Commit, error) {
	self := w.st.get(w.st.self)
	if self.writer != as {
		return store.Commit{}, fmt.Errorf("close as %v: the writer is %v by now: %w", as, self.writer, store.ErrOvertaken)
	}
	if self.closed > 0 {
		return store.Commit{Standing: []record.Point{{Writer: self.writer, Version: self.closed}}}, nil
	}
	left, err := w.unstamped()
	if err != nil {
		return store.Commit{}, err
	}
	if len(left) > 0 {
		return store.Commit{}, fmt.Errorf("%d rows: %w", len(left), store.ErrUnstamped)
	}
	c := record.Closing{Writer: self.writer, Base: w.st.node(self.writer.Node).Complete}
	for _, s := range w.writersOf(self.writer.Node) {
		if s.recv.Head > 0 && s.writer.Boot > c.Base && s.writer.Boot < self.writer.Boot {
			c.Writers = append(c.Writers, record.Closed{Writer: s.writer, Received: s.recv})
		}
	}
	rows, err := store.ClosedRows(c)
	if err != nil {
		return store.Commit{}, err
	}
	t := w.db.tables().byID[closedID]
	records := make([]record.Record, len(rows))
	for i, row := range rows {
		if records[i], err = t.encode(row, ""); err != nil {
			return store.Commit{}, err
		}
	}
	cs, err := w.writeAgain(records, nil)
	return store.Commit{Point: cs.Point(), Records: len(records)}, err
}
