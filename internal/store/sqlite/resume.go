package sqlite

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
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
		type line struct {
			seq           uint64
			at            record.Point
			writers, keys string
		}
		var lines []line
		err := c.rows(ctx, `SELECT sequence, w, v, writers, keys FROM _fb_local_feed WHERE sequence > ? ORDER BY sequence LIMIT ?`,
			[]driver.Value{int64(seq), int64(feedBatch)}, func(r []record.Value) error {
				lines = append(lines, line{uint64(r[0].Int), s.point(r[1].Int, record.Version(r[2].Int)), r[3].Data, r[4].Data})
				return nil
			})
		if err != nil {
			return err
		}
		if len(lines) == 0 || lines[0].seq != seq+1 {
			return store.ErrResync
		}
		for _, l := range lines {
			e := store.Entry{Position: db.line.at(l.seq), Point: l.at}
			if e.States, err = s.states([]byte(l.writers)); err != nil {
				return err
			}
			if e.Changes, err = s.changes(c, []byte(l.keys)); err != nil {
				return err
			}
			out = append(out, e)
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

var errFeed = errors.New("feed entry is damaged")

func (s *snapshot) states(b []byte) ([]store.WriterState, error) {
	var out []store.WriterState
	for len(b) > 0 {
		id, n := binary.Varint(b)
		if n <= 0 {
			return nil, errFeed
		}
		if w := s.byID[id]; w != nil {
			out = append(out, w.public())
		}
		b = b[n:]
	}
	return out, nil
}

func (s *snapshot) changes(c *conn, b []byte) ([]store.Change, error) {
	var out []store.Change
	for len(b) > 0 {
		name, rest, ok := cutBytes(b)
		key, rest, ok2 := cutBytes(rest)
		if !ok || !ok2 {
			return nil, errFeed
		}
		b = rest
		t := s.db.byName[name]
		if t == nil {
			continue // its table has left the schema
		}
		cols, err := record.Key(key).Columns()
		if err != nil {
			return nil, err
		}
		ch := store.Change{Table: name, Key: record.Key(key)}
		side, err := c.shown(t, cols)
		if err != nil {
			return nil, err
		}
		if side != nil {
			ch.Point, ch.Wall, ch.New = s.point(side.writer, side.version), side.wall, side.row
		}
		out = append(out, ch)
	}
	return out, nil
}

func cutBytes(b []byte) (string, []byte, bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return "", nil, false
	}
	return string(b[size : uint64(size)+n]), b[uint64(size)+n:], true
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
