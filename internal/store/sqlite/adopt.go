package sqlite

import (
	"context"
	"fmt"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

// adopt merges anew the records of a table that has got columns, if they had
// brought cells for columns that were not known. Their bytes stay as they
// were, and so do hashes and fingerprints.
func (w *work) adopt(t *table) error {
	keys := make([]string, len(t.Key))
	for i, k := range t.Key {
		keys[i] = schema.Quote(k.Name)
	}
	var all [][]record.Value
	err := w.c.rows(context.Background(), fmt.Sprintf("SELECT %s FROM %s WHERE _fb_more IS NOT NULL", list(keys), t.side), nil,
		func(r []record.Value) error {
			all = append(all, r)
			return nil
		})
	for _, key := range all {
		if err == nil {
			err = w.adoptRow(t, key)
		}
	}
	if err != nil {
		return fmt.Errorf("table %s: take up new columns: %w", t.Name, err)
	}
	return nil
}

func (w *work) adoptRow(t *table, key []record.Value) error {
	s, err := w.c.shown(t, key)
	if err != nil || s == nil || s.row == nil {
		return err
	}
	r, err := s.record(t, key)
	if err != nil {
		return err
	}
	held, err := w.held(t.ID, r.Key)
	if err != nil {
		return err
	}
	if err := w.putRow(t, key, s.row, nil); err != nil {
		return err
	}
	if err := w.c.write(t.removeSide, key); err != nil {
		return err
	}
	w.begin()
	w.retop(t.Kind, w.top(t.Kind, s, held), held)
	at := w.st.point(s.writer, s.version)
	offers := make([]offer, 1)
	if err := w.offer(&offers[0], record.Changeset{Writer: at.Writer, Version: at.Version, Wall: s.wall}, s.writer, r); err != nil {
		return err
	}
	if _, err := w.merge(offers); err != nil {
		return err
	}
	w.enter(at, nil)
	return nil
}
