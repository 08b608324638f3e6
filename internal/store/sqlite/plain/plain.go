// Package plain is SQLite without the engine, through the same driver and with
// the same settings: the floor that benchmarks hold the engine against, and
// the ground on which they emulate other designs. Nothing of the product uses
// it.
package plain

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"

	"github.com/mattn/go-sqlite3"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store/custody"
)

// Config says how to open a database.
type Config struct {
	Fsync     bool   // a commit waits for the disk
	Extension string // path of a loadable extension; empty means none
}

// DB is one connection. Not safe for concurrent use.
type DB struct {
	c     *sqlite3.SQLiteConn
	stmts map[string]*sqlite3.SQLiteStmt
}

// Open opens or makes the database at path.
func Open(path string, cfg Config) (*DB, error) {
	if err := custody.Take(custody.Cgo); err != nil {
		return nil, err
	}
	d := &sqlite3.SQLiteDriver{}
	if cfg.Extension != "" {
		d.Extensions = []string{cfg.Extension}
	}
	c, err := d.Open((&url.URL{Scheme: "file", Path: path, RawQuery: "_busy_timeout=5000"}).String())
	if err != nil && cfg.Extension != "" {
		return nil, fmt.Errorf("extension %s does not load: %w", cfg.Extension, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db := &DB{c: c.(*sqlite3.SQLiteConn), stmts: map[string]*sqlite3.SQLiteStmt{}}
	mode := "NORMAL"
	if cfg.Fsync {
		mode = "FULL"
	}
	if err := db.Script("PRAGMA journal_mode = WAL; PRAGMA cache_size = -32768; PRAGMA temp_store = MEMORY; PRAGMA synchronous = " + mode); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Version is SQLite's.
func Version() string {
	v, _, _ := sqlite3.Version()
	return v
}

// Close closes the connection.
func (db *DB) Close() error {
	for _, s := range db.stmts {
		_ = s.Close()
	}
	return db.c.Close()
}

// Script runs statements without arguments.
func (db *DB) Script(sql string) error {
	if _, err := db.c.Exec(sql, nil); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// Transaction runs fn between BEGIN and COMMIT, or rolls back with its error.
func (db *DB) Transaction(fn func() error) error {
	if _, err := db.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := fn(); err != nil {
		_, undo := db.Exec("ROLLBACK")
		return errors.Join(err, undo)
	}
	_, err := db.Exec("COMMIT")
	return err
}

// Exec runs a statement, which is prepared once and kept, and returns how many
// rows it changed.
func (db *DB) Exec(sql string, args ...driver.Value) (int64, error) {
	s, err := db.prepared(sql)
	if err != nil {
		return 0, err
	}
	r, err := s.Exec(args)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", sql, err)
	}
	return r.RowsAffected()
}

func (db *DB) prepared(sql string) (*sqlite3.SQLiteStmt, error) {
	if s := db.stmts[sql]; s != nil {
		return s, nil
	}
	p, err := db.c.Prepare(sql)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", sql, err)
	}
	s := p.(*sqlite3.SQLiteStmt)
	db.stmts[sql] = s
	return s, nil
}

// Rows runs a statement and calls fn for each row, which fn may keep.
func (db *DB) Rows(sql string, args []driver.Value, fn func([]driver.Value) error) error {
	s, err := db.prepared(sql)
	if err != nil {
		return err
	}
	named := make([]driver.NamedValue, len(args))
	for i, a := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	rows, err := s.QueryContext(context.Background(), named)
	if err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	defer rows.Close()
	for {
		row := make([]driver.Value, len(rows.Columns()))
		if err := rows.Next(row); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
		if err := fn(row); err != nil {
			return err
		}
	}
}

// Stored runs a statement and calls fn for each row, with the values as they
// are stored, whatever type their columns are declared to have.
func (db *DB) Stored(sql string, fn func([]record.Value) error) error {
	_, err := db.StoredNamed(sql, fn)
	return err
}

// StoredNamed is Stored, and returns the names of the columns.
func (db *DB) StoredNamed(sql string, fn func([]record.Value) error) ([]string, error) {
	rows, err := db.c.QueryContext(context.Background(), sql, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sql, err)
	}
	defer rows.Close()
	names := slices.Clone(rows.Columns())
	clear(rows.(*sqlite3.SQLiteRows).DeclTypes())
	dest := make([]driver.Value, len(names))
	for {
		if err := rows.Next(dest); errors.Is(err, io.EOF) {
			return names, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", sql, err)
		}
		out := make([]record.Value, len(dest))
		for i, v := range dest {
			out[i] = record.Of(v)
		}
		if err := fn(out); err != nil {
			return nil, err
		}
	}
}
