package sqlite

import (
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// write is one row that a local transaction changed.
type write struct {
	*touch
	table       *table
	row         store.Row // nil: deleted
	more        []byte
	shown, held *standing
}

// commitLocal makes the changeset of what a local transaction touched. Rows
// that are as they were are no writes.
func (w *work) commitLocal(touched []*touch) (store.Commit, error) {
	var writes []*write
	var standing []record.Point
	for _, x := range touched {
		wr, err := w.compare(x)
		if err != nil {
			return store.Commit{}, err
		}
		if wr.row != nil || wr.shown != nil && !wr.shown.deleted {
			if !w.same(wr) {
				if wr.row != nil {
					if wr.more, err = wr.table.carry(wr.row, wr.more, w.db.schema.gone()); err != nil {
						return store.Commit{}, err
					}
				}
				writes = append(writes, wr)
				continue
			}
		}
		if s := wr.shown; s != nil {
			standing = append(standing, w.st.point(s.writer, s.version))
		}
	}
	if len(writes) == 0 {
		return store.Commit{Standing: standing}, nil
	}
	if len(writes) > record.MaxRecords {
		return store.Commit{}, fmt.Errorf("changeset of %d records (limit %d; write it in several transactions): %w", len(writes), record.MaxRecords, store.ErrTooLarge)
	}
	c, err := w.stamp(writes, false)
	if err != nil {
		return store.Commit{}, err
	}
	w.begin()
	if err := w.publish(c, writes, true); err != nil {
		return store.Commit{}, err
	}
	return store.Commit{Point: c.Point(), Records: len(c.Records)}, nil
}

// compare reads a touched row as it is now and what is kept for its key, and
// refuses it if it is another node's.
func (w *work) compare(x *touch) (*write, error) {
	t := w.db.tables().byName[x.touchKey.table]
	wr := &write{touch: x, table: t}
	if owner := x.cols[0]; t.Kind == record.Owned && (owner.Type != record.Text || record.Node(owner.Data) != w.db.cfg.Node) {
		return nil, &store.NotOwnerError{Table: t.Name, Key: x.cols, Owner: owner.Data, Node: w.db.cfg.Node}
	}
	wr.row = x.now
	if !x.known {
		var err error
		if wr.row, err = w.c.get(t.getRow, x.cols); err != nil {
			return nil, err
		}
	}
	side, err := w.c.get(t.getSide, x.cols)
	if err != nil {
		return nil, err
	}
	if side != nil {
		wr.shown = new(standing)
		readSide(side, wr.shown)
	}
	if wr.more, err = w.moreOf(x, wr.shown); err != nil {
		return nil, err
	}
	if err := w.takeUp(wr); err != nil {
		return nil, err
	}
	wr.held, err = w.held(t.ID, x.key)
	return wr, err
}

// takeUp shows what lies beside a row of a column that the table has got, before
// the row is written again.
func (w *work) takeUp(wr *write) error {
	if wr.row == nil || len(wr.more) == 0 {
		return nil
	}
	old := slices.Clone(wr.row)
	changed, err := wr.table.takeUp(wr.row, wr.more)
	if err != nil || !changed {
		return err
	}
	wr.known = false
	return w.putRow(wr.table, wr.cols, old, wr.row)
}

// moreOf returns the cells of unknown columns that a touched row has now: its
// own, or those of the row that has come to its key.
func (w *work) moreOf(x *touch, shown *standing) ([]byte, error) {
	switch {
	case x.more == "", x.more == x.key && shown == nil:
		return nil, nil
	case x.more == x.key:
		return shown.more, nil
	}
	key, err := x.more.Columns()
	if err != nil {
		return nil, err
	}
	side, err := w.c.get(w.db.tables().byName[x.touchKey.table].getSide, key)
	if err != nil || side == nil {
		return nil, err
	}
	var s standing
	readSide(side, &s)
	return s.more, nil
}

// same reports whether the highest record received has the bytes that the row
// has now.
func (w *work) same(wr *write) bool {
	s := wr.shown
	if s == nil || s.deleted || wr.row == nil || w.top(wr.table.Kind, s, wr.held) != s {
		return false
	}
	if wr.known && !slices.EqualFunc(wr.old, wr.row, record.Value.Equal) {
		return false // most writes; what SQL did before its triggers told is not so sure
	}
	r, err := rebuild(wr.table, wr.row, s.order, wr.more)
	return err == nil && w.db.hasher.Hash(r, w.st.point(s.writer, s.version)) == s.hash
}

// stamp makes the changeset of writes, under the next version of this start's
// writer. Nothing is written yet. Rows of shared tables get a stamp of now, or
// keep the one they have: no clock judges what is stamped again.
func (w *work) stamp(writes []*write, again bool) (record.Changeset, error) {
	self := w.st.get(w.st.self)
	c := record.Changeset{Writer: self.writer, Version: self.recv.Head + 1, Wall: w.db.cfg.Now().UnixMilli()}
	order := ""
	size := 128
	for _, wr := range writes {
		switch {
		case wr.table.Kind != record.Shared:
		case again:
			order = wr.shown.order
		case order == "":
			if err := w.db.cfg.ClockFault(); err != nil {
				return c, fmt.Errorf("table %s is shared: %w", wr.table.Name, err)
			}
			t, err := w.st.clock.Now(w.db.cfg.Now())
			if err != nil {
				return c, err
			}
			order = record.StampOrder(t)
		}
		r, err := w.localRecord(wr, order)
		if err != nil {
			return c, err
		}
		if n := len(r.Key) + len(r.Cells); n > record.MaxRow {
			return c, fmt.Errorf("table %s: row of %d bytes (limit %d): %w", wr.table.Name, n, record.MaxRow, store.ErrTooLarge)
		}
		if err := w.mayWrite(wr, r, c.Point()); err != nil {
			return c, err
		}
		size += len(r.Key) + len(r.Order) + len(r.Cells) + 24
		c.Records = append(c.Records, r)
	}
	if size > record.MaxChangeset {
		if n := len(record.AppendDelivery(nil, record.Pushed(c))); n > record.MaxChangeset {
			return c, fmt.Errorf("changeset of %d bytes (limit %d): %w", n, record.MaxChangeset, store.ErrTooLarge)
		}
	}
	return c, nil
}

func (w *work) localRecord(wr *write, stamp string) (record.Record, error) {
	if wr.row != nil {
		return rebuild(wr.table, wr.row, stamp, wr.more)
	}
	r := record.Record{Table: wr.table.ID, Kind: wr.table.Kind, Key: wr.key, Deleted: true}
	switch wr.table.Kind {
	case record.Shared:
		r.Order = stamp
	case record.Ranked:
		return r, fmt.Errorf("table %s: row %v: ranked rows are outranked, not deleted", wr.table.Name, wr.cols)
	}
	return r, nil
}

// mayWrite refuses what would never be seen: a rank at or below what is there,
// an owned row under a boot that was evicted.
func (w *work) mayWrite(wr *write, r record.Record, at record.Point) error {
	if r.Kind == record.Owned && w.st.over(at.Writer) {
		return fmt.Errorf("table %s: node %q is over up to boot %d: %w", wr.table.Name, at.Writer.Node, w.st.node(at.Writer.Node).Over(), store.ErrFenced)
	}
	if err := w.mayEvict(wr); err != nil {
		return err
	}
	over := wr.shown
	if wr.held != nil && (wr.held.reason == store.ReasonClock || r.Kind == record.Shared && w.db.ahead(record.Record{Kind: r.Kind, Order: wr.held.order}.Stamp())) {
		over = w.top(r.Kind, wr.shown, wr.held)
	}
	if !record.Wins(r.Rank(at), w.rank(r.Kind, over)) {
		if over == wr.held {
			return fmt.Errorf("table %s: row %v ranks below record %v of node %q, which is withheld until its stamp is no longer ahead of this node's clock (firebreak withheld show %v): %w",
				wr.table.Name, wr.cols, over.hash, w.st.point(over.writer, over.version).Writer.Node, over.hash, store.ErrOvertaken)
		}
		return fmt.Errorf("table %s: row %v ranks at or below the record of %v: %w", wr.table.Name, wr.cols, w.st.point(over.writer, over.version), store.ErrOvertaken)
	}
	return nil
}

// mayEvict refuses an eviction that every other node would withhold.
func (w *work) mayEvict(wr *write) error {
	if !wr.table.Evicts || wr.row == nil {
		return nil
	}
	boot := wr.row[wr.table.bootAt]
	if boot.Type != record.Integer || boot.Int < 0 || uint64(boot.Int) > w.db.bootLimit() {
		return fmt.Errorf("table %s: row %v: boot %v is no boot up to two years from now", wr.table.Name, wr.cols, boot)
	}
	return nil
}

// publish writes the books of a changeset of this node's own and its feed
// entry. The rows themselves are in the tables already.
func (w *work) publish(c record.Changeset, writes []*write, visible bool) error {
	id := w.st.self
	books := map[*table]*packed{}
	for i, wr := range writes {
		r := c.Records[i]
		s := &standing{
			writer: id, version: c.Version, wall: c.Wall, order: r.Order, deleted: r.Deleted,
			hash: w.db.hasher.Hash(r, c.Point()), more: wr.more, row: wr.row,
		}
		if r.Deleted {
			s.more = nil
		}
		if books[wr.table] == nil {
			books[wr.table] = &packed{}
		}
		books[wr.table].addBooks(s, wr.cols)
		w.retop(r.Kind, w.top(r.Kind, wr.shown, wr.held), w.top(r.Kind, s, wr.held))
		if wr.held != nil && w.top(r.Kind, s, wr.held) == s {
			if err := w.dropHeld(r.Table, r.Key, wr.held); err != nil {
				return err
			}
		}
		if visible {
			w.note(wr.table, r.Key, wr.old, s)
		}
		if err := w.evictBy(wr.table, wr.row); err != nil {
			return err
		}
	}
	for t, p := range books {
		if _, _, err := w.c.many(t.putSide, p.args, p.n); err != nil {
			return err
		}
	}
	self := w.st.change(id)
	owned := func(r record.Record) bool { return r.Kind == record.Owned }
	if w.st.over(self.writer) && slices.ContainsFunc(c.Records, owned) {
		return fmt.Errorf("changeset evicts its own rows: %w", store.ErrFenced)
	}
	self.recv = self.recv.With(record.Range{From: c.Version, To: c.Version})
	w.changed[id] = true
	w.enter(c.Point(), &c)
	return nil
}
