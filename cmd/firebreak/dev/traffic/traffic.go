// Package traffic makes the life of a fleet: invented, by a seeded model, or
// replayed from a trace. It says what happens and when; a Sink carries it out.
package traffic

import (
	"context"
	"errors"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/daemon"
)

// Sink makes changes happen on one of the workers, by its number in the order
// of placement. It waits while the worker cannot take more.
type Sink interface {
	Offer(ctx context.Context, worker int, changes ...daemon.Change) error
}

// tick is how often due changes are handed over.
const tick = 20 * time.Millisecond

// Invent carries out a model's changes, rate of them per second, until ctx
// ends. A sink that is slow makes it slower.
func Invent(ctx context.Context, m *Model, rate float64, sink Sink) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	start, done := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		due := int(time.Since(start).Seconds() * rate)
		if limit := done + max(1, int(rate)); due > limit { // after a pause, no flood
			start = start.Add(time.Duration(float64(due-limit) / rate * float64(time.Second)))
			due = limit
		}
		for ; done < due; done++ {
			worker, c := m.Next()
			if err := sink.Offer(ctx, worker, c); err != nil {
				return stopped(ctx, err)
			}
		}
	}
}

func stopped(ctx context.Context, err error) error {
	if errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}
