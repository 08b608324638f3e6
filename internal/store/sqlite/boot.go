package sqlite

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// maxBoots is how many starts a feed position may be old.
const maxBoots = 1000

// lineBoot is one stretch of the feed's line: the entries that this node wrote
// as one writer, from start (not included) to the start of the next.
type lineBoot struct {
	boot, bits uint64
	start      uint64
}

// position is the end of the feed.
func (s *state) position() store.Position {
	b := s.boots[len(s.boots)-1]
	return store.Position{Node: s.get(s.self).writer.Node, Boot: b.boot, Bits: b.bits, Sequence: s.sequence}
}

func loadLine(c *conn, st *state) error {
	err := c.rows(context.Background(), `SELECT boot, bits, start FROM _fb_local_boots ORDER BY id`, nil, func(r []record.Value) error {
		st.boots = append(st.boots, lineBoot{uint64(r[0].Int), uint64(r[1].Int), uint64(r[2].Int)})
		return nil
	})
	if err != nil {
		return err
	}
	last, err := c.row(`SELECT max(sequence) FROM _fb_local_feed`)
	if err != nil {
		return err
	}
	st.sequence = uint64(last[0].Int)
	if n := len(st.boots); n > 0 {
		st.sequence = max(st.sequence, st.boots[n-1].start)
	}
	return nil
}

// newWriter takes a writer above every earlier one of this node, with a boot
// of at least least.
func (w *work) newWriter(least uint64) (record.Writer, error) {
	node := w.db.cfg.Node
	boot := max(least, w.st.node(node).Over()+1, uint64(max(1, w.db.cfg.Now().Unix())))
	w.st.each(func(s *writerState) {
		if s.writer.Node == node {
			boot = max(boot, s.writer.Boot+1)
		}
	})
	if limit := w.db.bootLimit(); boot > limit {
		return record.Writer{}, fmt.Errorf("boot %d of node %q would lie beyond two years from now (%v): a clock is or was far ahead", boot, node, w.db.cfg.Now().UTC().Format(time.RFC3339))
	}
	next := record.Writer{Node: node, Boot: boot, Bits: w.db.cfg.Rand()}
	w.st.self = w.st.intern(next)
	w.st.started = append(slices.Clone(w.st.started), w.st.self)
	b := lineBoot{next.Boot, next.Bits, w.st.sequence}
	w.st.boots = append(slices.Clone(w.st.boots), b)
	err := w.c.exec(`INSERT INTO _fb_local_boots (boot, bits, start) VALUES (?, ?, ?)`, int64(b.boot), int64(b.bits), int64(b.start))
	if err == nil {
		err = w.c.exec(`DELETE FROM _fb_local_boots WHERE id <= (SELECT max(id) FROM _fb_local_boots) - ?`, int64(maxBoots))
	}
	return next, err
}

// Renew implements [store.Store].
func (db *DB) Renew(ctx context.Context, boot uint64) (record.Writer, error) {
	var next record.Writer
	err := db.do(ctx, func(w *work) (err error) {
		next, err = w.renew(boot)
		return err
	})
	if err != nil {
		return record.Writer{}, fmt.Errorf("renew writer: %w", err)
	}
	return next, nil
}

func (w *work) renew(boot uint64) (record.Writer, error) {
	mine := w.st.started
	owned := w.onlyEvicted(mine, boot)
	next, err := w.newWriter(boot)
	if err != nil {
		return next, err
	}
	return next, w.restamp(mine, owned)
}

// onlyEvicted reports whether nothing but an eviction is above the writers of
// this start, the last of which is the present one, and asks for a boot: it
// leaves their shared and ranked records as they are.
func (w *work) onlyEvicted(start []int64, boot uint64) bool {
	self := w.st.get(w.st.self).writer
	n := w.st.node(self.Node)
	only := n.Evicted >= self.Boot && boot <= n.Evicted+1 && n.Closed < self.Boot
	w.st.each(func(s *writerState) {
		if s.writer.Node == self.Node && s.writer.Boot >= self.Boot && !slices.Contains(start, s.id) {
			only = false
		}
	})
	return only
}

// metOwnTail takes a new writer before the records of an earlier one of this
// node are merged that was not known at the start and ranks above: what this
// start has written must not be rolled back by it.
func (db *DB) metOwnTail() error {
	self := db.st.get(db.st.self).writer
	var boot uint64
	db.remote.peek(func(w record.Writer) {
		if w.Node == self.Node && w != self && w.Boot >= self.Boot {
			if _, known := db.st.id(w); !known {
				boot = max(boot, w.Boot+1)
			}
		}
	})
	return db.renewAbove(boot)
}

// listedOwnTail does the same before a listing is taken. A closing of such a
// start, too, would drop what this one has written.
func (db *DB) listedOwnTail(l *taking) error {
	self := db.st.get(db.st.self).writer
	var boot uint64
	meet := func(w record.Writer) {
		if w.Node == self.Node && w.Boot >= self.Boot && !db.st.mine(w) {
			boot = max(boot, w.Boot+1)
		}
	}
	for _, c := range slices.Concat(l.listed, l.rest) {
		meet(c.Writer)
	}
	for w, r := range l.received {
		if r.Head > 0 {
			meet(w)
		}
	}
	if n := l.nodes[self.Node]; n.Closed >= self.Boot {
		boot = max(boot, n.Closed+1)
	}
	return db.renewAbove(boot)
}

// renewAbove takes a new writer because of an earlier start's; zero means that
// there is none.
func (db *DB) renewAbove(boot uint64) error {
	if boot == 0 {
		return nil
	}
	db.cfg.Logger.Warn("an earlier start of this node had a higher boot: the writer is renewed", "boot", boot)
	return db.transaction(true, func(w *work) error {
		_, err := w.renew(boot)
		return err
	})
}

// restamp publishes again, under the writer of now, what writers of this start
// have written and still stands: in key order, in changesets within the caps,
// unchanged but for their rank: closings not, which name their writer, and
// nothing but owned rows if so asked.
func (w *work) restamp(ids []int64, owned bool) error {
	for _, t := range w.db.tables().all {
		if t.Kind == 0 || t.ID == closedID || owned && t.Kind != record.Owned {
			continue
		}
		keys, err := w.standingOf(t, ids)
		if err != nil {
			return err
		}
		for len(keys) > 0 {
			n, err := w.restampSome(t, keys)
			if err != nil {
				return fmt.Errorf("stamp again %s: %w", t.Name, err)
			}
			keys = keys[n:]
		}
	}
	return nil
}

func (w *work) standingOf(t *table, ids []int64) ([][]record.Value, error) {
	var keys [][]record.Value
	for _, id := range ids {
		sql, args := t.byWriter(w.st.get(id).writer.Node, id, 1, maxVersion)
		err := w.c.rows(context.Background(), sql, args, func(r []record.Value) error {
			keys = append(keys, r[1:])
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// restampSome makes one changeset of the first keys and says how many.
func (w *work) restampSome(t *table, keys [][]record.Value) (int, error) {
	const room = record.MaxChangeset - 4096
	size, n := 0, 0
	var writes []*write
	for _, key := range keys {
		s, err := w.c.shown(t, key)
		if err != nil {
			return 0, err
		}
		k, err := record.EncodeKey(key...)
		if err != nil {
			return 0, err
		}
		wr := &write{touch: &touch{touchKey: touchKey{t.Name, k}, cols: key, old: s.row}, table: t, row: s.row, more: s.more, shown: s}
		if wr.held, err = w.held(t.ID, k); err != nil {
			return 0, err
		}
		if size += w.sizeOf(wr); n > 0 && (size > room || n == record.MaxRecords) {
			break
		}
		writes = append(writes, wr)
		n++
	}
	c, err := w.stamp(writes, true)
	if err != nil {
		return 0, err
	}
	w.begin()
	return n, w.publish(c, writes, false)
}

func (w *work) sizeOf(wr *write) int {
	n := 128 + len(wr.key) + len(wr.more)
	for _, v := range wr.row {
		n += 24 + len(v.Data)
	}
	return n
}
