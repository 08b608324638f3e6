package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// ErrDamaged says that the file is not what was written to it.
var ErrDamaged = errors.New("database file is damaged")

// ErrFsync says that an fsync failed. Nobody knows what is durable then, and a
// second try would say that all is well: the process must end, and the next
// one starts from what the disk has.
var ErrFsync = errors.New("the disk did not confirm a write (fsync)")

// maxAside is how many damaged files are kept. One more is a disk that a person
// has to look at, and no reason to fill it.
const maxAside = 3

// quickCheckMax is the size up to which a file that nobody closed is looked
// over before it serves: about a tenth of a second. A larger one is looked over
// while it serves.
const quickCheckMax = 32 << 20

// judge says which end of the store err means: ErrDamaged, ErrFsync, or nil.
func judge(err error) error {
	if errors.Is(err, ErrDamaged) || errors.Is(err, ErrFsync) {
		return nil // judged already
	}
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return nil
	}
	switch {
	case e.ExtendedCode == sqlite3.ErrIoErrFsync || e.ExtendedCode == sqlite3.ErrIoErrDirFsync:
		return ErrFsync
	case e.ExtendedCode == sqlite3.ErrCorruptVTab:
		return nil // of a virtual table, which no node has
	case e.Code == sqlite3.ErrCorrupt || e.Code == sqlite3.ErrNotADB:
		return ErrDamaged
	}
	return nil
}

// broken notes an error after which the store must not go on.
func (db *DB) broken(err error) error {
	if what := judge(err); what != nil {
		err = fmt.Errorf("%w: %w", what, err)
	}
	if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFsync) {
		return err
	}
	err = fmt.Errorf("store takes no more writes: %w", err)
	if db.failed.CompareAndSwap(nil, &err) {
		if errors.Is(err, ErrDamaged) {
			noteDamage(db.cfg, err)
		}
		db.cfg.Logger.Error("database failed", "path", db.cfg.Path, "err", err)
		close(db.broke)
	}
	return err
}

// sound passes on the error of a read, and notes it if the file is at fault.
func (db *DB) sound(err error) error {
	if err != nil && (judge(err) != nil || errors.Is(err, ErrDamaged)) {
		return db.broken(err)
	}
	return err
}

// Failed returns why the store takes no more writes: ErrFsync or ErrDamaged.
// Nil while it works. Reads go on as far as the disk lets them.
func (db *DB) Failed() error {
	if err := db.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Watch waits until the store has failed, and returns why: the process should
// end with it. It returns nil when ctx ends.
func (db *DB) Watch(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-db.broke:
		return db.Failed()
	}
}

func damageNote(path string) string { return path + ".damaged" }

// noteDamage leaves word for the next start, which may not see by itself what
// this one has met.
func noteDamage(cfg Config, why error) {
	if err := os.WriteFile(damageNote(cfg.Path), []byte(why.Error()+"\n"), 0o644); err != nil {
		cfg.Logger.Warn("damage not noted for the next start", "err", err)
	}
}

// foundBefore says what is known to be wrong with the file before SQLite opens
// it. It must have no connection in this process: see [fileLock].
func foundBefore(cfg Config) error {
	why, err := os.ReadFile(damageNote(cfg.Path))
	if err == nil {
		return fmt.Errorf("%w: the last start met this: %s", ErrDamaged, strings.TrimSpace(string(why)))
	}
	lost, err := checkLog(cfg.Path)
	if err == nil && lost > 0 {
		cfg.Logger.Warn("the log ends before the last commits: they are gone from this disk", "path", cfg.Path, "pages", lost)
	}
	return err
}

// setAside renames a damaged database, so that a person can look at it and the
// node starts with an empty one.
func setAside(cfg Config) (string, error) {
	had, err := filepath.Glob(cfg.Path + ".aside-*[0-9Z]")
	if err != nil {
		return "", err
	}
	if len(had) >= maxAside {
		return "", fmt.Errorf("%d damaged files lie beside it already (%s): look at the disk, then remove them", len(had), filepath.Dir(cfg.Path))
	}
	to := cfg.Path + ".aside-" + cfg.Now().UTC().Format("20060102T150405.000Z")
	for _, part := range []string{"-wal", "-shm", ""} {
		if err := os.Rename(cfg.Path+part, to+part); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("set aside: %w", err)
		}
	}
	if err := os.Remove(damageNote(cfg.Path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("set aside: %w", err)
	}
	return to, nil
}

// checkUnclean looks over a file whose last user did not close it: a torn page
// is better found now than served to peers.
func (db *DB) checkUnclean(ctx context.Context) error {
	clean, err := db.c.row(sqlValue, valueClean)
	if err != nil {
		return err
	}
	size, err := db.c.row(`SELECT page_count * page_size FROM pragma_page_count, pragma_page_size`)
	if err != nil {
		return err
	}
	if clean != nil && clean[0].Int == 0 {
		if db.unclean = size[0].Int > quickCheckMax; !db.unclean {
			if err := quickCheck(ctx, db.c, ""); err != nil {
				return err
			}
		}
	}
	return db.c.exec(sqlPutValue, valueClean, int64(0))
}

// quickCheck looks over one table and its indexes, or everything.
func quickCheck(ctx context.Context, c *conn, name string) error {
	sql := "PRAGMA quick_check(1)"
	if name != "" {
		sql = "PRAGMA quick_check(" + schema.Quote(name) + ")"
	}
	return c.rows(ctx, sql, nil, func(r []record.Value) error {
		if r[0].Data != "ok" {
			return fmt.Errorf("%w: %s", ErrDamaged, r[0].Data)
		}
		return nil
	})
}

// checkServing looks over a large file that nobody closed, a table at a time so
// that the log is not held for long.
func (db *DB) checkServing() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done, err := db.readers.add(Reading{Caller: "check of the file"}, stop)
	if err != nil {
		return
	}
	defer done()
	start := time.Now()
	var names []string
	err = db.inside.with(ctx, func(c *conn) error {
		return c.rows(ctx, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name`, nil, func(r []record.Value) error {
			names = append(names, r[0].Data)
			return nil
		})
	})
	for _, name := range names {
		if err == nil {
			err = db.inside.with(ctx, func(c *conn) error { return quickCheck(ctx, c, name) })
		}
	}
	switch {
	case err == nil:
		db.cfg.Logger.Info("file that was not closed is sound", "path", db.cfg.Path, "took", time.Since(start))
	case ctx.Err() == nil && !errors.Is(err, store.ErrClosed):
		if db.broken(err); db.Failed() == nil {
			db.cfg.Logger.Warn("file that was not closed could not be looked over", "path", db.cfg.Path, "err", err)
		}
	}
}
