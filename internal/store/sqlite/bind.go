package sqlite

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mattn/go-sqlite3"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/native"
)

// bind puts the parameters of s in the order of those of its statement.
func bind(p *sqlite3.SQLiteStmt, s Statement) ([]record.Value, error) {
	want := p.NumInput()
	if len(s.Named) == 0 {
		if want != len(s.Args) {
			return nil, fmt.Errorf("statement has %d parameters, %d values are given", want, len(s.Args))
		}
		return s.Args, nil
	}
	if len(s.Args) > 0 {
		return nil, errors.New("parameters are given by place and by name: choose one")
	}
	n, err := native.Of(p)
	if err != nil {
		return nil, err
	}
	names := n.Params()
	for name := range s.Named {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("parameter %q is not in the statement (names are given with their mark, as in %q)", name, ":name")
		}
	}
	args := make([]record.Value, want)
	for i, name := range names {
		v, ok := s.Named[name]
		if !ok {
			return nil, fmt.Errorf("parameter %d (%q) is not given", i+1, name)
		}
		args[i] = v
	}
	return args, nil
}

// userLimits are what a statement of a user may take.
var userLimits = [...]struct{ id, limit int }{
	{sqlite3.SQLITE_LIMIT_LENGTH, 16 << 20},
	{sqlite3.SQLITE_LIMIT_SQL_LENGTH, sqltext.MaxStatement},
	{sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 200},
	{sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 100},
	{sqlite3.SQLITE_LIMIT_COLUMN, 1000},
	{sqlite3.SQLITE_LIMIT_ATTACHED, 0},
	{sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000},
	{sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, maxArgs},
	{sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0},
}

// limitUser makes c take statements of users, and returns what sets the limits
// that it had.
func (c *conn) limitUser() (reset func()) {
	was := userLimits
	for i, l := range userLimits {
		was[i].limit = c.c.GetLimit(l.id)
		c.c.SetLimit(l.id, l.limit)
	}
	return func() {
		for _, l := range was {
			c.c.SetLimit(l.id, l.limit)
		}
	}
}
