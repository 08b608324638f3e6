package sqlite

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// The state of a writer is in its row of _fb_writers, but for that of this
// node's own: it changes with every local commit, and so does the feed, so it
// is in the newest row of the feed. A commit then writes a page less.

// readWriters calls fn with the state of each writer, and returns the id of the
// one whose state is in the feed; zero if none is.
func readWriters(c *conn, fn func(*writerState)) (own int64, err error) {
	own, state, err := c.readOwn()
	if err != nil {
		return 0, err
	}
	found := own == 0
	err = c.rows(context.Background(), sqlWriters, nil, func(r []record.Value) error {
		w := &writerState{id: r[0].Int, writer: record.Writer{Node: record.Node(r[1].Data), Boot: uint64(r[2].Int), Bits: uint64(r[3].Int)}}
		vals := r[4:]
		if w.id == own {
			vals, found = state, true
		}
		if err := w.read(vals); err != nil {
			return err
		}
		fn(w)
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("%w: the newest entry of the feed is of writer %d, which is unknown", ErrDamaged, own)
	}
	return own, err
}

// readOwn returns the id and the state in the newest row of the feed.
func (c *conn) readOwn() (id int64, state []record.Value, err error) {
	r, err := c.row(sqlOwn)
	if err != nil || r == nil {
		return 0, nil, err
	}
	return cutOwn(r[0].Data)
}

func cutOwn(own string) (id int64, state []record.Value, err error) {
	for own != "" && err == nil && len(state) <= 1+stateWidth {
		var v record.Value
		v, own, err = record.CutValue(own)
		state = append(state, v)
	}
	if err != nil || len(state) != 1+stateWidth || state[0].Int <= 0 {
		return 0, nil, fmt.Errorf("%w: the newest entry of the feed lacks the state of its writer", ErrDamaged)
	}
	return state[0].Int, state[1:], nil
}

// settleOwn writes the state that is in the feed where that of others is.
func (c *conn) settleOwn() error {
	id, state, err := c.readOwn()
	if err != nil || id == 0 {
		return err
	}
	return c.write(sqlPutState, state, []record.Value{record.Of(id)})
}

// stateWidth is how many values appendState appends.
const stateWidth = 2 + len(record.Kinds)

// appendState appends the received set, the fingerprints and the floors of w,
// each a packed value. A fingerprint of no rows is empty.
func appendState(b []byte, w *writerState) []byte {
	b = appendBlob(b, record.AppendReceived(nil, w.recv))
	for _, f := range w.prints {
		if f == (record.Fingerprint{}) {
			b = append(b, byte(record.Blob), 0)
			continue
		}
		b = f.Append(append(b, byte(record.Blob), 16))
	}
	var floors []byte
	for _, v := range w.floors {
		floors = binary.AppendUvarint(floors, uint64(v))
	}
	return appendBlob(b, floors)
}

// read reads those values.
func (w *writerState) read(vals []record.Value) (err error) {
	var rest []byte
	if w.recv, rest, err = record.ReadReceived([]byte(vals[0].Data)); err != nil || len(rest) > 0 {
		return fmt.Errorf("received set of %v is damaged: %w", w.writer, err)
	}
	for i := range w.prints {
		b := []byte(vals[1+i].Data)
		if len(b) == 0 {
			continue
		}
		if len(b) != 16 {
			return fmt.Errorf("fingerprint of %v is damaged", w.writer)
		}
		w.prints[i] = record.Fingerprint{Hi: binary.BigEndian.Uint64(b), Lo: binary.BigEndian.Uint64(b[8:])}
	}
	floors := []byte(vals[stateWidth-1].Data)
	for i := range w.floors {
		n, size := binary.Uvarint(floors)
		if size <= 0 || n > maxVersion {
			return fmt.Errorf("floors of %v are damaged", w.writer)
		}
		w.floors[i], floors = record.Version(n), floors[size:]
	}
	return nil
}

func (p *packed) addWriter(w *writerState) {
	p.args = appendInteger(p.args, w.id)
	p.args = record.AppendValue(p.args, record.Value{Type: record.Text, Data: string(w.writer.Node)})
	p.args = appendInteger(p.args, int64(w.writer.Boot))
	p.args = appendInteger(p.args, int64(w.writer.Bits))
	p.args = appendState(p.args, w)
	p.n++
}

func appendInteger(b []byte, n int64) []byte {
	return record.AppendValue(b, record.Value{Type: record.Integer, Int: n})
}

// flushWriters writes the feed entries of the transaction, and the states of
// the writers that it changed.
func (w *work) flushWriters() error {
	st := w.st
	taken := st.own != st.self // another one's state is in the feed still
	_, changed := st.writers[st.self]
	ids := make([]int64, 0, len(st.writers)+1)
	for id := range st.writers {
		if id != st.self || taken || len(st.entries) == 0 {
			ids = append(ids, id)
		}
	}
	if _, there := st.writers[st.own]; taken && st.own != 0 && !there {
		ids = append(ids, st.own)
	}
	slices.Sort(ids)
	p := w.db.packed.books.reset()
	for _, id := range ids {
		p.addWriter(st.get(id))
	}
	if p.n > 0 {
		if _, _, err := w.c.many(sqlPutWriter, p.args, p.n); err != nil {
			return err
		}
	}
	switch {
	case len(st.entries) > 0:
		if err := w.flushFeed(p.reset()); err != nil {
			return err
		}
	case changed || taken:
		if err := w.c.exec(sqlPutOwn, w.ownState()); err != nil {
			return err
		}
	}
	st.own = st.self
	return nil
}

// flushFeed writes the entries of the transaction as one row.
func (w *work) flushFeed(p *packed) error {
	n := uint64(len(w.st.entries))
	b := appendInteger(p.args, int64(w.st.sequence))
	b = binary.AppendUvarint(append(b, byte(record.Blob)), uint64(len(binary.AppendUvarint(nil, n))+len(w.st.lines)))
	b = append(binary.AppendUvarint(b, n), w.st.lines...)
	p.args = appendBlob(b, w.ownState())
	_, _, err := w.c.many(sqlPutFeed, p.args, 1)
	return err
}

// ownState is what a row of the feed says of the writer of now.
func (w *work) ownState() []byte {
	return appendState(appendInteger(nil, w.st.self), w.st.get(w.st.self))
}
