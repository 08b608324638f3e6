package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

// Owner is whose a database is.
type Owner struct {
	Fleet, Cluster, Lane string
	Node                 record.Node
}

// Stripped says what is left of a database that was made fit for a node.
type Stripped struct {
	Donor     Owner
	Owner     Owner // Donor, or its cluster and another node
	Rows      int64 // replicated rows
	Withheld  int64
	Unread    []string // tables whose rows were not read, because this program does not know them
	Unchecked int      // writers whose fingerprint was not compared, because records of theirs are withheld and a table is unread
}

// Strip makes the restored database at path, which no process has open, fit
// for node, or again for its donor if node is empty: the books that were the
// donor's own go, and so do the rows of its local tables; what is replicated
// stays, with its heads, gaps, evictions and withheld records. Tables are those
// of the store's configuration; users' are in the file. Every row is read and
// hashed anew: it refuses a damaged file, a row that is not what was received,
// and rows that do not add up to the fingerprints that came with them.
func Strip(ctx context.Context, path string, node record.Node, tables []schema.Table) (Stripped, error) {
	out, err := strip(ctx, path, node, tables)
	if err != nil {
		return out, fmt.Errorf("strip %s: %w", path, err)
	}
	return out, nil
}

func strip(ctx context.Context, path string, node record.Node, tables []schema.Table) (out Stripped, err error) {
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return out, err
	}
	c, err := openConn(path, "rw")
	if err != nil {
		return out, errors.Join(err, lock.release())
	}
	defer func() { err = errors.Join(err, c.close(), lock.release(), os.Remove(path+".lock")) }()
	if out.Donor, err = c.owner(); err != nil {
		return out, err
	}
	if err := quickCheck(ctx, c, ""); err != nil {
		return out, err
	}
	if err := c.recount(ctx, tables, &out); err != nil {
		return out, err
	}
	out.Owner = out.Donor
	if node != "" {
		out.Owner.Node = node
	}
	if err := c.script("BEGIN IMMEDIATE"); err != nil {
		return out, err
	}
	if err := c.forget(ctx, out.Owner); err != nil {
		return out, errors.Join(err, c.script("ROLLBACK"))
	}
	return out, c.script("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")
}

// owner reads whose the file is.
func (c *conn) owner() (Owner, error) {
	id, err := c.row(`SELECT format, fleet, cluster, lane, node FROM _fb_local_identity`)
	if err != nil {
		return Owner{}, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	if id == nil {
		return Owner{}, fmt.Errorf("%w: it does not say whose it is", ErrForeign)
	}
	if id[0].Int != format {
		return Owner{}, fmt.Errorf("%w: its layout is number %d, this program knows %d", ErrForeign, id[0].Int, format)
	}
	return Owner{id[1].Data, id[2].Data, id[3].Data, record.Node(id[4].Data)}, nil
}

// forget drops what was the donor's own, and claims the file for owner.
func (c *conn) forget(ctx context.Context, owner Owner) error {
	// What the feed has of the donor's own writer stays: its rows do.
	if err := c.settleOwn(); err != nil {
		return err
	}
	names, err := c.names(ctx)
	if err != nil {
		return err
	}
	for name := range names {
		switch {
		case strings.HasPrefix(name, "_litestream_"):
			err = c.script("DROP TABLE " + schema.Quote(name))
		case strings.HasPrefix(name, "_fb_local_"), !strings.HasPrefix(name, "_") && !names[sidePrefix+name]:
			err = c.script("DELETE FROM " + schema.Quote(name))
		}
		if err != nil {
			return err
		}
	}
	return c.exec(`INSERT INTO _fb_local_identity VALUES (1, ?, ?, ?, ?, ?)`, int64(format), owner.Fleet, owner.Cluster, owner.Lane, string(owner.Node))
}

// names lists the tables.
func (c *conn) names(ctx context.Context) (map[string]bool, error) {
	names := map[string]bool{}
	err := c.rows(ctx, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`, nil, func(r []record.Value) error {
		names[r[0].Data] = true
		return nil
	})
	return names, err
}

const sidePrefix = "_fb_rows_"

// Copy writes the database at path, which a node may have open, to a new file,
// as of one moment.
func Copy(ctx context.Context, path, to string) error {
	if _, err := os.Stat(to); err == nil {
		return fmt.Errorf("copy: %s is there already", to)
	}
	c, err := openConn(path, "ro")
	if err == nil {
		s, perr := c.prepare("VACUUM INTO ?")
		if err = perr; err == nil {
			err = readRows(ctx, s, toDriver([]record.Value{record.Of(to)}), nil, func([]record.Value) error { return nil })
			err = errors.Join(err, s.Close())
		}
		err = errors.Join(err, c.close())
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", path, err)
	}
	return nil
}

// RestartLog writes next to nothing, after checkpoints, until the log has
// started over. Nobody else may hold it.
func (db *DB) RestartLog(ctx context.Context) error {
	var before, now int64
	for {
		var run <-chan struct{}
		err := db.do(ctx, func(w *work) error {
			now = db.wal.now
			before = max(before, now)
			db.wal.kick()
			run = db.wal.behind(0)
			return nil
		})
		if err == nil && now < before {
			return nil
		}
		if err == nil && run != nil {
			select {
			case <-run:
			case <-ctx.Done():
			}
		}
		if err == nil {
			err = db.do(ctx, func(w *work) error { return w.c.exec(sqlPutValue, valueTried, db.cfg.Now().UnixNano()) })
		}
		if err == nil {
			err = backoff.Wait(ctx, 20*time.Millisecond) // somebody reads it: each try makes it longer
		}
		if err != nil {
			return fmt.Errorf("start the log over: %w", err)
		}
	}
}

// LogBytes is how much of the log is in use: its file may be larger.
func (db *DB) LogBytes() int64 { return db.wal.used.Load() }
