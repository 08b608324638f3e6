package sqlite

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

const (
	smallTable  = 20_000 // rows up to which no step waits for a turn
	schemaSlice = 500    // rows that one slice looks at
	schemaRetry = 10 * time.Second
	schemaRest  = time.Second // after a fault of the disk
)

// schemaTurn does one step of what the definitions ask for, or one slice of
// one, and reports whether there is more to do at once.
func (db *DB) schemaTurn() bool {
	k := db.schema
	if k == nil || k.sleeps() || db.Failed() != nil {
		return false
	}
	k.asleep = false
	if k.dirty {
		if err := db.readSchema(); err != nil {
			k.sleep(time.Now().Add(schemaRest))
			db.cfg.Logger.Warn("definitions cannot be read", "err", err)
			return false
		}
		db.tellSchema()
	}
	ops, err := db.steps()
	if err != nil {
		k.sleep(time.Now().Add(schemaRest))
		db.cfg.Logger.Warn("steps of the schema", "err", err)
		return false
	}
	did, tasks := false, len(k.adopting)+len(k.release)
	for _, o := range ops {
		if did = db.tryStep(o); did {
			break
		}
	}
	if !did {
		did = db.schemaSlices()
	}
	if did || tasks != len(k.adopting)+len(k.release) {
		db.tellSchema()
	}
	if !did {
		k.sleep(db.nextStep(ops))
	}
	return did
}

// sleep lets the keeper do nothing until a time, or until something comes; the
// zero time is never.
func (k *keeper) sleep(until time.Time) { k.asleep, k.wakeAt = true, until }

// sleeps reports whether there is nothing to do now. It is asked in every round
// of the loop.
func (k *keeper) sleeps() bool {
	if !k.rest.IsZero() {
		if time.Now().Before(k.rest) {
			return true
		}
		k.rest = time.Time{}
	}
	return k.asleep && !k.dirty && !k.stray && (k.wakeAt.IsZero() || time.Now().Before(k.wakeAt))
}

// nextStep is when the first of ops is due; zero if there is none.
func (db *DB) nextStep(ops []op) time.Time {
	var first time.Time
	for _, o := range ops {
		at := db.schema.first[o.id()]
		if f, failed := db.schema.failed[o.id()]; failed {
			at = f.again
		} else if o.heavy() {
			at = db.dueAt(o)
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// steps returns what is to be done, and notes since when.
func (db *DB) steps() ([]op, error) {
	k := db.schema
	strays := map[record.TableID]bool{}
	if k.stray {
		err := db.c.rows(context.Background(), `SELECT DISTINCT tbl FROM _fb_withheld WHERE reason = 'schema'`, nil, func(r []record.Value) error {
			strays[record.TableID(r[0].Int)] = true
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	ops := steps(db.tables(), k.want, strays)
	if !slices.ContainsFunc(ops, func(o op) bool { return strays[o.want.ID] }) {
		k.stray = false
	}
	k.forget(ops)
	for _, o := range ops {
		if _, known := k.first[o.id()]; !known {
			k.first[o.id()] = time.Now()
		}
	}
	return ops, nil
}

// tryStep does o if it is time, and reports whether it did something.
func (db *DB) tryStep(o op) bool {
	k := db.schema
	if f, failed := k.failed[o.id()]; failed && time.Now().Before(f.again) {
		return false
	}
	if o.act == actDropColumn && !k.moved[o.column] {
		return db.moveCells(o)
	}
	if o.heavy() && time.Now().Before(db.dueAt(o)) {
		return false
	}
	start := time.Now()
	err := db.alter(o)
	if err != nil {
		k.failed[o.id()] = failure{err.Error(), time.Now().Add(schemaRetry)}
		db.cfg.Logger.Warn("step of the schema failed, and will be tried again", "step", string(o.act), "table", o.want.Name, "name", o.name, "err", err)
		return true
	}
	took := time.Since(start)
	db.metrics.schemaSteps.WithLabelValues(string(o.act)).Observe(took.Seconds())
	db.cfg.Logger.Info("schema changed", "step", string(o.act), "table", o.want.Name, "name", o.name, "took", took)
	delete(k.moved, o.column)
	switch o.act {
	case actCreate, actShow:
		k.release[o.want.ID] = ""
	}
	return true
}

// dueAt is when this node's turn for o has come. Nodes take theirs at
// different times, so that no step keeps a whole region's writes waiting.
func (db *DB) dueAt(o op) time.Time {
	k := db.schema
	if k.mine[o.id()] || db.rowsOf(o) <= smallTable {
		return k.first[o.id()]
	}
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s\x00%s", db.cfg.Node, o.id())
	share := float64(binary.BigEndian.Uint64(h.Sum(nil))>>11) / (1 << 53)
	return k.first[o.id()].Add(time.Duration(share * float64(db.cfg.Stagger)))
}

// rowsOf counts the rows of the table of o once, up to where it waits for a turn.
func (db *DB) rowsOf(o op) int64 {
	k := db.schema
	n, known := k.rows[o.id()]
	if known || o.table == nil {
		return n
	}
	r, err := db.c.row(fmt.Sprintf("SELECT count(*) FROM (SELECT 1 FROM %s LIMIT %d)", schema.Quote(o.table.Name), smallTable+1))
	if err != nil {
		return 0
	}
	k.rows[o.id()] = r[0].Int
	return r[0].Int
}

// nextSchema is how long the loop may wait for the next step, at most.
func (db *DB) nextSchema(most time.Duration) time.Duration {
	k := db.schema
	switch {
	case k == nil:
	case !k.rest.IsZero():
		return min(most, max(0, time.Until(k.rest)))
	case !k.sleeps():
		return 0
	case !k.wakeAt.IsZero():
		return min(most, max(0, time.Until(k.wakeAt)))
	}
	return most
}

// schemaSlices does a slice of what goes through rows, and reports whether
// there was one.
func (db *DB) schemaSlices() bool {
	k := db.schema
	for id, after := range k.release {
		db.sliced("release of withheld records", func(w *work) error {
			next, err := w.releaseOf(id, after)
			if k.release[id] = next; err == nil && next == "" {
				delete(k.release, id)
			}
			return err
		})
		return true
	}
	for id, after := range k.adopting {
		t := db.tables().byID[id]
		if t == nil || t.hidden {
			delete(k.adopting, id)
			continue
		}
		db.sliced("taking up of columns", func(w *work) error {
			next, err := w.adoptSlice(t, after)
			if k.adopting[id] = next; err == nil && next == nil {
				delete(k.adopting, id)
				err = w.c.exec(`DELETE FROM _fb_local_values WHERE name = ?`, adoptName(id))
			}
			return err
		})
		return true
	}
	return false
}

func (db *DB) sliced(what string, fn func(*work) error) {
	if err := db.transaction(false, fn); err != nil {
		db.schema.rest = time.Now().Add(schemaRest)
		db.cfg.Logger.Warn("slice of a schema change, will be repeated", "what", what, "err", err)
	}
}

// releaseOf shows withheld records of a table that is there by now, and returns
// the last key it looked at; nothing at the end.
func (w *work) releaseOf(id record.TableID, after record.Key) (record.Key, error) {
	held, err := w.list(`SELECT `+heldColumns+` FROM _fb_withheld WHERE tbl = ? AND key > ? AND foreign_w = 0 AND stub = 0 AND reason = 'schema' ORDER BY key LIMIT ?`,
		int64(id), []byte(after), int64(schemaSlice))
	last := record.Key("")
	for _, h := range held {
		if err == nil {
			err = w.release(h)
			last = h.Key
		}
	}
	if len(held) < schemaSlice {
		last = ""
	}
	return last, err
}

// adoptSlice looks at some rows of t after a key for cells of columns that t
// has by now, and returns the last key; nil at the end.
func (w *work) adoptSlice(t *table, after []record.Value) ([]record.Value, error) {
	rows, err := w.after(t, "_fb_more", t.side, after)
	var last []record.Value
	for _, r := range rows {
		if last = r[1:]; err == nil && r[0].Type != record.Null {
			err = w.adoptRow(t, last)
		}
	}
	if len(rows) < schemaSlice {
		last = nil
	}
	return last, err
}

// adoptAll is adoptSlice for all of a table.
func (w *work) adoptAll(t *table) error {
	after, err := w.adoptSlice(t, nil)
	for after != nil && err == nil {
		after, err = w.adoptSlice(t, after)
	}
	return err
}

// after selects something and the key of some rows of a table after a key.
func (w *work) after(t *table, what, from string, after []record.Value) ([][]record.Value, error) {
	key := t.keyNames()
	sql := fmt.Sprintf("SELECT %s, %s FROM %s", what, list(key), from)
	if after != nil {
		sql += fmt.Sprintf(" WHERE (%s) > (%s)", list(key), marks(len(key)))
	}
	sql += fmt.Sprintf(" ORDER BY %s LIMIT %d", list(key), schemaSlice)
	var rows [][]record.Value
	err := w.c.rows(context.Background(), sql, toDriver(after), func(r []record.Value) error {
		rows = append(rows, r)
		return nil
	})
	return rows, err
}

// adoptRow shows what lies beside a row of columns that the table has by now.
func (w *work) adoptRow(t *table, key []record.Value) error {
	s, err := w.c.shown(t, key)
	if err != nil || s == nil || s.row == nil {
		return err
	}
	if changed, err := t.takeUp(slices.Clone(s.row), s.more); err != nil || !changed {
		return err
	}
	r, err := s.record(t, key)
	if err != nil {
		return err
	}
	at := w.st.point(s.writer, s.version)
	var o offer
	if err := w.offer(&o, record.Changeset{Writer: at.Writer, Version: at.Version, Wall: s.wall}, s.writer, r); err != nil {
		return err
	}
	f, err := w.judge(&o)
	if err != nil {
		return err
	}
	if f.reason == "" {
		err = w.putRow(t, key, s.row, o.row)
	}
	if f.reason != "" || err != nil && recordsFault(err) {
		// The value does not fit: the record is withheld, as one that comes now.
		if err := w.putRow(t, key, s.row, nil); err != nil {
			return err
		}
		if err := w.c.write(t.removeSide, key); err != nil {
			return err
		}
		return w.mergeAgain(t, t, key, s)
	}
	if err != nil {
		return err
	}
	cells, err := record.DecodeCells(o.more)
	if err != nil {
		return err
	}
	if err := w.putMore(t, key, cells); err != nil {
		return err
	}
	old := s.row
	s.row = o.row
	w.begin()
	w.note(t, o.Key, old, s)
	w.enter(at, nil)
	return nil
}

// moveCells puts the cells of a column that is going beside its rows, in
// slices, so that nothing else has to be written when it is taken out.
func (db *DB) moveCells(o op) bool {
	k, t := db.schema, o.table
	c := t.column(o.column)
	if !c.going {
		db.going(t, o.column)
		k.moving[o.column] = nil
		return true
	}
	db.sliced("cells of a dropped column", func(w *work) error {
		next, err := w.moveSlice(t, c, k.moving[o.column])
		if err != nil {
			return err
		}
		if k.moving[o.column] = next; next == nil {
			delete(k.moving, o.column)
			k.moved[o.column] = true
		}
		return nil
	})
	return true
}

// going marks a column, in a table set of its own: from here on its cells are
// written beside the rows too.
func (db *DB) going(t *table, id record.ColumnID) {
	now := db.tables()
	next := newUserTable(t.Table)
	for i := range next.columns {
		next.columns[i].going = next.columns[i].ID == id || t.columns[i].going
	}
	all := slices.Clone(now.all)
	all[slices.Index(all, t)] = next
	db.tableSet.Store(newTableSet(now.at, all))
}

func (w *work) moveSlice(t *table, c *column, after []record.Value) ([]record.Value, error) {
	key := t.keyNames()
	on := make([]string, len(key))
	for i, n := range key {
		on[i] = "r." + n + " = t." + n
	}
	from := fmt.Sprintf("(SELECT t.%s AS _fb_c, r._fb_more AS _fb_m, %s FROM %s t JOIN %s r ON %s)",
		schema.Quote(c.Name), list(prefix("t.", key)), schema.Quote(t.Name), t.side, strings.Join(on, " AND "))
	rows, err := w.after(t, "_fb_c, _fb_m", from, after)
	if err != nil {
		return nil, err
	}
	var last []record.Value
	for _, r := range rows {
		last = r[2:]
		if r[0].Equal(c.absent) {
			continue
		}
		cells, err := record.DecodeCells([]byte(r[1].Data))
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(cells, func(x record.Cell) bool { return x.Column == c.ID }) {
			continue // it is there, or a mark says that there is none
		}
		if err := w.putMore(t, last, append(cells, record.Cell{Column: c.ID, Value: r[0]})); err != nil {
			return nil, err
		}
	}
	if len(rows) < schemaSlice {
		last = nil
	}
	return last, nil
}
