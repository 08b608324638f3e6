package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/schema/definition"
)

// alter does one step in a transaction of its own, and swaps the tables once
// that is committed.
func (db *DB) alter(o op) error {
	defer db.keepAlive()()
	now := db.tables()
	next := slices.DeleteFunc(slices.Clone(now.all), func(t *table) bool { return t == o.table })
	err := db.transaction(true, func(w *work) error {
		made, err := w.alter(o)
		if err != nil {
			return err
		}
		if made != nil {
			next = append(next, made)
			slices.SortStableFunc(next, inOrder)
		}
		return w.keepEffect(now.at+1, next, made)
	})
	if err != nil {
		return err
	}
	db.tableSet.Store(newTableSet(now.at+1, next))
	db.c.forgetStatements()
	return nil
}

// inOrder puts the tables of users last, by name.
func inOrder(a, b *table) int {
	switch {
	case a.user && b.user:
		return strings.Compare(a.Name, b.Name)
	case a.user:
		return 1
	case b.user:
		return -1
	}
	return 0
}

// keepAlive tells the watchdog that the loop is not wedged, while one statement
// runs for long. The caller ends it.
func (db *DB) keepAlive() func() {
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				db.cfg.Progress()
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-stopped
	}
}

// forgetStatements closes the statements that are kept: they name tables and
// columns that may be gone.
func (c *conn) forgetStatements() {
	for sql, s := range c.stmts {
		if !s.busy && sql != "SELECT 1" {
			_ = s.s.Close()
			delete(c.stmts, sql)
		}
	}
}

// keepEffect writes down what the file has now.
func (w *work) keepEffect(at int64, all []*table, made *table) error {
	var users []schema.Table
	for _, t := range all {
		if t.user {
			users = append(users, t.Table)
		}
	}
	slices.SortFunc(users, func(a, b schema.Table) int { return strings.Compare(a.Name, b.Name) })
	err := errors.Join(
		w.c.exec(sqlKeep, keptEffect, definition.Append(nil, users)),
		w.c.exec(sqlPutValue, valueSchema, at),
		createViews(w.c, append([]string{changesView(all)}, w.db.cfg.Views...)),
	)
	if _, adopting := w.db.schema.adopting[idOf(made)]; adopting && err == nil {
		err = w.c.exec(sqlPutValue, adoptName(made.ID), int64(1))
	}
	return err
}

func idOf(t *table) record.TableID {
	if t == nil {
		return 0
	}
	return t.ID
}

// alter does what a step says, and returns the table as it is then; nil if it
// is gone.
func (w *work) alter(o op) (*table, error) {
	// Views and triggers name what changes: they are made anew.
	if err := createViews(w.c, nil); err != nil {
		return nil, err
	}
	if o.table != nil {
		if err := w.dropTriggers(o.table.Name); err != nil {
			return nil, err
		}
	}
	var next schema.Table
	var err error
	switch o.act {
	case actCreate:
		return w.createUser(o.want)
	case actHide:
		return w.hide(o.table)
	case actShow:
		return w.unhide(o.table, o.want)
	case actRebuild:
		return w.remake(o.table, o.want)
	default:
		next, err = w.alterPart(o)
	}
	if err != nil {
		return nil, err
	}
	t := newUserTable(next)
	return t, w.makeTriggers(t)
}

func (w *work) dropTriggers(name string) error {
	for _, op := range []string{"insert", "update", "delete"} {
		if err := w.c.script("DROP TRIGGER IF EXISTS " + schema.Quote("_fb_on_"+op+"_"+name)); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) makeTriggers(t *table) error {
	for _, sql := range t.ddl() {
		if err := w.c.script(sql); err != nil {
			return err
		}
	}
	return nil
}

// createUser makes a table that the file has not.
func (w *work) createUser(s schema.Table) (*table, error) {
	names := []string{s.Name}
	for _, x := range s.Indexes {
		names = append(names, x.Name)
	}
	for _, n := range names {
		r, err := w.c.row(`SELECT type FROM sqlite_schema WHERE lower(name) = ?`, n)
		if err != nil {
			return nil, err
		}
		if r != nil {
			return nil, fmt.Errorf("a local %s of this node has the name %s; drop it by SQL", r[0].Data, n)
		}
	}
	t := newUserTable(s)
	_, err := createTable(w.c, t)
	return t, err
}

// hide takes a table out of sight. Its records stay, are served to others, and
// merge with those that come late.
func (w *work) hide(t *table) (*table, error) {
	r, err := w.c.row("SELECT 1 FROM " + t.side + " LIMIT 1")
	if err != nil {
		return nil, err
	}
	if r == nil { // nothing was ever in it
		return nil, w.c.script("DROP TABLE " + schema.Quote(t.Name) + "; DROP TABLE " + t.side)
	}
	next := t.Table
	next.Name, next.Spelled, next.Indexes = definition.HiddenName(t.ID), "", nil
	for _, x := range t.Indexes {
		if err := w.c.script("DROP INDEX IF EXISTS " + schema.Quote(x.Name)); err != nil {
			return nil, err
		}
	}
	return w.renameTable(t, next)
}

// unhide gives a hidden table its name back.
func (w *work) unhide(t *table, want schema.Table) (*table, error) {
	next := t.Table
	next.Name, next.Spelled = want.Name, want.Spelled
	w.db.schema.adopting[t.ID] = nil
	return w.renameTable(t, next)
}

func (w *work) renameTable(t *table, next schema.Table) (*table, error) {
	made := newUserTable(next)
	sql := fmt.Sprintf("ALTER TABLE %s RENAME TO %s; ALTER TABLE %s RENAME TO %s", schema.Quote(t.Name), schema.Quote(next.Name), t.side, made.side)
	if err := w.c.script(sql); err != nil {
		return nil, err
	}
	return made, w.makeTriggers(made)
}

// alterPart changes one column or index, and returns what the table is then.
func (w *work) alterPart(o op) (schema.Table, error) {
	t := o.table.Table
	t.Columns, t.Generated, t.Indexes, t.Order = slices.Clone(t.Columns), slices.Clone(t.Generated), slices.Clone(t.Indexes), slices.Clone(t.Shown())
	table := schema.Quote(t.Name)
	drop := "ALTER TABLE " + table + " DROP COLUMN " + schema.Quote(o.name)
	switch o.act {
	case actAddColumn:
		c := o.want.Columns[slices.IndexFunc(o.want.Columns, func(c schema.Column) bool { return c.ID == o.column })]
		t.Columns, t.Order = append(t.Columns, c), append(t.Order, c.Name)
		w.db.schema.adopting[t.ID] = nil
		return t, addColumn(w.c, o.table, c.SQL())
	case actAddGenerated:
		g := o.want.Generated[slices.IndexFunc(o.want.Generated, func(g schema.Generated) bool { return g.Name == o.name })]
		t.Generated, t.Order = append(t.Generated, g), append(t.Order, g.Name)
		return t, addColumn(w.c, o.table, g.SQL())
	case actDropGenerated:
		t.Generated = slices.DeleteFunc(t.Generated, func(g schema.Generated) bool { return g.Name == o.name })
		t.Order = slices.DeleteFunc(t.Order, func(n string) bool { return n == o.name })
		return t, w.c.script(drop)
	case actDropColumn:
		t.Columns = slices.DeleteFunc(t.Columns, func(c schema.Column) bool { return c.ID == o.column })
		t.Order = slices.DeleteFunc(t.Order, func(n string) bool { return n == o.name })
		return t, errors.Join(w.unmark(o.table, o.column), w.c.script(drop))
	case actCreateIndex:
		x := o.want.Indexes[slices.IndexFunc(o.want.Indexes, func(x schema.Index) bool { return x.Name == o.name })]
		t.Indexes = append(t.Indexes, x)
		return t, w.c.script(x.SQL(t.Name))
	case actDropIndex:
		t.Indexes = slices.DeleteFunc(t.Indexes, func(x schema.Index) bool { return x.Name == o.name })
		return t, w.c.script("DROP INDEX " + schema.Quote(o.name))
	}
	return t, fmt.Errorf("unknown step %q", o.act)
}

// unmark takes away the marks of a column that is going: once it is gone they
// would be cells.
func (w *work) unmark(t *table, id record.ColumnID) error {
	c := t.column(id)
	if c == nil || !c.NotNull || c.absent.Type != record.Null {
		return nil
	}
	mark := record.AppendCell(nil, record.Cell{Column: id})
	return w.eachMore(t, " AND instr(_fb_more, ?) > 0", []any{mark}, func(key []record.Value, more []byte) error {
		cells, err := record.DecodeCells(more)
		if err != nil {
			return err
		}
		cells = slices.DeleteFunc(cells, func(x record.Cell) bool { return x.Column == id && c.marks(x) })
		return w.putMore(t, key, cells)
	})
}

// eachMore calls fn for rows of t that have something beside them.
func (w *work) eachMore(t *table, where string, args []any, fn func(key []record.Value, more []byte) error) error {
	var found [][]record.Value
	sql := fmt.Sprintf("SELECT _fb_more, %s FROM %s WHERE _fb_more IS NOT NULL%s", list(t.keyNames()), t.side, where)
	vals := make([]record.Value, len(args))
	for i, a := range args {
		vals[i] = record.Of(a)
	}
	err := w.c.rows(context.Background(), sql, toDriver(vals), func(r []record.Value) error {
		found = append(found, r)
		return nil
	})
	for _, r := range found {
		if err == nil {
			err = fn(r[1:], []byte(r[0].Data))
		}
	}
	return err
}

func (w *work) putMore(t *table, key []record.Value, cells []record.Cell) error {
	more := record.Value{}
	if len(cells) > 0 {
		more = record.Of(record.EncodeCells(cells))
	}
	sql := fmt.Sprintf("UPDATE %s SET _fb_more = ? WHERE %s", t.side, equal(t.keyNames(), "", " AND "))
	return w.c.write(sql, []record.Value{more}, key)
}

func (t *table) keyNames() []string { return quoteAll(t.Names()[:len(t.Key)]) }

// remake makes a table anew, and merges into it what the old one showed. Both
// hold the same records, so no sum changes; what the new one does not take is
// withheld.
func (w *work) remake(t *table, want schema.Table) (*table, error) {
	old := t.Table
	old.Name, old.Spelled, old.Indexes = "_fb_old", "", nil
	for _, x := range t.Indexes {
		if err := w.c.script("DROP INDEX IF EXISTS " + schema.Quote(x.Name)); err != nil {
			return nil, err
		}
	}
	was, err := w.renameTable(t, old)
	if err != nil {
		return nil, err
	}
	made := newUserTable(want)
	if _, err := createTable(w.c, made); err != nil {
		return nil, err
	}
	var keys [][]record.Value
	err = w.c.rows(context.Background(), fmt.Sprintf("SELECT %s FROM %s", list(was.keyNames()), was.side), nil, func(r []record.Value) error {
		keys = append(keys, r)
		return nil
	})
	for _, key := range keys {
		if err == nil {
			err = w.move(was, made, key)
		}
	}
	if err != nil {
		return nil, err
	}
	return made, w.c.script("DROP TABLE " + schema.Quote(was.Name) + "; DROP TABLE " + was.side)
}

// move merges the record of one row of a table into another of the same id.
func (w *work) move(from, to *table, key []record.Value) error {
	s, err := w.c.shown(from, key)
	if err != nil {
		return err
	}
	return w.mergeAgain(from, to, key, s)
}

// mergeAgain merges what from showed for a key into to. Its bytes stay as they
// were, and so do hashes and fingerprints.
func (w *work) mergeAgain(from, to *table, key []record.Value, s *standing) error {
	r, err := s.record(from, key)
	if err != nil {
		return err
	}
	held, err := w.held(from.ID, r.Key)
	if err != nil {
		return err
	}
	w.begin()
	w.retop(from.Kind, w.top(from.Kind, s, held), held)
	at := w.st.point(s.writer, s.version)
	offers := make([]offer, 1)
	if err := w.offer(&offers[0], record.Changeset{Writer: at.Writer, Version: at.Version, Wall: s.wall}, s.writer, r); err != nil {
		return err
	}
	offers[0].table = to
	if _, err := w.merge(offers); err != nil {
		return err
	}
	w.enter(at, nil)
	return nil
}
