package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// maxDamage bounds what one look names.
const maxDamage = 1000

// Verify reads every received record back, computes its content hash and the
// fingerprints anew, and compares them with what is stored. Its view is one
// snapshot; writes go on.
func (db *DB) Verify(ctx context.Context) (store.Verification, error) {
	s, err := db.snapshot(ctx)
	if err != nil {
		return store.Verification{}, fmt.Errorf("verify: %w", err)
	}
	defer s.Close()
	v := newVerifier(s)
	err = s.use(func(use context.Context, c *conn) error {
		use, stop := context.WithCancel(use)
		defer stop()
		defer context.AfterFunc(ctx, stop)()
		return v.run(use, c)
	})
	if err != nil {
		return v.out, fmt.Errorf("verify: %w", err)
	}
	return v.out, nil
}

type verifier struct {
	s    *snapshot
	out  store.Verification
	sums map[int64]*[len(record.Kinds)]record.Fingerprint
}

func newVerifier(s *snapshot) *verifier {
	return &verifier{s: s, sums: map[int64]*[len(record.Kinds)]record.Fingerprint{}}
}

func (v *verifier) found(table string, key []record.Value, format string, args ...any) {
	if len(v.out.Damage) == maxDamage {
		v.out.More++
		return
	}
	v.out.Damage = append(v.out.Damage, store.Damage{Table: table, Key: key, What: fmt.Sprintf(format, args...)})
}

func (v *verifier) run(ctx context.Context, c *conn) error {
	if err := v.records(ctx, c); err != nil {
		return err
	}
	v.prints()
	return nil
}

// records looks at each record by itself.
func (v *verifier) records(ctx context.Context, c *conn) error {
	for _, t := range v.s.tables.all {
		if t.Kind == 0 {
			continue
		}
		if err := v.table(ctx, c, t); err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
	}
	return c.rows(ctx, sqlHeldAll, nil, func(r []record.Value) error {
		v.held(readHeld(r))
		return nil
	})
}

// prints compares what the records sum to with the fingerprints.
func (v *verifier) prints() {
	for id, w := range v.s.byID {
		v.out.Writers++
		for i, k := range record.Kinds {
			var sum record.Fingerprint
			if s := v.sums[id]; s != nil {
				sum = s[i]
			}
			if sum != w.prints[i] {
				v.found("", nil, "writer %v: %v rows sum to %v, its fingerprint is %v", w.writer, k, sum, w.prints[i])
			}
		}
	}
}

func (v *verifier) table(ctx context.Context, c *conn, t *table) error {
	var after []record.Value
	for n := listPage; n == listPage; {
		n = 0
		sql, args := t.page("", after)
		var page [][]record.Value
		err := c.rows(ctx, sql, args, func(r []record.Value) error {
			n++
			after = r[sideWidth : sideWidth+len(t.Key)]
			page = append(page, r)
			return nil
		})
		if err != nil {
			return err
		}
		for _, r := range page {
			if err := v.row(c, t, r); err != nil {
				return err
			}
		}
	}
	return v.strays(ctx, c, t)
}

// row looks at one row of [table.page].
func (v *verifier) row(c *conn, t *table, r []record.Value) error {
	var side standing
	readSide(r, &side)
	key, rest := r[sideWidth:sideWidth+len(t.Key)], r[sideWidth+len(t.Key):]
	v.out.Rows++
	if v.s.byID[side.writer] == nil {
		v.found(t.Name, key, "its writer, number %d, is unknown", side.writer)
		return nil
	}
	if side.deleted && rest[0].Type != record.Null {
		v.found(t.Name, key, "is there, but was deleted")
	}
	f, err := v.s.readBack(t, r)
	if err != nil {
		v.found(t.Name, key, "%v", err)
		return nil
	}
	switch hash := v.s.hasher.Hash(f.Record, f.at); {
	case hash != side.hash:
		v.found(t.Name, key, "hashes to %v, was received as %v", hash, side.hash)
	case f.ForeignOwner(f.at.Writer):
		v.found(t.Name, key, "is shown, but was written by %q", f.at.Writer.Node)
	}
	held, err := c.row(sqlHeld, int64(t.ID), []byte(f.Key))
	if err == nil && held == nil { // else what is withheld counts
		v.add(f.writer, f.Record, v.s.hasher.Hash(f.Record, f.at))
	}
	return err
}

// strays finds rows without books.
func (v *verifier) strays(ctx context.Context, c *conn, t *table) error {
	cols := quoteAll(t.Names())
	key := cols[:len(t.Key)]
	on := ""
	for i, k := range key {
		if i > 0 {
			on += " AND "
		}
		on += "r." + k + " = t." + k
	}
	sql := fmt.Sprintf("SELECT %s FROM %s t WHERE NOT EXISTS (SELECT 1 FROM %s r WHERE %s)", list(prefix("t.", key)), schema.Quote(t.Name), t.side, on)
	return c.rows(ctx, sql, []driver.Value{}, func(r []record.Value) error {
		v.found(t.Name, r, "is there, but was never received")
		return nil
	})
}

func (v *verifier) held(h *heldRecord) {
	v.out.Withheld++
	at := v.s.point(h.writer, h.version)
	name := v.s.tables.nameOf(h.Table)
	cols, err := h.Key.Columns()
	if err != nil {
		v.found(name, nil, "withheld record %v: %v", h.hash, err)
	}
	hash := v.s.hasher.Hash(h.Record, at)
	if hash != h.hash {
		v.found(name, cols, "is withheld and hashes to %v, was received as %v", hash, h.hash)
	}
	v.add(h.writer, h.Record, hash)
}

func (v *verifier) add(writer int64, r record.Record, hash record.Hash) {
	if r.Deleted {
		return
	}
	if v.sums[writer] == nil {
		v.sums[writer] = new([len(record.Kinds)]record.Fingerprint)
	}
	sum := &v.sums[writer][r.Kind-1]
	*sum = sum.Add(hash)
}
