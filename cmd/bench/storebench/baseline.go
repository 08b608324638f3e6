package storebench

import (
	"database/sql/driver"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/firebreak-dev/firebreak/cmd/bench/row"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/plain"
)

var (
	theTable = row.Table()
	tables   = []schema.Table{theTable}
	sql      = statementsOf(theTable)
)

// statements on a plain table.
type statements struct {
	insert, update, remove string
}

func statementsOf(t schema.Table) statements {
	name, cols := schema.Quote(t.Name), t.Names()
	for i, c := range cols {
		cols[i] = schema.Quote(c)
	}
	key, rest := cols[:len(t.Key)], cols[len(t.Key):]
	where := strings.Join(key, " = ? AND ") + " = ?"
	return statements{
		insert: fmt.Sprintf("INSERT INTO %s (%s) VALUES (?%s)", name, strings.Join(cols, ", "), strings.Repeat(", ?", len(cols)-1)),
		update: fmt.Sprintf("UPDATE %s SET %s = ? WHERE %s", name, strings.Join(rest, " = ?, "), where),
		remove: fmt.Sprintf("DELETE FROM %s WHERE %s", name, where),
	}
}

// baseline is the user's table alone.
type baseline struct {
	db      *plain.DB
	make    *row.Maker
	next    int
	batches [][]operation // prepared
}

// operation is one statement that changes one row.
type operation struct {
	sql  string
	args []driver.Value
}

func openBaseline(dir string, seed uint64, cfg plain.Config) (*baseline, error) {
	db, err := plain.Open(filepath.Join(dir, "plain.db"), cfg)
	if err != nil {
		return nil, err
	}
	if err := db.Script(theTable.SQL()); err != nil {
		return nil, err
	}
	return &baseline{db: db, make: row.NewMaker(seed)}, nil
}

func (b *baseline) insert(k row.Key) operation {
	return operation{sql.insert, row.Driver(b.make.Row(k))}
}

func (b *baseline) update(k row.Key) operation {
	v := row.Driver(b.make.Row(k))
	n := len(theTable.Key)
	return operation{sql.update, append(v[n:], v[:n]...)}
}

func (b *baseline) remove(k row.Key) operation {
	return operation{sql.remove, row.Driver(b.make.Row(k))[:len(theTable.Key)]}
}

// send runs batches, a transaction each; every statement must change a row.
func (b *baseline) send(batches [][]operation) error {
	for _, ops := range batches {
		err := b.db.Transaction(func() error {
			for _, o := range ops {
				if n, err := b.db.Exec(o.sql, o.args...); err != nil {
					return err
				} else if n != 1 {
					return fmt.Errorf("%d rows changed by %s", n, o.sql)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *baseline) fill(rows int) error {
	for w := 1; w <= rows/rowsEach; w++ {
		var ops []operation
		for id := range rowsEach {
			ops = append(ops, b.insert(row.Key{Worker: w, ID: id}))
		}
		if err := b.send([][]operation{ops}); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	return nil
}
