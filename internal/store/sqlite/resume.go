package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// feedFromDisk makes feed entries of what is kept on disk: which rows changed,
// and how they are now.
func (db *DB) feedFromDisk(ctx context.Context, seq uint64) ([]store.Entry, error) {
	s, err := db.snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the feed: %w", err)
	}
	defer s.Close()
	var out []store.Entry
	err = s.use(func(ctx context.Context, c *conn) error {
		err := c.rows(ctx, `SELECT sequence, entries FROM _fb_local_feed WHERE sequence > ? ORDER BY sequence LIMIT ?`,
			[]driver.Value{int64(seq), int64(feedBatch)}, func(row []record.Value) error {
				r := lineReader{b: row[1].Data}
				n := r.count()
				for at := uint64(row[0].Int) + 1 - uint64(n); at <= uint64(row[0].Int) && r.err == nil; at++ {
					l := r.line()
					if at > seq {
						if len(out) == 0 && at != seq+1 {
							return store.ErrResync
						}
						out = append(out, s.entry(at, l))
					}
				}
				if r.err == nil && len(out) >= feedBatch {
					return errEnough
				}
				return r.err
			})
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
		if len(out) == 0 {
			return store.ErrResync
		}
		out = out[:min(len(out), feedBatch)]
		for i := range out {
			if err := s.complete(c, out[i].Changes); err != nil {
				return err
			}
			out[i].Changes = slices.DeleteFunc(out[i].Changes, func(ch store.Change) bool { return s.tables.byName[ch.Table] == nil })
		}
		return nil
	})
	if err == nil {
		err = s.addLocal(out)
	}
	if err != nil {
		return nil, fmt.Errorf("read the feed: %w", err)
	}
	return out, nil
}

var errEnough = errors.New("enough")

func (s *snapshot) entry(at uint64, l line) store.Entry {
	e := store.Entry{Position: s.db.line.at(at), Point: s.point(l.writer, l.at.Version), Changes: l.changes}
	for _, id := range l.writers {
		if w := s.byID[id]; w != nil {
			e.States = append(e.States, w.public())
			if n, ok := s.nodes[w.writer.Node]; ok && !slices.Contains(e.Nodes, n) {
				e.Nodes = append(e.Nodes, n)
			}
		}
	}
	return e
}

// complete adds to changes how their rows are now.
func (s *snapshot) complete(c *conn, changes []store.Change) error {
	for i := range changes {
		ch := &changes[i]
		t := s.tables.byName[ch.Table]
		if t == nil {
			continue // its table has left the schema
		}
		cols, err := ch.Key.Columns()
		if err != nil {
			return err
		}
		side, err := c.shown(t, cols)
		if err != nil {
			return err
		}
		if side != nil {
			ch.Point, ch.Wall, ch.New = s.point(side.writer, side.version), side.wall, side.row
		}
	}
	return nil
}

// addLocal gives entries of the writer of now what still stands of their
// changesets, so that a consumer that sends them on and fell behind still can.
func (s *snapshot) addLocal(entries []store.Entry) error {
	self := s.db.Writer()
	for i := range entries {
		e := &entries[i]
		if e.Point.Writer != self {
			continue
		}
		ds, err := s.Deliver(self, record.Range{From: e.Point.Version, To: e.Point.Version}, 1)
		if err != nil {
			return err
		}
		if len(ds) == 1 && len(ds[0].Changesets) == 1 {
			cs := ds[0].Changesets[0]
			cs.Records = slices.Clip(cs.Records)
			e.Local = &cs
		}
	}
	return nil
}
