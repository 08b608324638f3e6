package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

// Foreign is a database of another program, open for reading: all of it as of
// one moment, whatever that program does meanwhile. Used by one goroutine at a
// time.
type Foreign struct{ c *conn }

// ForeignTable is an ordinary table of such a database.
type ForeignTable struct {
	Name    string
	Columns []string // those that are stored, not computed
	Key     []string // of its PRIMARY KEY, in order; empty if it has none
}

// OpenForeign opens a database that is no node's, and changes nothing of it.
func OpenForeign(path string) (*Foreign, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("is no regular file")
	}
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	c, err := openConn(path, "ro")
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	// What a stranger's schema says is not trusted: it is read, not run.
	err = c.script("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA query_only = ON; BEGIN; SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read database %s: %w", path, err), c.close())
	}
	return &Foreign{c}, nil
}

// Close ends it.
func (f *Foreign) Close() error { return f.c.close() }

// Tables lists the ordinary tables: no views, no virtual tables, nothing of
// SQLite's own.
func (f *Foreign) Tables(ctx context.Context) ([]ForeignTable, error) {
	var out []ForeignTable
	err := f.c.rows(ctx, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
		AND name NOT IN (SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('virtual', 'shadow')) ORDER BY name`,
		nil, func(r []record.Value) error {
			out = append(out, ForeignTable{Name: r[0].Data})
			return nil
		})
	for i := range out {
		if err == nil {
			err = f.describe(ctx, &out[i])
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	return out, nil
}

func (f *Foreign) describe(ctx context.Context, t *ForeignTable) error {
	key := map[int64]string{}
	err := f.c.rows(ctx, "SELECT name, hidden, pk FROM pragma_table_xinfo("+literal(t.Name)+")", nil, func(r []record.Value) error {
		if r[1].Int == 0 {
			t.Columns = append(t.Columns, r[0].Data)
		}
		if r[2].Int > 0 {
			key[r[2].Int] = r[0].Data
		}
		return nil
	})
	for i := range len(key) {
		t.Key = append(t.Key, key[int64(i)+1])
	}
	return err
}

// Count returns how many rows a table has.
func (f *Foreign) Count(ctx context.Context, table string) (n int64, err error) {
	err = f.c.rows(ctx, "SELECT count(*) FROM "+schema.Quote(table), nil, func(r []record.Value) error {
		n = r[0].Int
		return nil
	})
	return n, err
}

// Rows calls fn for each row of a table, its columns' values as they are
// stored, in the order of its key.
func (f *Foreign) Rows(ctx context.Context, t ForeignTable, fn func([]record.Value) error) error {
	sql := "SELECT " + list(quoteAll(t.Columns)) + " FROM " + schema.Quote(t.Name)
	if len(t.Key) > 0 {
		sql += " ORDER BY " + list(quoteAll(t.Key))
	}
	if err := f.c.rows(ctx, sql, nil, fn); err != nil {
		return fmt.Errorf("read table %s: %w", t.Name, err)
	}
	return nil
}

func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
