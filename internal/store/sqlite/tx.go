package sqlite

import (
	"context"
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// tx is a local write in hand. What it is told to write it takes down itself;
// only statements of users need triggers for that.
type tx struct {
	*work
	done bool
}

func (x *tx) table(name string, width, least, most int) (*table, error) {
	t := x.db.tables().byName[name]
	switch {
	case x.done:
		return nil, fmt.Errorf("table %s: transaction is over", name)
	case t == nil:
		return nil, fmt.Errorf("table %s is unknown", name)
	}
	if most < 0 {
		most = len(t.Key)
	}
	if least < 0 {
		least = len(t.Key)
	}
	if most == 0 {
		least, most = t.Width(), t.Width()
	}
	if width < least || width > most {
		return nil, fmt.Errorf("table %s: %d values, want %d", name, width, most)
	}
	return t, nil
}

func (x *tx) Get(name string, key ...record.Value) (store.Row, bool, error) {
	t, err := x.table(name, len(key), -1, -1)
	if err != nil {
		return nil, false, err
	}
	row, err := x.c.get(t.getRow, key)
	return row, row != nil, err
}

// Scan reads all rows before the first call of fn, so fn may change them.
func (x *tx) Scan(name string, key []record.Value, fn func(store.Row) error) error {
	t, err := x.table(name, len(key), 0, -1)
	if err != nil {
		return err
	}
	var rows []store.Row
	err = x.c.rows(context.Background(), t.scan(len(key), false), toDriver(key), func(r []record.Value) error {
		rows = append(rows, r)
		return nil
	})
	for _, r := range rows {
		if err != nil {
			break
		}
		err = fn(r)
	}
	return err
}

func (x *tx) Put(name string, row store.Row) error {
	t, err := x.table(name, len(row), 0, 0)
	if err != nil {
		return err
	}
	if err = x.put(t, row); err != nil {
		return fmt.Errorf("table %s: put %v: %w", name, row[:len(t.Key)], err)
	}
	return nil
}

func (x *tx) put(t *table, row store.Row) error {
	if t.Kind == 0 {
		return x.c.write(t.upsert, row)
	}
	at, err := x.touch(t, row[:len(t.Key)], true)
	if err != nil {
		return err
	}
	at.now, at.known = append(slices.Clone(at.cols), row[len(t.Key):]...), true
	for i := range t.columns {
		if c := &t.columns[i]; !surelyKept(c.affinity, row[c.at]) {
			at.known = false
		}
	}
	if t.replace == "" || t.missing(row) != "" {
		return x.c.write(t.upsert, row)
	}
	return x.c.write(t.replace, row)
}

func (x *tx) Delete(name string, key ...record.Value) error {
	t, err := x.table(name, len(key), -1, -1)
	if err != nil {
		return err
	}
	if t.Kind != 0 {
		var at *touch
		if at, err = x.touch(t, key, false); err == nil && at == nil {
			return nil
		}
		if err == nil {
			at.now, at.known, at.more = nil, true, ""
		}
	}
	if err == nil {
		err = x.c.write(t.remove, key)
	}
	if err != nil {
		return fmt.Errorf("table %s: delete %v: %w", name, key, err)
	}
	return nil
}

// touch takes down that the row of key is about to change; nil if there is
// none and none is made.
func (x *tx) touch(t *table, key []record.Value, makes bool) (*touch, error) {
	cols := make([]record.Value, len(key))
	for i, v := range key {
		var err error
		if cols[i], err = x.stored(t.keys[i], v); err != nil {
			return nil, err
		}
	}
	if err := t.fitsKey(cols); err != nil {
		return nil, err
	}
	k, err := record.EncodeKey(cols...)
	if err != nil {
		return nil, err
	}
	if at := x.db.capture.touched[touchKey{t.Name, k}]; at != nil {
		return at, nil
	}
	old, err := x.c.get(t.getRow, cols)
	if err != nil || old == nil && !makes {
		return nil, err
	}
	return x.db.capture.take(touchKey{t.Name, k}, cols, old)
}

// upsertSQL writes a whole row by the key, and keeps what it has of columns
// that are not known here.
func upsertSQL(s schema.Table) string {
	cols := quoteAll(s.Names())
	sql := fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s) ON CONFLICT (%s) DO ", schema.Quote(s.Name), list(cols), marks(len(cols)), list(cols[:len(s.Key)]))
	rest := slices.Clone(cols[len(s.Key):])
	if len(rest) == 0 {
		return sql + "NOTHING"
	}
	for i, c := range rest {
		rest[i] = c + " = excluded." + c
	}
	return sql + "UPDATE SET " + list(rest)
}
