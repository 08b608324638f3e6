package child

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/benbjohnson/litestream"
	"github.com/benbjohnson/litestream/file"

	"github.com/firebreak-dev/firebreak/internal/store/custody"
)

// Bounds is the span of moments that a chain can be restored to. Both are zero
// if there is nothing in it. It opens no database.
func Bounds(ctx context.Context, chain string) (first, last time.Time, err error) {
	first, last, err = replica(chain, slog.New(slog.DiscardHandler)).TimeBounds(ctx)
	if err != nil {
		return first, last, fmt.Errorf("checkpoints in %s: %w", chain, err)
	}
	return first, last, nil
}

// Restore writes the database of a chain as it was at a moment, or as it was
// copied last if that is zero, to a new file, and checks all of it.
func Restore(ctx context.Context, chain string, at time.Time, to string, errs io.Writer) error {
	if err := custody.Take(custody.Modernc); err != nil {
		return err
	}
	opt := litestream.NewRestoreOptions()
	opt.OutputPath, opt.Timestamp, opt.IntegrityCheck = to, at, litestream.IntegrityCheckFull
	log := slog.New(slog.NewTextHandler(errs, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if err := replica(chain, log).Restore(ctx, opt); err != nil {
		return fmt.Errorf("restore %s: %w", chain, err)
	}
	return nil
}

func replica(chain string, log *slog.Logger) *litestream.Replica {
	client := file.NewReplicaClient(chain)
	client.SetLogger(log)
	return litestream.NewReplicaWithClient(nil, client)
}
