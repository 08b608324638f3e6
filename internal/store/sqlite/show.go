package sqlite

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// packed is the arguments of many runs of one statement.
type packed struct {
	args []byte
	n    int
}

// packing is the scratch of the goroutine that writes.
type packing struct {
	find, rows, books packed
}

func (p *packed) reset() *packed {
	p.args, p.n = p.args[:0], 0
	return p
}

func (p *packed) add(parts ...[]record.Value) {
	p.args = appendValues(p.args, parts...)
	p.n++
}

// addBooks adds s as the bookkeeping has it, and the key.
func (p *packed) addBooks(s *standing, key []record.Value) {
	b := record.AppendValue(p.args, record.Value{Type: record.Integer, Int: s.writer})
	b = record.AppendValue(b, record.Value{Type: record.Integer, Int: int64(s.version)})
	b = record.AppendValue(b, record.Value{Type: record.Integer, Int: s.wall})
	b = appendBlobOrNull(b, s.order)
	b = record.AppendValue(b, record.Of(s.deleted))
	b = append(append(b, byte(record.Blob), byte(len(s.hash))), s.hash[:]...)
	p.args = appendValues(appendBlobOrNull(b, s.more), key)
	p.n++
}

func appendBlobOrNull[T []byte | string](b []byte, data T) []byte {
	if len(data) == 0 {
		return append(b, byte(record.Null))
	}
	return appendBlob(b, data)
}

func appendBlob[T []byte | string](b []byte, data T) []byte {
	b = binary.AppendUvarint(append(b, byte(record.Blob)), uint64(len(data)))
	return append(b, data...)
}

// findShown finds what is kept for the keys of offers: their bookkeeping, and
// the rows of those that are no tombstones.
func (w *work) findShown(t *table, offers []offer) error {
	find := w.db.packed.find.reset()
	for i := range offers {
		if o := &offers[i]; !o.over && o.fault.shaped {
			find.add(o.key)
		}
	}
	if find.n == 0 {
		return nil
	}
	rows, _, err := w.c.many(t.getSide, find.args, find.n)
	if err != nil {
		return err
	}
	find.reset()
	var vals [sideWidth]record.Value
	for i := range offers {
		o := &offers[i]
		if o.over || !o.fault.shaped {
			continue
		}
		r, ok := rows.Next(vals[:0])
		if !ok {
			continue
		}
		rows.Next(nil) // the end of the run
		readSide(r, &o.room)
		if o.shown = &o.room; !o.shown.deleted {
			find.add(o.key)
		}
	}
	if find.n == 0 {
		return nil
	}
	// Not joined: SQLite prepares an outer join anew for every key bound.
	if rows, _, err = w.c.many(t.getRow, find.args, find.n); err != nil {
		return err
	}
	all := make([]record.Value, 0, find.n*t.Width())
	for i := range offers {
		o := &offers[i]
		if o.shown == nil || o.shown.deleted {
			continue
		}
		from := len(all)
		var ok bool
		if all, ok = rows.Next(all); ok {
			rows.Next(nil)
			o.shown.row = all[from:len(all):len(all)]
		}
	}
	return nil
}

// show writes the rows of those offers that nothing speaks against. A refusal
// by SQLite that is the row's own fault becomes the offer's; a failed run of a
// statement leaves nothing behind.
func (w *work) show(t *table, offers []offer) error {
	if t == nil {
		return nil
	}
	var remove, replace, insert, update, cold []*offer
	for i := range offers {
		o := &offers[i]
		old := o.shown != nil && o.shown.row != nil
		switch {
		case o.over || o.fault.reason != "":
		case o.row == nil && old:
			remove = append(remove, o)
		case o.row == nil || old && slices.EqualFunc(o.row, o.shown.row, record.Value.Equal):
		case t.replace != "":
			replace = append(replace, o)
		case !old:
			insert = append(insert, o)
		case t.staysIndexed(o.shown.row, o.row):
			cold = append(cold, o)
		default:
			update = append(update, o)
		}
	}
	for _, x := range []struct {
		sql    string
		offers []*offer
		args   func(p *packed, o *offer)
	}{
		{t.remove, remove, func(p *packed, o *offer) { p.add(o.key) }},
		{t.replace, replace, func(p *packed, o *offer) { p.add(o.row) }},
		{t.insert, insert, func(p *packed, o *offer) { p.add(o.row) }},
		{t.cold, cold, func(p *packed, o *offer) { p.add(t.coldValues(o.row), o.key) }},
		{t.update, update, func(p *packed, o *offer) { p.add(o.row[len(t.Key):], o.key) }},
	} {
		if err := w.showBy(x.sql, x.offers, x.args); err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
	}
	return nil
}

func (w *work) showBy(sql string, offers []*offer, args func(*packed, *offer)) error {
	for len(offers) > 0 {
		p := w.db.packed.rows.reset()
		for _, o := range offers {
			args(p, o)
		}
		_, done, err := w.c.many(sql, p.args, p.n)
		if err == nil {
			return nil
		}
		if !recordsFault(err) {
			return err
		}
		offers[done].fault = fault{store.ReasonConstraint, err.Error(), true}
		offers = offers[done+1:]
	}
	return nil
}
