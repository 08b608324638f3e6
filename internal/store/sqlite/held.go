package sqlite

import (
	"context"
	"fmt"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// Withheld returns a withheld record by its content hash, whole or its stub.
func (db *DB) Withheld(ctx context.Context, hash record.Hash) (store.Withheld, record.Record, error) {
	s, err := db.snapshot(ctx)
	if err != nil {
		return store.Withheld{}, record.Record{}, fmt.Errorf("withheld %v: %w", hash, err)
	}
	defer s.Close()
	var out store.Withheld
	var rec record.Record
	err = s.use(func(_ context.Context, c *conn) error {
		h, err := findHeld(c, hash)
		if err == nil {
			out, rec = db.withheldOf(h, s.point(h.writer, h.version)), h.Record
		}
		return err
	})
	return out, rec, err
}

func findHeld(c *conn, hash record.Hash) (*heldRecord, error) {
	r, err := c.row(sqlHeldHash, hash[:])
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, fmt.Errorf("record %v: %w", hash, store.ErrNotWithheld)
	}
	return readHeld(r), nil
}

// Release judges a withheld record anew and shows it, if nothing speaks against
// it any more. [store.ErrHeld] says that something does, and what.
func (db *DB) Release(ctx context.Context, hash record.Hash) error {
	var h *heldRecord
	err := db.do(ctx, func(w *work) (err error) {
		h, err = findHeld(w.c, hash)
		return err
	})
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	switch {
	case h.reason == store.ReasonOwner:
		return fmt.Errorf("release %v: %w: it is not in the name of its writer's node and is never shown; discard it", hash, store.ErrHeld)
	case h.Stub != nil:
		return fmt.Errorf("release %v: %w: its cells were discarded; it is shown once the whole record comes from a node that has it", hash, store.ErrHeld)
	}
	if err := db.inLoop(ctx, func() error { return db.releaseAlone(h, true) }); err != nil {
		return fmt.Errorf("release %v: %w", hash, err)
	}
	var still store.Withheld
	if still, _, err = db.Withheld(ctx, hash); err == nil {
		return fmt.Errorf("release %v: %w: %s: %s", hash, store.ErrHeld, still.Reason, still.Detail)
	}
	return nil
}

// Discard drops the cells of a withheld record and keeps a stub, which counts
// as received and is served in its place. A stub may be discarded again.
func (db *DB) Discard(ctx context.Context, hash record.Hash) error {
	err := db.do(ctx, func(w *work) error {
		h, err := findHeld(w.c, hash)
		if err != nil || h.Stub != nil {
			return err
		}
		w.count(&h.standing, -1)
		h.size = heldSize(h.Key, "")
		w.count(&h.standing, 1)
		return w.c.exec(`UPDATE _fb_withheld SET stub = 1, cells = x'' WHERE hash = ?`, hash[:])
	})
	if err != nil {
		return fmt.Errorf("discard: %w", err)
	}
	return nil
}
