package sqlite

import (
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

func (p *packed) add(parts ...[]record.Value) {
	p.args = appendValues(p.args, parts...)
	p.n++
}

// findShown finds what is kept for the keys of offers: their bookkeeping, and
// the rows of those that are no tombstones.
func (c *conn) findShown(t *table, offers []*offer) error {
	var find packed
	for _, o := range offers {
		if !o.over && o.fault.shaped {
			find.add(o.key)
		}
	}
	if find.n == 0 {
		return nil
	}
	rows, _, err := c.many(t.getSide, find.args, find.n)
	if err != nil {
		return err
	}
	find = packed{args: find.args[:0]}
	var vals [sideWidth]record.Value
	for _, o := range offers {
		if o.over || !o.fault.shaped {
			continue
		}
		if r, ok := rows.Next(vals[:0]); ok {
			rows.Next(nil)
			o.shown = readSide(r)
		}
		if o.shown != nil && !o.shown.deleted {
			find.add(o.key)
		}
	}
	if find.n == 0 {
		return nil
	}
	// Not joined: SQLite prepares an outer join anew for every key bound.
	if rows, _, err = c.many(t.getRow, find.args, find.n); err != nil {
		return err
	}
	for _, o := range offers {
		if o.shown == nil || o.shown.deleted {
			continue
		}
		if r, ok := rows.Next(make([]record.Value, 0, t.Width())); ok {
			rows.Next(nil)
			o.shown.row = r
		}
	}
	return nil
}

// show writes the rows of those offers that nothing speaks against. A refusal
// by SQLite that is the row's own fault becomes the offer's; a failed run of a
// statement leaves nothing behind.
func (w *work) show(t *table, offers []*offer) error {
	if t == nil {
		return nil
	}
	var remove, replace, insert, update []*offer
	for _, o := range offers {
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
		var p packed
		for _, o := range offers {
			args(&p, o)
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
