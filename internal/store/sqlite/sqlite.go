// Package sqlite is the store of a real node.
package sqlite

import (
	"context"
	"errors"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

const maxNode = 63

var errSkeleton = errors.New("sqlite: not built yet")

// DB is an open database.
type DB struct{}

var _ store.Store = (*DB)(nil)

// Query is one read-only statement.
type Query struct {
	SQL     string
	Args    []record.Value
	MaxRows int           // zero means the limit of the store
	Timeout time.Duration // zero means the limit of the store
}

// Result says what a query gave.
type Result struct {
	Rows      int
	Bytes     int
	Truncated bool // MaxRows cut it
}

// Statement is one SQL statement that writes.
type Statement struct {
	SQL  string
	Args []record.Value
}

// Affected is what one statement did.
type Affected struct {
	Rows    int64
	Columns []string    // of RETURNING
	Result  []store.Row // of RETURNING
}

// Stats are numbers for status and tests.
type Stats struct {
	Rows     map[string]int64 // live rows by table
	Withheld int64
	WALBytes int64
	Queue    int
}

func checkTable(schema.Table) error { return nil }

// Open opens a database.
func Open(ctx context.Context, cfg Config) (*DB, error) { return nil, errSkeleton }

// Query runs one read-only statement; the first call of row has a nil row.
func (db *DB) Query(ctx context.Context, q Query, row func(columns []string, r store.Row) error) (Result, error) {
	return Result{}, errSkeleton
}

// Exec runs statements that write, as one transaction.
func (db *DB) Exec(ctx context.Context, stmts []Statement) ([]Affected, store.Commit, error) {
	return nil, store.Commit{}, errSkeleton
}

// Stats returns numbers.
func (db *DB) Stats() Stats { return Stats{} }

// ParseSQL reads tables from SQL text.
func ParseSQL(sql string) ([]schema.Table, error) { return nil, errSkeleton }

func (db *DB) Writer() record.Writer  { return record.Writer{} }
func (db *DB) Tables() []schema.Table { return nil }
func (db *DB) Update(ctx context.Context, fn func(store.Tx) error) (store.Commit, error) {
	return store.Commit{}, errSkeleton
}
func (db *DB) Apply(ctx context.Context, batch []record.Delivery) ([]store.Outcome, error) {
	return nil, errSkeleton
}
func (db *DB) Renew(ctx context.Context, boot uint64) (record.Writer, error) {
	return record.Writer{}, errSkeleton
}
func (db *DB) Snapshot(ctx context.Context) (store.Snapshot, error) { return nil, errSkeleton }
func (db *DB) Feed(from store.Position) (store.Feed, error)         { return nil, errSkeleton }
func (db *DB) Close() error                                         { return nil }
