package sqlite

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// The sizes of the log, in bytes. It starts over only when all of it is in the
// file and nobody reads it, and a loop that writes without pause never lets
// that happen: so from some size on it waits for the run in progress.
const (
	walPage   = 4096 + 24 // a page with its header
	walStep   = 16 << 20  // growth from one run to the next
	walRemote = 48 << 20  // from here on peers' records wait
	walLocal  = 128 << 20 // from here on local writes wait too
)

// pinAlarm is the size from which on a log that does not start over is told of,
// with the name of who keeps it.
const pinAlarm = 64 << 20

// checkpointer moves the log into the file from a connection of its own, off
// the commit path, PASSIVE only: it waits for nobody and holds nobody up.
type checkpointer struct {
	db     *DB
	c      *conn
	wake   chan struct{} // of size 1
	paused atomic.Bool   // peers' records wait
	used   atomic.Int64  // bytes of the log that are in use, after the last commit
	pins   atomic.Pointer[[]string]

	// Owned by the loop.
	dirty  bool
	now    int64 // size of the log after the last commit
	kicked int64 // and at the last kick

	// Owned by run.
	alarm  int64 // pinAlarm; a test lowers it before it uses the store
	warned time.Time

	mu   sync.Mutex
	done chan struct{} // closed at the end of the run asked for, nil without one
}

func newCheckpointer(db *DB) (*checkpointer, error) {
	c, err := openConn(db.cfg.Path, "rw")
	if err != nil {
		return nil, err
	}
	if err := c.script("PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = NORMAL"); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return &checkpointer{db: db, c: c, wake: make(chan struct{}, 1), alarm: pinAlarm}, nil
}

// wrote takes note of a commit, after which the log has so many pages.
func (k *checkpointer) wrote(pages int) {
	k.dirty, k.now = true, int64(pages)*walPage
	k.used.Store(k.now)
	if k.now < k.kicked {
		k.kicked = 0 // it has started over
	}
	if k.now-k.kicked >= walStep {
		k.kick()
	}
}

// idle moves what is left when there is nothing else to do.
func (k *checkpointer) idle() {
	if k.dirty {
		k.kick()
	}
}

func (k *checkpointer) kick() {
	k.kicked = k.now
	k.mu.Lock()
	asked := k.done != nil
	if !asked {
		k.done = make(chan struct{})
	}
	k.mu.Unlock()
	if !asked {
		k.dirty = false
		k.wake <- struct{}{} // never full: there was no run asked for
	}
}

// behind returns a channel that is closed when the run in progress ends, if
// there is one and the log is longer than limit.
func (k *checkpointer) behind(limit int64) <-chan struct{} {
	if k.now < limit {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.done
}

func (k *checkpointer) run(quit <-chan struct{}) {
	for {
		select {
		case <-k.wake:
			k.once()
		case <-quit:
			return
		}
	}
}

func (k *checkpointer) once() {
	var pages, moved int64
	err := k.c.rows(context.Background(), "PRAGMA wal_checkpoint(PASSIVE)", nil, func(r []record.Value) error {
		pages, moved = r[1].Int, r[2].Int
		return nil
	})
	k.db.metrics.checkpoints.Inc()
	if err = k.db.sound(err); err != nil {
		k.db.cfg.Logger.Warn("WAL checkpoint", "err", err)
	}
	k.lookForPins(pages*walPage, moved < pages)
	k.mu.Lock()
	close(k.done)
	k.done = nil
	k.mu.Unlock()
}

// size returns the bytes of the log on disk.
func (k *checkpointer) size() int64 {
	fi, err := os.Stat(k.db.cfg.Path + "-wal")
	if err != nil {
		return 0
	}
	return fi.Size()
}

func (k *checkpointer) close() error { return k.c.close() }
