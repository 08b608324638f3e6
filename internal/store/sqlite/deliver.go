package sqlite

import (
	"cmp"
	"context"
	"database/sql/driver"
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// byWriter selects version and key of what stands of one writer. A node owns a
// few hundred rows, which lie together: they are scanned. Other tables have an
// index.
func (t *table) byWriter(node record.Node, id int64, from, to record.Version) (string, []driver.Value) {
	keys := make([]string, len(t.Key))
	for i, k := range t.Key {
		keys[i] = schema.Quote(k.Name)
	}
	sql := fmt.Sprintf("SELECT _fb_v, %s FROM %s WHERE _fb_w = ? AND _fb_v BETWEEN ? AND ?", list(keys), t.side)
	args := []driver.Value{id, int64(from), int64(to)}
	if t.Kind == record.Owned {
		return sql + fmt.Sprintf(" AND %s = ? ORDER BY %s", keys[0], list(keys)), append(args, string(node))
	}
	return sql + " ORDER BY _fb_v", args
}

// place is where a record of a version lies.
type place struct {
	version record.Version
	table   *table
	key     []record.Value
	held    *heldRecord
}

// Deliver implements [store.Snapshot]. A record is read back from its row and
// must hash as it did when it came: what the disk has damaged is not served.
func (s *snapshot) Deliver(w record.Writer, r record.Range, limit int, without ...record.Kind) ([]record.Delivery, error) {
	var out []record.Delivery
	err := s.use(func(ctx context.Context, c *conn) (err error) {
		id, known := s.byName[w]
		if !known {
			return nil
		}
		r.To = min(r.To, maxVersion)
		for i, k := range record.Kinds {
			if !slices.Contains(without, k) {
				r.From = max(r.From, s.byID[id].floors[i]+1)
			}
		}
		places, err := s.places(ctx, c, id, r, without)
		if err == nil {
			out, err = s.collect(c, w, id, r, limit, places)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("deliver %v %d..%d: %w", w, r.From, r.To, err)
	}
	return out, nil
}

func (s *snapshot) places(ctx context.Context, c *conn, id int64, r record.Range, without []record.Kind) ([]place, error) {
	var out []place
	for _, t := range s.tables.all {
		if t.Kind == 0 || slices.Contains(without, t.Kind) {
			continue
		}
		sql, args := t.byWriter(s.byID[id].writer.Node, id, r.From, r.To)
		err := c.rows(ctx, sql, args, func(v []record.Value) error {
			out = append(out, place{version: record.Version(v[0].Int), table: t, key: v[1:]})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	err := c.rows(ctx, sqlHeldOf, []driver.Value{id, int64(r.From), int64(r.To)}, func(v []record.Value) error {
		h := readHeld(v)
		if slices.Contains(without, h.Kind) {
			return nil
		}
		out = append(out, place{version: h.version, held: h})
		return nil
	})
	slices.SortStableFunc(out, func(a, b place) int { return cmp.Compare(a.version, b.version) })
	return out, err
}

// collect makes deliveries of the received parts of r, as far as limit goes.
func (s *snapshot) collect(c *conn, w record.Writer, id int64, r record.Range, limit int, places []place) ([]record.Delivery, error) {
	var out []record.Delivery
	size := 0
	for _, part := range s.byID[id].recv.Ranges() {
		part.From, part.To = max(part.From, r.From), min(part.To, r.To)
		if part.From > part.To {
			continue
		}
		d := record.Delivery{Writer: w, Range: part}
		for len(places) > 0 && places[0].version <= part.To {
			if size >= limit && (len(out) > 0 || len(d.Changesets) > 0) {
				return cut(out, d, places[0].version), nil
			}
			cs, n, err := s.changeset(c, w, id, &places)
			if err != nil {
				return nil, err
			}
			d.Changesets = append(d.Changesets, cs)
			size += n
		}
		out = append(out, d)
	}
	return out, nil
}

// cut ends the last delivery below version next.
func cut(out []record.Delivery, d record.Delivery, next record.Version) []record.Delivery {
	d.Range.To = next - 1
	if d.Range.Len() > 0 {
		out = append(out, d)
	}
	return out
}

// changeset takes the places of one version.
func (s *snapshot) changeset(c *conn, w record.Writer, id int64, places *[]place) (record.Changeset, int, error) {
	cs := record.Changeset{Writer: w, Version: (*places)[0].version}
	size := 32
	for len(*places) > 0 && (*places)[0].version == cs.Version {
		p := (*places)[0]
		*places = (*places)[1:]
		r, wall, err := s.record(c, w, p)
		if err != nil {
			return cs, 0, err
		}
		cs.Wall = wall
		cs.Records = append(cs.Records, r)
		size += len(r.Key) + len(r.Order) + len(r.Cells) + 24
	}
	return cs, size, nil
}

func (s *snapshot) record(c *conn, w record.Writer, p place) (record.Record, int64, error) {
	if p.held != nil {
		return p.held.Record, p.held.wall, nil
	}
	side, err := c.shown(p.table, p.key)
	if err != nil {
		return record.Record{}, 0, err
	}
	if side == nil || !side.deleted && side.row == nil {
		return record.Record{}, 0, fmt.Errorf("%w: table %s: row %v is gone", ErrDamaged, p.table.Name, p.key)
	}
	r, err := side.record(p.table, p.key)
	if err != nil {
		return record.Record{}, 0, err
	}
	if s.hasher.Hash(r, record.Point{Writer: w, Version: p.version}) != side.hash {
		return record.Record{}, 0, fmt.Errorf("%w: table %s: row %v is not what was received", ErrDamaged, p.table.Name, p.key)
	}
	return r, side.wall, nil
}

// record makes the record that s is, of the row as the table shows it.
func (s *standing) record(t *table, key []record.Value) (record.Record, error) {
	if !s.deleted {
		return rebuild(t, s.row, s.order, s.more)
	}
	k, err := record.EncodeKey(key...)
	return record.Record{Table: t.ID, Kind: t.Kind, Key: k, Order: s.order, Deleted: true}, err
}

func sortStates(s []store.WriterState) {
	slices.SortFunc(s, func(a, b store.WriterState) int { return a.Writer.Compare(b.Writer) })
}
