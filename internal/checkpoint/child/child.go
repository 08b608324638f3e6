// Package child is what a checkpoint child process does: it copies a database
// with Litestream, and restores one. It is the only place where Litestream's
// SQLite opens a file, and it refuses to in a process whose store has one open.
package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/benbjohnson/litestream"
	"github.com/benbjohnson/litestream/file"

	"github.com/firebreak-dev/firebreak/internal/checkpoint"
	"github.com/firebreak-dev/firebreak/internal/store/custody"
)

// How long copies are kept, and how fine: every copy for an hour, every half
// minute for a day.
const (
	fine          = time.Hour
	retention     = 24 * time.Hour
	snapshotEvery = 6 * time.Hour
	tellEvery     = time.Second
	maxLastSync   = 30 * time.Second // at the end, for what is not yet copied
)

// levels are the spans that copies are merged into as they get older.
func levels() litestream.CompactionLevels {
	return litestream.CompactionLevels{
		{Level: 0}, {Level: 1, Interval: 30 * time.Second}, {Level: 2, Interval: 5 * time.Minute}, {Level: 3, Interval: time.Hour},
	}
}

// Copy does what the order on in says, and tells of it on out, until in ends.
func Copy(ctx context.Context, in io.Reader, out io.Writer, log *slog.Logger) error {
	r := bufio.NewReader(in)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	var o checkpoint.Order
	if err := json.Unmarshal(line, &o); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, r) // until the parent ends, or says that it is enough
		stop()
	}()
	s, db, err := openDatabase(o, log)
	if err != nil {
		return err
	}
	if err := s.Open(ctx); err != nil {
		return fmt.Errorf("copy %s: %w", o.Database, err)
	}
	err = tell(ctx, db, out)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxLastSync)
	defer cancel()
	return errors.Join(err, s.Close(last))
}

// openDatabase is the one place where Litestream's SQLite is given a database
// that others write to.
func openDatabase(o checkpoint.Order, log *slog.Logger) (*litestream.Store, *litestream.DB, error) {
	if err := custody.Take(custody.Modernc); err != nil {
		return nil, nil, err
	}
	db := litestream.NewDB(o.Database)
	db.SetMetaPath(o.State)
	db.TruncatePageN = -1 // a TRUNCATE checkpoint would lock the node out
	db.MonitorInterval = o.Every
	client := file.NewReplicaClient(o.Chain)
	db.Replica = litestream.NewReplicaWithClient(db, client)
	db.Replica.SyncInterval = o.Every
	client.Replica = db.Replica
	s := litestream.NewStore([]*litestream.DB{db}, levels())
	s.SnapshotInterval, s.SnapshotRetention, s.L0Retention = snapshotEvery, retention, fine
	db.L0Retention = fine
	s.Logger = log
	db.SetLogger(log)
	return s, db, nil
}

// tell says once a second how far the copies are, as long as they get further
// or there is nothing to copy.
func tell(ctx context.Context, db *litestream.DB, out io.Writer) error {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	enc := json.NewEncoder(out)
	var last checkpoint.Line
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		status, err := db.SyncStatus(ctx)
		if err != nil || status.RemoteTXID == 0 {
			continue // silence is the word for it
		}
		l := checkpoint.Line{Copied: uint64(status.RemoteTXID), Behind: !status.InSync}
		if l.Behind && l == last {
			continue
		}
		if last = l; enc.Encode(l) != nil {
			return nil // nobody listens any more
		}
	}
}
