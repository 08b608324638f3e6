package sqlite

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// maxFrames is the length of the log, in pages, from which on peers' records
// wait for a WAL checkpoint in progress: 64 MiB.
const maxFrames = 16 << 10

// checkpointer moves the log into the file from a connection of its own, off
// the commit path, PASSIVE only: it waits for nobody and holds nobody up.
type checkpointer struct {
	path    string
	c       *conn
	wake    chan struct{} // of size 1
	metrics *metrics
	warn    func(err error)
	frames  atomic.Int64 // in the log, at the last run

	// Owned by the loop.
	records, entries int

	mu      sync.Mutex
	running chan struct{} // closed at the end of the run in progress
}

func newCheckpointer(cfg Config, m *metrics) (*checkpointer, error) {
	c, err := openConn(cfg.Path, "rw")
	if err != nil {
		return nil, err
	}
	if err := c.script("PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = NORMAL"); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return &checkpointer{
		path: cfg.Path, c: c, wake: make(chan struct{}, 1), metrics: m,
		warn: func(err error) { cfg.Logger.Warn("WAL checkpoint", "err", err) },
	}, nil
}

// wrote counts what the loop has committed.
func (k *checkpointer) wrote(records, entries int) {
	k.records += records
	k.entries += entries
	if k.records >= paceEvery {
		k.kick()
	}
}

// idle moves what is left when there is nothing else to do.
func (k *checkpointer) idle() {
	if k.records > 0 || k.entries > 0 {
		k.kick()
	}
}

func (k *checkpointer) kick() {
	k.records, k.entries = 0, 0
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// behind returns a channel that is closed when the run in progress ends, if
// the log is long and there is such a run.
func (k *checkpointer) behind() <-chan struct{} {
	if k.frames.Load() < maxFrames {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.running
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
	done := make(chan struct{})
	k.mu.Lock()
	k.running = done
	k.mu.Unlock()
	err := k.c.rows(context.Background(), "PRAGMA wal_checkpoint(PASSIVE)", nil, func(r []record.Value) error {
		k.frames.Store(r[1].Int)
		return nil
	})
	k.mu.Lock()
	k.running = nil
	k.mu.Unlock()
	close(done)
	k.metrics.checkpoints.Inc()
	if err != nil {
		k.warn(err)
	}
}

// size returns the bytes of the log on disk.
func (k *checkpointer) size() int64 {
	fi, err := os.Stat(k.path + "-wal")
	if err != nil {
		return 0
	}
	return fi.Size()
}

func (k *checkpointer) close() error { return k.c.close() }
