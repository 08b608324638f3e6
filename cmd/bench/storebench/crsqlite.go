package storebench

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/firebreak-dev/firebreak/cmd/bench/row"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/plain"
)

// EnvCRSQLite names the variable that holds the path of the extension. It is
// never part of this tree.
const EnvCRSQLite = "CRSQLITE_SO"

const crRows = 20_000 // in its table: it is slow to fill

// The columns of its table of changes, as it documents them.
const crColumns = `"table", pk, cid, val, col_version, db_version, site_id, cl, seq`

const (
	crRead  = "SELECT " + crColumns + " FROM crsql_changes WHERE db_version > ? ORDER BY db_version, seq"
	crWrite = "INSERT INTO crsql_changes (" + crColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

// crDB is a database of the extension, with the machines as a replicated table.
type crDB struct {
	*baseline
	seen    int64              // db_version up to which changes were read
	changes [][][]driver.Value // prepared: transactions of changes of another database
}

func openCR(dir, name string, seed uint64) (*crDB, error) {
	so := os.Getenv(EnvCRSQLite)
	db, err := plain.Open(filepath.Join(dir, name), plain.Config{Extension: so})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", EnvCRSQLite, err)
	}
	c := &crDB{baseline: &baseline{db: db, make: row.NewMaker(seed)}}
	ddl := strings.TrimSuffix(theTable.SQL(), " WITHOUT ROWID")
	// It wants a default for every NOT NULL column outside of the key.
	for _, col := range theTable.Columns {
		ddl = strings.Replace(ddl, fmt.Sprintf("%q %s NOT NULL, ", col.Name, col.Type), fmt.Sprintf("%q %s NOT NULL DEFAULT '', ", col.Name, col.Type), 1)
	}
	if err = db.Script(ddl); err == nil {
		err = db.Rows("SELECT crsql_as_crr('"+theTable.Name+"')", nil, func([]driver.Value) error { return nil })
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// close ends the extension's statements, as it asks for.
func (c *crDB) close() error {
	err := c.db.Rows("SELECT crsql_finalize()", nil, func([]driver.Value) error { return nil })
	return errors.Join(err, c.db.Close())
}

// drain reads the changes since the last drain, a list per transaction.
func (c *crDB) drain() (out [][][]driver.Value, err error) {
	last := int64(-1)
	err = c.db.Rows(crRead, []driver.Value{c.seen}, func(r []driver.Value) error {
		version, ok := r[5].(int64)
		if !ok {
			return fmt.Errorf("db_version is %T", r[5])
		}
		if version != last {
			out, last = append(out, nil), version
		}
		out[len(out)-1] = append(out[len(out)-1], r)
		c.seen = max(c.seen, version)
		return nil
	})
	return out, err
}

func (c *crDB) merge() error {
	for _, changes := range c.changes {
		err := c.db.Transaction(func() error {
			for _, r := range changes {
				if _, err := c.db.Exec(crWrite, r...); err != nil {
					return err
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

// crSQLite compares the merging of whole-row updates. The subject is the
// extension, so that its figure reads as "times ours".
func crSQLite(ctx context.Context, b *bench.Bencher) (err error) {
	if os.Getenv(EnvCRSQLite) == "" {
		b.Note("not measured: %s is not set", EnvCRSQLite)
		return nil
	}
	dir, err := b.MemoryDir(crRows * 10 * bytesOfRow)
	if err != nil {
		return err
	}
	source, err := openCR(dir, "source.db", b.Seed())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.close()) }()
	sink, err := openCR(dir, "sink.db", b.Seed())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sink.close()) }()
	o, err := openOurs(ctx, dir, b.Seed(), sqlite.OS, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.db.Close()) }()
	if err := errors.Join(source.fill(crRows), o.fill(ctx, crRows)); err != nil {
		return err
	}
	if sink.changes, err = source.drain(); err == nil {
		err = sink.merge()
	}
	if err != nil {
		return err
	}
	return b.Compare(ctx, crPair(source, sink, o))
}

func crPair(source, sink *crDB, o *ours) bench.Pair {
	s := shape{kind: "update", batch: 100, writers: 10}
	return bench.Pair{
		Name: "update, 100 rows of 10 writers", Multiple: s.batch, Most: 10_000,
		Subject: bench.Side{
			Name: "cr-sqlite",
			Prepare: func(ops int) (err error) {
				if _, err = source.prepare(s, ops, crRows/rowsEach, nil); err == nil {
					err = source.send(source.batches)
				}
				if err == nil {
					sink.changes, err = source.drain()
				}
				return err
			},
			Do: func(context.Context, int) (bench.Values, error) { return nil, sink.merge() },
		},
		Baseline: bench.Side{
			Name: "apply",
			Prepare: func(ops int) error {
				_, err := o.prepare(s, ops, crRows/rowsEach, nil)
				return err
			},
			Do: func(ctx context.Context, _ int) (bench.Values, error) { return nil, o.send(ctx, o.batches) },
		},
		Measures: []bench.Measure{{Name: "its CPU per row against ours", Unit: "µs", Of: bench.CPU, How: bench.Ratio, Guard: bench.OnCPU, Target: result.AtLeast(5)}},
	}
}
