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
			err := x.db.readLocals(moves)
			if err == nil {
				err = x.exec(ctx, s, r.LocalTables, &out[i])
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

func (x *tx) exec(ctx context.Context, s Statement, ddl bool, out *Affected) error {
	allowed := writingWords
	if ddl {
		allowed = append(slices.Clone(allowed), "CREATE", "DROP")
	}
	p, args, err := x.c.prepareUser(s, allowed...)
	if err != nil {
		return err
	}
	defer p.Close()
	changesSchema := x.c.guard.ddl
	if p.Readonly() {
		return errors.New("statement does not write")
	}
	limit := x.db.cfg.Limits.Rows
	err = readRows(ctx, p, toDriver(args), func(names []string) error {
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
		return x.adviseKey(err)
	}
	if changesSchema {
		return nil
	}
	n, err := x.c.row("SELECT changes()")
	if err == nil {
		out.Rows = n[0].Int
	}
	return err
}

// adviseKey says more of a refusal that a table without a key given may get.
func (x *tx) adviseKey(err error) error {
	var e sqlite3.Error
	if !errors.As(err, &e) || e.ExtendedCode != sqlite3.ErrConstraintNotNull {
		return err
	}
	for _, name := range x.c.guard.wrote {
		if t := x.db.tables().byName[name]; t != nil && t.Kind != 0 && t.IntegerKey() {
			return fmt.Errorf("%w (table %s: a key is given by who writes: one that SQLite chose could be taken at two nodes at once)", err, name)
		}
	}
	return err
}
