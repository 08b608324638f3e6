package sqlite

import (
	"cmp"
	"context"
	"database/sql/driver"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// listPage is how many rows one step of a listing reads.
const listPage = 256

// Nodes implements [store.Snapshot].
func (s *snapshot) Nodes() ([]store.NodeState, error) {
	var out []store.NodeState
	err := s.use(func(context.Context, *conn) error {
		for _, n := range s.nodes {
			out = append(out, n)
		}
		slices.SortFunc(out, func(a, b store.NodeState) int { return cmp.Compare(a.Node, b.Node) })
		return nil
	})
	return out, err
}

// found is a received record as it was read back.
type found struct {
	record.Record
	writer int64
	at     record.Point
	wall   int64
}

// stretch is one stretch of what a listing reads: the rows of a table, all or
// one owner's, or what is withheld.
type stretch struct {
	table *table      // nil: what is withheld
	owner record.Node // empty: everybody's
	after []record.Value
}

// listing implements [store.Listing]. It reads by the keys, a page at a time.
type listing struct {
	s         *snapshot
	scopes    []store.Scope
	stretches []stretch
	buf       []found
	sums      map[int64]*[len(record.Kinds)]record.Fingerprint
}

// List implements [store.Snapshot].
func (s *snapshot) List(scopes []store.Scope) (store.Listing, error) {
	l := &listing{s: s, scopes: scopes, sums: map[int64]*[len(record.Kinds)]record.Fingerprint{}}
	for _, scope := range scopes {
		for _, t := range s.tables.all {
			if t.Kind != 0 && t.Kind == scope.Kind {
				l.stretches = append(l.stretches, stretch{table: t, owner: scope.Node})
			}
		}
	}
	l.stretches = append(l.stretches, stretch{})
	return l, nil
}

func (l *listing) covers(at record.Point, k record.Kind) bool {
	return slices.Contains(l.scopes, store.ScopeOf(at.Writer, k))
}

// Next implements [store.Listing].
func (l *listing) Next(limit int) ([]record.Changeset, error) {
	for len(l.buf) == 0 {
		if len(l.stretches) == 0 {
			return nil, l.end()
		}
		err := l.s.use(func(ctx context.Context, c *conn) error { return l.read(ctx, c) })
		if err != nil {
			return nil, fmt.Errorf("list: %w", err)
		}
	}
	size, n := 0, 0
	for n < len(l.buf) && (n == 0 || size < limit) {
		size += len(l.buf[n].Key) + len(l.buf[n].Cells) + len(l.buf[n].Order) + 64
		n++
	}
	out := grouped(l.buf[:n])
	l.buf = l.buf[n:]
	return out, nil
}

// end compares what was read with what the snapshot states.
func (l *listing) end() error {
	for id, w := range l.s.byID {
		for i, k := range record.Kinds {
			if !slices.Contains(l.scopes, store.ScopeOf(w.writer, k)) {
				continue
			}
			var sum record.Fingerprint
			if s := l.sums[id]; s != nil {
				sum = s[i]
			}
			if sum != w.prints[i] {
				return fmt.Errorf("writer %v, %v rows: %w", w.writer, k, store.ErrDamaged)
			}
		}
	}
	return io.EOF
}

// read fills the buffer from the first stretch.
func (l *listing) read(ctx context.Context, c *conn) error {
	src := &l.stretches[0]
	if src.table == nil {
		l.stretches = l.stretches[1:]
		return c.rows(ctx, sqlHeldAll, nil, func(r []record.Value) error {
			h := readHeld(r)
			l.add(found{Record: h.Record, writer: h.writer, at: l.s.point(h.writer, h.version), wall: h.wall})
			return nil
		})
	}
	t, n := src.table, 0
	sql, args := t.page(src.owner, src.after)
	var page []found
	err := c.rows(ctx, sql, args, func(r []record.Value) error {
		n++
		src.after = r[sideWidth : sideWidth+len(t.Key)]
		f, err := l.s.readBack(t, r)
		page = append(page, f)
		return err
	})
	for _, f := range page {
		var held []record.Value
		if err == nil {
			held, err = c.row(sqlHeld, int64(t.ID), []byte(f.Key))
		}
		if err == nil && held == nil { // else what is withheld ranks above it
			l.add(f)
		}
	}
	if n < listPage {
		l.stretches = l.stretches[1:]
	}
	return err
}

// readBack makes the record of a row of [table.page].
func (s *snapshot) readBack(t *table, r []record.Value) (found, error) {
	var side standing
	readSide(r, &side)
	key, rest := r[sideWidth:sideWidth+len(t.Key)], r[sideWidth+len(t.Key):]
	f := found{writer: side.writer, at: s.point(side.writer, side.version), wall: side.wall}
	if !side.deleted {
		if rest[0].Type == record.Null {
			return f, fmt.Errorf("table %s: row %v is gone: %w", t.Name, key, store.ErrDamaged)
		}
		side.row = store.Row(rest)
	}
	var err error
	if f.Record, err = side.record(t, key); err != nil {
		return f, fmt.Errorf("table %s: row %v: %w: %w", t.Name, key, store.ErrDamaged, err)
	}
	return f, nil
}

func (l *listing) add(f found) {
	if !l.covers(f.at, f.Kind) {
		return
	}
	if !f.Deleted {
		if l.sums[f.writer] == nil {
			l.sums[f.writer] = new([len(record.Kinds)]record.Fingerprint)
		}
		sum := &l.sums[f.writer][f.Kind-1]
		*sum = sum.Add(l.s.hasher.Hash(f.Record, f.at))
	}
	l.buf = append(l.buf, f)
}

// grouped makes changesets of records.
func grouped(all []found) []record.Changeset {
	slices.SortStableFunc(all, func(a, b found) int {
		return cmp.Or(a.at.Writer.Compare(b.at.Writer), cmp.Compare(a.at.Version, b.at.Version))
	})
	var out []record.Changeset
	for _, f := range all {
		if n := len(out); n == 0 || out[n-1].Point() != f.at {
			out = append(out, record.Changeset{Writer: f.at.Writer, Version: f.at.Version, Wall: f.wall})
		}
		last := &out[len(out)-1]
		last.Records = append(last.Records, f.Record)
	}
	return out
}

// page selects bookkeeping, key and row of the next keys, of one owner or all,
// tombstones included. Key columns of rows that are not there are NULL.
func (t *table) page(owner record.Node, after []record.Value) (string, []driver.Value) {
	cols := quoteAll(t.Names())
	key := cols[:len(t.Key)]
	on := make([]string, len(key))
	for i, k := range key {
		on[i] = "t." + k + " = r." + k
	}
	var where []string
	var args []driver.Value
	if owner != "" {
		where, args = append(where, "r."+key[0]+" = ?"), append(args, string(owner))
	}
	if after != nil {
		where = append(where, fmt.Sprintf("(%s) > (%s)", list(prefix("r.", key)), marks(len(key))))
		args = appendDriver(args, after)
	}
	sql := "SELECT " + sideColumns + ", " + list(prefix("r.", key)) + ", " + list(prefix("t.", cols)) +
		" FROM " + t.side + " r LEFT JOIN " + schema.Quote(t.Name) + " t ON " + join(on, " AND ")
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	return fmt.Sprintf("%s ORDER BY %s LIMIT %d", sql, list(prefix("r.", key)), listPage), args
}
