package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

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

// maxExec is how long one Exec may keep everything else of this node waiting.
const maxExec = time.Second

// Exec runs statements that write as one transaction, all or nothing: INSERT
// (upsert and REPLACE too), UPDATE and DELETE, with RETURNING. Everything else
// is refused by name. The rows they change make one changeset, as with Update.
func (db *DB) Exec(ctx context.Context, stmts []Statement) ([]Affected, store.Commit, error) {
	outer, limit := ctx, db.cfg.Limits
	limit.Time = min(limit.Time, maxExec)
	ctx, stop := context.WithTimeout(ctx, limit.Time)
	defer stop()
	var out []Affected
	commit, err := db.update(ctx, true, func(x *tx) error {
		out = make([]Affected, len(stmts))
		for i, s := range stmts {
			if err := x.exec(ctx, s, &out[i]); err != nil {
				return fmt.Errorf("statement %d: %w", i+1, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, store.Commit{}, fmt.Errorf("exec: %w", tooLong(outer, err, limit))
	}
	return out, commit, nil
}

func (x *tx) exec(ctx context.Context, s Statement, out *Affected) error {
	p, err := x.c.prepareUser(s.SQL, len(s.Args), "INSERT", "REPLACE", "UPDATE", "DELETE", "WITH")
	if err != nil {
		return err
	}
	defer p.Close()
	if p.Readonly() {
		return fmt.Errorf("statement does not write")
	}
	limit := x.db.cfg.Limits.Rows
	err = readRows(ctx, p, toDriver(s.Args), func(names []string) error {
		if len(names) > 0 {
			out.Columns = append([]string(nil), names...)
		}
		return nil
	}, func(r []record.Value) error {
		if len(out.Result) == limit {
			return &LimitError{"rows", fmt.Sprint(limit)}
		}
		out.Result = append(out.Result, r)
		return nil
	})
	if err != nil {
		return err
	}
	n, err := x.c.row("SELECT changes()")
	if err == nil {
		out.Rows = n[0].Int
	}
	return err
}
