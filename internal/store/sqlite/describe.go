package sqlite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/store/sqlite/native"
)

// Description is what SQLite says of a read without running it.
type Description struct {
	Columns    []string
	Parameters int
	Tables     []string // real tables that are read, anywhere in it and in its views; in lower case, sorted
	Functions  []string // that it calls, in lower case, sorted
}

// Describe prepares a statement as Query would, and tells what it reads. It
// needs no values for its parameters.
func (db *DB) Describe(ctx context.Context, q Query) (Description, error) {
	var d Description
	err := db.poolOf(q).with(ctx, func(c *conn) error {
		// A connection sees that the schema has changed when it reads, not when
		// it prepares.
		if _, err := c.row("SELECT 1 FROM sqlite_schema LIMIT 1"); err != nil {
			return err
		}
		reads, functions := map[string]bool{}, map[string]bool{}
		c.guard.note = func(op int, a, b string) {
			switch op {
			case opRead:
				reads[a] = true
			case opFunction:
				functions[b] = true
			}
		}
		s, err := c.prepareAny(q.SQL, readingWords...)
		c.guard.note = nil
		if err != nil {
			return err
		}
		defer s.Close()
		if !s.Readonly() {
			return errors.New("statement writes, and this is a read")
		}
		d.Parameters = s.NumInput()
		d.Functions = slices.Sorted(maps.Keys(functions))
		n, err := native.Of(s)
		if err != nil {
			return err
		}
		d.Columns = n.Columns()
		for _, name := range slices.Sorted(maps.Keys(reads)) {
			r, err := c.row("SELECT type FROM sqlite_schema WHERE lower(name) = ?", name)
			if err != nil {
				return err
			}
			if r != nil && r[0].Data == "table" || strings.HasPrefix(name, "sqlite_") || strings.HasPrefix(name, "pragma_") {
				d.Tables = append(d.Tables, name)
			}
		}
		return nil
	})
	if err != nil {
		return Description{}, fmt.Errorf("query: %w", err)
	}
	return d, nil
}

// Backlog is how many deliveries wait to be applied.
func (db *DB) Backlog() int { return db.remote.length() }
