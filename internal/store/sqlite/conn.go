package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"

	"github.com/mattn/go-sqlite3"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store/custody"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/native"
)

// conn is one SQLite connection, used by one goroutine at a time. It keeps the
// statements that the engine itself runs; their number is bounded by the
// schema. The driver is used without database/sql: one owner per connection is
// the rule here, and values must come out as they are stored.
type conn struct {
	c     *sqlite3.SQLiteConn
	stmts map[string]*statement
	guard *guard // nil for a connection that runs no statements of users
	out   native.Out
	args  []byte       // scratch
	quiet bool         // triggers do not run
	at    int64        // of a reader: the change of the schema that its statements are of
	state native.State // of the connection that writes
	users prepared     // of the connection that writes
	temp  native.Temp  // of a reader of users; zero for none
	log   native.Log   // of the connection that writes
}

type statement struct {
	s    *sqlite3.SQLiteStmt
	n    native.Stmt
	busy bool // its rows are being read
}

// openConn opens path; mode is rwc, rw or ro.
func openConn(path, mode string) (*conn, error) { return openVia(path, mode, native.Temp{}) }

// openVia opens path with bounded temporary files, unless temp is zero. The
// connection owns temp.
func openVia(path, mode string, temp native.Temp) (*conn, error) {
	full, err := filepath.Abs(path) // of another, the first part would be the name of a host
	if err != nil {
		temp.Free()
		return nil, err
	}
	query := "mode=" + mode + "&_busy_timeout=5000"
	if temp != (native.Temp{}) {
		query += "&vfs=" + temp.Name()
	}
	c, err := openDSN((&url.URL{Scheme: "file", Path: full, RawQuery: query}).String())
	if err != nil {
		temp.Free()
		return nil, err
	}
	c.temp = temp
	return c, nil
}

// openWriter opens the connection that writes to the file at path, and makes
// that if it is not there.
func openWriter(path string) (*conn, error) {
	log, err := native.NewLog()
	if err != nil {
		return nil, err
	}
	query := "mode=rwc&_busy_timeout=5000&vfs=" + log.Name()
	c, err := openDSN((&url.URL{Scheme: "file", Path: path, RawQuery: query}).String())
	if err != nil {
		log.Free()
		return nil, err
	}
	c.log = log
	return c, nil
}

// openDSN opens a connection. It is the one place where the process's own
// SQLite does: see package custody.
func openDSN(dsn string) (*conn, error) {
	if err := custody.Take(custody.Cgo); err != nil {
		return nil, err
	}
	dc, err := (&sqlite3.SQLiteDriver{}).Open(dsn)
	if err != nil {
		return nil, err
	}
	return &conn{c: dc.(*sqlite3.SQLiteConn), stmts: map[string]*statement{}}, nil
}

func (c *conn) close() error {
	for _, s := range c.stmts {
		_ = s.s.Close()
	}
	err := c.users.close()
	c.out.Free()
	err = errors.Join(err, c.c.Close())
	c.state.Free()
	c.temp.Free()
	c.log.Free()
	return err
}

// script runs statements without arguments or results.
func (c *conn) script(sql string) error {
	_, err := c.c.Exec(sql, nil)
	return err
}

func (c *conn) prepare(sql string) (*sqlite3.SQLiteStmt, error) {
	s, err := c.c.Prepare(sql)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", sql, err)
	}
	return s.(*sqlite3.SQLiteStmt), nil
}

// kept returns a statement that is prepared once.
func (c *conn) kept(sql string) (*statement, error) {
	if s := c.stmts[sql]; s != nil {
		return s, nil
	}
	p, err := c.prepare(sql)
	if err != nil {
		return nil, err
	}
	n, err := native.Of(p)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	s := &statement{s: p, n: n}
	c.stmts[sql] = s
	return s, nil
}

// many runs a kept statement once for each of n sets of packed arguments, until
// one fails; done is how many did not.
func (c *conn) many(sql string, args []byte, n int) (rows native.Rows, done int, err error) {
	s, err := c.kept(sql)
	if err != nil {
		return native.Rows{}, 0, err
	}
	if s.busy {
		return native.Rows{}, 0, fmt.Errorf("statement is being read: %q", sql)
	}
	return s.n.Run(&c.out, args, n)
}

// keepLog makes the connection leave the log as it is when it closes.
func (c *conn) keepLog() error {
	s, err := c.kept("SELECT 1")
	if err == nil {
		err = native.KeepLog(s.n)
	}
	return err
}

// triggers makes writes run triggers, or not. A change of it is not for free:
// every statement is prepared anew.
func (c *conn) triggers(on bool) error {
	if on != c.quiet {
		return nil
	}
	s, err := c.kept("SELECT 1")
	if err == nil {
		err = native.Triggers(s.n, on)
	}
	if err == nil {
		c.quiet = !on
	}
	return err
}

// exec runs one kept statement.
func (c *conn) exec(sql string, args ...driver.Value) error {
	_, err := c.run(sql, args)
	return err
}

// write runs one kept statement with values, one part after another.
func (c *conn) write(sql string, parts ...[]record.Value) error {
	c.args = appendValues(c.args[:0], parts...)
	_, _, err := c.many(sql, c.args, 1)
	return err
}

func appendValues(b []byte, parts ...[]record.Value) []byte {
	for _, vals := range parts {
		for _, v := range vals {
			b = record.AppendValue(b, v)
		}
	}
	return b
}

func (c *conn) run(sql string, args []driver.Value) (native.Rows, error) {
	c.args = c.args[:0]
	for _, a := range args {
		c.args = record.AppendValue(c.args, record.Of(a))
	}
	rows, _, err := c.many(sql, c.args, 1)
	return rows, err
}

// rows runs one kept statement and calls fn for each row, which fn may keep.
// fn may run the same statement again.
func (c *conn) rows(ctx context.Context, sql string, args []driver.Value, fn func([]record.Value) error) error {
	s, err := c.kept(sql)
	if err != nil {
		return err
	}
	if s.busy {
		p, err := c.prepare(sql)
		if err != nil {
			return err
		}
		defer p.Close()
		return readRows(ctx, p, args, nil, fn)
	}
	s.busy = true
	defer func() { s.busy = false }()
	return readRows(ctx, s.s, args, nil, fn)
}

// row runs a kept statement that gives at most one row; nil if it gives none.
func (c *conn) row(sql string, args ...driver.Value) ([]record.Value, error) {
	rows, err := c.run(sql, args)
	if err != nil {
		return nil, err
	}
	row, _ := rows.Next(nil)
	return row, nil
}

// get is row with values.
func (c *conn) get(sql string, key []record.Value) ([]record.Value, error) {
	c.args = appendValues(c.args[:0], key)
	rows, _, err := c.many(sql, c.args, 1)
	if err != nil {
		return nil, err
	}
	row, _ := rows.Next(nil)
	return row, nil
}

// readRows runs s. If columns is not nil it gets the column names before any
// row.
func readRows(ctx context.Context, s *sqlite3.SQLiteStmt, args []driver.Value, columns func([]string) error, fn func([]record.Value) error) error {
	named := make([]driver.NamedValue, len(args))
	for i, a := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	dr, err := s.QueryContext(ctx, named)
	if err != nil {
		return err
	}
	defer dr.Close()
	rows := dr.(*sqlite3.SQLiteRows)
	names := rows.Columns()
	if columns != nil {
		if err := columns(names); err != nil {
			return err
		}
	}
	// The driver makes times and booleans of columns declared so, and decides
	// by this very slice. Empty, every value comes out as it is stored.
	clear(rows.DeclTypes())
	dest := make([]driver.Value, len(names))
	for {
		err := rows.Next(dest)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		out := make([]record.Value, len(dest))
		for i, v := range dest {
			if out[i], err = fromDriver(v); err != nil {
				return err
			}
		}
		if err := fn(out); err != nil {
			return err
		}
	}
}

func fromDriver(v driver.Value) (record.Value, error) {
	switch v := v.(type) {
	case nil:
		return record.Value{}, nil
	case int64:
		return record.Value{Type: record.Integer, Int: v}, nil
	case float64:
		return record.Value{Type: record.Real, Real: v}, nil
	case string:
		return record.Value{Type: record.Text, Data: v}, nil
	case []byte:
		return record.Value{Type: record.Blob, Data: string(v)}, nil
	}
	return record.Value{}, fmt.Errorf("driver gave a %T", v)
}

func toDriver(vals []record.Value) []driver.Value {
	return appendDriver(make([]driver.Value, 0, len(vals)+8), vals)
}

func appendDriver(out []driver.Value, vals []record.Value) []driver.Value {
	for _, v := range vals {
		out = append(out, v.Any())
	}
	return out
}

// recordsFault reports whether err says that SQLite refuses the row, and not
// that it cannot work: full disk, I/O, memory, corruption, interruption.
func recordsFault(err error) bool {
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case sqlite3.ErrConstraint, sqlite3.ErrMismatch, sqlite3.ErrTooBig, sqlite3.ErrError:
		return true
	}
	return false
}
