//go:build !mutant

package fedsim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// files are the disks of a run with real databases, each a folder of its own
// below one that goes with the run.
type files struct {
	root string
	next int
}

func newFiles() (*files, error) {
	root, err := os.MkdirTemp("", "fedsim")
	if err != nil {
		return nil, fmt.Errorf("make a folder for databases: %w", err)
	}
	return &files{root: root}, nil
}

func (f *files) close() { _ = os.RemoveAll(f.root) }

func (f *files) newDisk() disk { return f.folder() }

func (f *files) folder() *fileDisk {
	f.next++
	d := &fileDisk{files: f, dir: filepath.Join(f.root, strconv.Itoa(f.next))}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		panic(err) // the folder is ours alone
	}
	return d
}

// fileDisk is a folder with a database.
type fileDisk struct {
	files *files
	dir   string
}

// name of the database in its folder.
const name = "node.db"

// copy leaves it to another process: this one must not open the files of a
// database that it has open, or SQLite's locks are gone.
func (d *fileDisk) copy() disk { return d.image() }

func (d *fileDisk) image() *fileDisk {
	out := d.files.folder()
	for _, suffix := range []string{"", "-wal"} { // in this order: a checkpoint meanwhile does no harm
		from := filepath.Join(d.dir, name+suffix)
		if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if text, err := exec.Command("cp", from, out.dir).CombinedOutput(); err != nil {
			panic(fmt.Sprintf("copy a database: %v: %s", err, text))
		}
	}
	return out
}

func (d *fileDisk) open(r *replica, bits func() uint64) (opened, error) {
	s := &fileStore{disk: d, wall: r.proc.wall}
	s.tick()
	db, err := sqlite.Open(context.Background(), sqlite.Config{
		Path: filepath.Join(d.dir, name), Fleet: fleetName, Cluster: r.realm.cluster, Lane: r.realm.lane, Node: r.proc.name,
		Tables: checked(r.realm.tablesOf(r.few), r.realm.picky(r.proc.name)), Rand: bits,
		Now: func() time.Time { return time.Unix(0, s.now.Load()) },
	})
	s.DB = db
	return s, err
}

// checked gives a picky node its constraint.
func checked(ts []schema.Table, picky bool) []schema.Table {
	ts = slices.Clone(ts)
	for i := range ts {
		if picky && ts[i].Index("val") >= 0 {
			ts[i].Checks = schema.Checks(fmt.Sprintf("val < %d", int64(poison)))
		}
	}
	return ts
}

// fileStore is a real database. What peers sent it is not synced, so before the
// first of that after a sync it takes an image, to which a crash goes back.
type fileStore struct {
	*sqlite.DB
	disk   *fileDisk
	synced *fileDisk // nil while all is synced

	// The clock is read by goroutines of the database too. It stands still
	// while nobody calls.
	wall func() time.Time
	now  atomic.Int64
}

func (s *fileStore) tick() { s.now.Store(s.wall().UnixNano()) }

// unsynced is called before something that commits without a sync, local after
// what syncs.
func (s *fileStore) unsynced() {
	s.tick()
	if s.synced == nil {
		s.synced = s.disk.image()
	}
}

func (s *fileStore) Sync() {
	if s.synced != nil {
		_ = os.RemoveAll(s.synced.dir)
		s.synced = nil
	}
}

func (s *fileStore) Update(ctx context.Context, fn func(store.Tx) error) (store.Commit, error) {
	s.tick()
	c, err := s.DB.Update(ctx, fn)
	if err == nil && c.Records > 0 {
		s.Sync()
	}
	return c, err
}

func (s *fileStore) Apply(ctx context.Context, batch []record.Delivery) ([]store.Outcome, error) {
	s.unsynced()
	return s.DB.Apply(ctx, batch)
}

func (s *fileStore) TakeListing(ctx context.Context, p store.ListingPage) error {
	s.unsynced()
	return s.DB.TakeListing(ctx, p)
}

func (s *fileStore) Collect(ctx context.Context, ages store.Ages, limit int) (store.Collected, error) {
	s.unsynced()
	return s.DB.Collect(ctx, ages, limit)
}

func (s *fileStore) Renew(ctx context.Context, boot uint64) (record.Writer, error) {
	s.tick()
	defer s.Sync()
	return s.DB.Renew(ctx, boot)
}

func (s *fileStore) Restamp(ctx context.Context, limit int) (int, error) {
	s.tick()
	return s.DB.Restamp(ctx, limit)
}

func (s *fileStore) CloseEarlier(ctx context.Context, w record.Writer) (store.Commit, error) {
	s.tick()
	c, err := s.DB.CloseEarlier(ctx, w)
	if err == nil && c.Records > 0 {
		s.Sync()
	}
	return c, err
}

func (s *fileStore) Close() error {
	s.Sync()
	return s.DB.Close()
}

// Crash leaves the files as a power cut would.
func (s *fileStore) Crash() {
	kept := s.synced
	if kept == nil {
		kept = s.disk.image()
	}
	_ = s.DB.Close()
	_ = os.RemoveAll(s.disk.dir)
	s.disk.dir = kept.dir
}
