package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// Statement is one SQL statement with its parameters: by place, or by name.
type Statement struct {
	SQL   string
	Args  []record.Value
	Named map[string]record.Value // with their marks, as ":p"
}

// Request is a transaction in SQL.
type Request struct {
	Statements  []Statement
	LocalTables bool          // CREATE and DROP of tables of this node alone, and of their indexes, are allowed
	Timeout     time.Duration // of running, once it is its turn; zero, or more than a second: a second, as all other writes wait then
}

// Affected is what one statement did.
type Affected struct {
	Rows    int64
	Columns []string    // of RETURNING
	Result  []store.Row // of RETURNING
	Time    time.Duration
}

// StatementError says which statement of a request failed. Nothing of the
// request is written.
type StatementError struct {
	Statement int // from 1
	Err       error
}

func (e *StatementError) Error() string {
	return fmt.Sprintf("statement %d: %v", e.Statement, e.Err)
}

func (e *StatementError) Unwrap() error { return e.Err }

// maxExec is how long one Exec may keep everything else of this node waiting.
const maxExec = time.Second

// maxStatements bounds the statements of one Exec.
const maxStatements = 10_000

// Exec runs statements that write as one transaction, all or nothing: INSERT
// (upsert and REPLACE too), UPDATE and DELETE, with RETURNING. Everything else
// is refused by name. The rows they change make one changeset, as with Update.
func (db *DB) Exec(ctx context.Context, r Request) ([]Affected, store.Commit, error) {
	out, commit, err := db.exec(ctx, r)
	if err != nil {
		return nil, store.Commit{}, fmt.Errorf("exec: %w", err)
	}
	return out, commit, nil
}

func (db *DB) exec(ctx context.Context, r Request) ([]Affected, store.Commit, error) {
	switch n := len(r.Statements); {
	case n == 0:
		return nil, store.Commit{}, errors.New("at least one statement is required")
	case n > maxStatements:
		return nil, store.Commit{}, fmt.Errorf("%d statements are over the limit of %d: %w", n, maxStatements, store.ErrTooLarge)
	}
	limit := db.cfg.Limits
	limit.Time = min(limit.Time, maxExec)
	if r.Timeout > 0 {
		limit.Time = min(limit.Time, r.Timeout)
	}
	var out []Affected
	commit, err := db.update(ctx, true, func(x *tx) error {
		outer := ctx // waiting for its turn costs nobody else anything
		ctx, stop := context.WithTimeout(ctx, limit.Time)
		defer stop()
		defer x.c.limitUser()()
		out = make([]Affected, len(r.Statements))
		moves := r.LocalTables && slices.ContainsFunc(r.Statements, mayMoveTables)
		for i, s := range r.Statements {
			start := time.Now()
			var err error
			if moves || i == 0 {
				err = x.db.readLocals(moves)
			}
			if err == nil {
				err = x.exec(ctx, s, r.LocalTables, moves, &out[i])
			}
			if err != nil {
				return &StatementError{i + 1, tooLong(outer, err, limit)}
			}
			out[i].Time = time.Since(start)
		}
		return nil
	})
	return out, commit, err
}

// mayMoveTables reports whether s could make or drop a table. Most statements
// of those who may do so write rows, and need not look at the tables anew.
func mayMoveTables(s Statement) bool {
	text := strings.TrimSpace(s.SQL)
	return !slices.ContainsFunc(writingWords, func(word string) bool {
		return len(text) > len(word) && strings.EqualFold(text[:len(word)], word)
	})
}

var writingWords = []string{"INSERT", "REPLACE", "UPDATE", "DELETE", "WITH"}

// exec runs one statement; moves says that the transaction may make and drop
// tables, so what it prepares is not kept: it may be undone.
func (x *tx) exec(ctx context.Context, s Statement, local, moves bool, out *Affected) error {
	var u *userStatement
	if !moves {
		x.c.users.under(x.db.tables(), x.db.localAt)
		u = x.c.users.take(s.SQL)
	}
	if u == nil {
		var err error
		if u, err = x.c.prepareWrite(s.SQL, local); err != nil {
			return err
		}
	}
	if err := x.runUser(ctx, u, s, out); err != nil || moves {
		_ = u.s.Close()
		return err
	}
	x.c.users.put(s, u)
	return nil
}

// prepareWrite prepares a statement of a user that writes rows, or, with local,
// makes or drops a table.
func (c *conn) prepareWrite(sql string, local bool) (*userStatement, error) {
	allowed := writingWords
	if local {
		allowed = append(slices.Clone(allowed), "CREATE", "DROP")
	}
	p, err := c.prepareAny(sql, allowed...)
	if err != nil {
		return nil, err
	}
	if p.Readonly() {
		_ = p.Close()
		return nil, errors.New("statement does not write")
	}
	return &userStatement{s: p, wrote: c.guard.wrote, ddl: c.guard.ddl}, nil
}

func (x *tx) runUser(ctx context.Context, u *userStatement, s Statement, out *Affected) error {
	args, err := bind(u.s, s)
	if err != nil {
		return err
	}
	limit := x.db.cfg.Limits.Rows
	err = readRows(ctx, u.s, toDriver(args), func(names []string) error {
		if len(names) > 0 {
			out.Columns = slices.Clone(names)
		}
		return nil
	}, func(r []record.Value) error {
		if len(out.Result) == limit {
			return &LimitError{"rows", fmt.Sprint(limit)}
		}
		out.Result = append(out.Result, r)
		return nil
	})
	if err = x.db.capture.read(err); err != nil {
		return x.adviseKey(err, u.wrote)
	}
	if u.ddl {
		return nil
	}
	n, err := x.c.row("SELECT changes()")
	if err == nil {
		out.Rows = n[0].Int
	}
	return err
}

// adviseKey says more of a refusal that a table without a key given may get.
func (x *tx) adviseKey(err error, wrote []string) error {
	var e sqlite3.Error
	if !errors.As(err, &e) || e.ExtendedCode != sqlite3.ErrConstraintNotNull {
		return err
	}
	for _, name := range wrote {
		if t := x.db.tables().byName[name]; t != nil && t.Kind != 0 && t.IntegerKey() {
			return fmt.Errorf("%w (table %s: a key is given by who writes: one that SQLite chose could be taken at two nodes at once)", err, name)
		}
	}
	return err
}
