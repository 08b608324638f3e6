// Package reduce runs one SELECT over rows that are in memory, so that ORDER
// BY, LIMIT and aggregates over what several databases answered are SQL. The
// rows are the table "rows" of a database that touches no file and ends with
// the call; the statement may read that table and nothing else.
package reduce

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-sqlite3"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
	"github.com/firebreak-dev/firebreak/internal/store/custody"
)

// The limits of one call.
const (
	MaxRows   = 200_000 // in, and out
	maxBytes  = 64 << 20
	maxMemory = 256 << 20
	maxColumn = 2000
)

// Rows runs sql over rows and returns the columns and rows that it gives.
// Columns that have no name or one that is taken get another (name_2). Errors
// are the statement's fault, or ctx ended it.
func Rows(ctx context.Context, columns []string, rows [][]record.Value, sql string) ([]string, [][]record.Value, error) {
	if len(rows) > MaxRows {
		return nil, nil, fmt.Errorf("%d rows are over the limit of %d", len(rows), MaxRows)
	}
	if len(columns) == 0 || len(columns) > maxColumn {
		return nil, nil, fmt.Errorf("%d columns are not in 1 to %d", len(columns), maxColumn)
	}
	if err := custody.Take(custody.Cgo); err != nil {
		return nil, nil, err
	}
	dc, err := (&sqlite3.SQLiteDriver{}).Open("file::memory:?mode=memory&cache=private")
	if err != nil {
		return nil, nil, fmt.Errorf("open memory database: %w", err)
	}
	conn := dc.(*sqlite3.SQLiteConn)
	defer conn.Close()
	if err := fill(ctx, conn, columns, rows); err != nil {
		return nil, nil, err
	}
	lockDown(conn)
	return query(ctx, conn, sql)
}

// fill makes the table, without types: values stay as they came.
func fill(ctx context.Context, conn *sqlite3.SQLiteConn, columns []string, rows [][]record.Value) error {
	names := unique(columns)
	for i, n := range names {
		names[i] = `"` + strings.ReplaceAll(n, `"`, `""`) + `"`
	}
	setup := fmt.Sprintf("PRAGMA temp_store = MEMORY; PRAGMA max_page_count = %d; CREATE TABLE rows (%s); BEGIN",
		maxMemory/4096, strings.Join(names, ", "))
	if _, err := conn.ExecContext(ctx, setup, nil); err != nil {
		return fmt.Errorf("make table rows: %w", err)
	}
	ps, err := conn.Prepare("INSERT INTO rows VALUES (?" + strings.Repeat(", ?", len(names)-1) + ")")
	if err != nil {
		return fmt.Errorf("make table rows: %w", err)
	}
	s := ps.(*sqlite3.SQLiteStmt)
	defer s.Close()
	args := make([]driver.NamedValue, len(names))
	for i, row := range rows {
		if len(row) != len(names) {
			return fmt.Errorf("row %d has %d values under %d columns", i, len(row), len(names))
		}
		for j, v := range row {
			args[j] = driver.NamedValue{Ordinal: j + 1, Value: v.Any()}
		}
		if _, err := s.ExecContext(ctx, args); err != nil {
			return fmt.Errorf("fill table rows: %w", err)
		}
	}
	_, err = conn.ExecContext(ctx, "COMMIT", nil)
	return err
}

// lockDown leaves the statement nothing but to read.
func lockDown(conn *sqlite3.SQLiteConn) {
	const recursive = 33 // SQLITE_RECURSIVE, which the driver does not name
	conn.SetLimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
	conn.SetLimit(sqlite3.SQLITE_LIMIT_LENGTH, maxBytes)
	conn.RegisterAuthorizer(func(op int, _, arg2, _ string) int {
		switch op {
		case sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, recursive:
			return sqlite3.SQLITE_OK
		case sqlite3.SQLITE_FUNCTION:
			if strings.EqualFold(arg2, "load_extension") {
				return sqlite3.SQLITE_DENY
			}
			return sqlite3.SQLITE_OK
		}
		return sqlite3.SQLITE_DENY
	})
}

func query(ctx context.Context, conn *sqlite3.SQLiteConn, sql string) ([]string, [][]record.Value, error) {
	stmt, keyword, err := sqltext.Single(sql)
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("want one SELECT: %w", err)
	case keyword != "SELECT" && keyword != "WITH" && keyword != "VALUES":
		return nil, nil, fmt.Errorf("want one SELECT that does nothing but read the table rows: %s is not allowed", keyword)
	}
	// Not Prepare: the driver crashes on what it makes of an empty statement.
	dr, err := conn.QueryContext(ctx, stmt, nil)
	if denied, ok := errors.AsType[sqlite3.Error](err); ok && denied.Code == sqlite3.ErrAuth {
		return nil, nil, fmt.Errorf("want one SELECT that does nothing but read the table rows: %w", err)
	} else if err != nil {
		return nil, nil, err
	}
	defer dr.Close()
	got := dr.(*sqlite3.SQLiteRows)
	columns := got.Columns()
	if len(columns) == 0 {
		return nil, nil, errors.New("want one SELECT")
	}
	clear(got.DeclTypes()) // so that values come out as stored
	var out [][]record.Value
	dest, size := make([]driver.Value, len(columns)), 0
	for {
		err := got.Next(dest)
		switch {
		case errors.Is(err, io.EOF):
			return columns, out, nil
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		case err != nil:
			return nil, nil, err
		}
		row := make([]record.Value, len(dest))
		for i, v := range dest {
			row[i] = record.Of(v)
			size += len(row[i].Data) + 16
		}
		if out = append(out, row); len(out) > MaxRows || size > maxBytes {
			return nil, nil, fmt.Errorf("the answer is over the limit of %d rows or %d bytes", MaxRows, maxBytes)
		}
	}
}

// unique gives every column a name of its own.
func unique(columns []string) []string {
	taken := map[string]bool{}
	out := make([]string, len(columns))
	for i, c := range columns {
		if c == "" {
			c = "column"
		}
		name := c
		for n := 2; taken[schema.Lower(name)]; n++ {
			name = fmt.Sprintf("%s_%d", c, n)
		}
		taken[schema.Lower(name)] = true
		out[i] = name
	}
	return out
}
