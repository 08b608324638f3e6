package storebench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/internal/bench/load"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// updates changes rows at the rate until ctx ends.
func (c *changing) updates(ctx context.Context) error {
	r, err := load.Run(ctx, load.Config{Rate: changeRate}, func(_ context.Context, _ uint64, due time.Time) error {
		c.mu.Lock()
		c.n++
		n := c.n
		c.mu.Unlock()
		// Its own context: one that has begun ends, whatever ends the load.
		out, err := c.exec(context.WithoutCancel(ctx), "UPDATE t SET d = ? WHERE id = ?", record.Of(n), record.Of(1+n*7919%c.rows))
		if err == nil && out.Records != 1 {
			err = fmt.Errorf("%d records of a row that changed", out.Records)
		}
		now := time.Now()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.commits = append(c.commits, stretch{due, now})
		return err
	})
	if err == nil {
		err = r.First
	}
	return err
}

// follow counts the records of the user's tables that peers are sent, until
// the returned function is called.
func (c *changing) follow(ctx context.Context) (stop func() error, err error) {
	snap, err := c.db.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	feed, err := c.db.Feed(snap.Position())
	if err = errors.Join(err, snap.Close()); err != nil {
		return nil, err
	}
	return func() error {
		ended, cancel := context.WithCancel(ctx)
		cancel() // a feed asked with it does not wait
		for {
			entries, err := feed.Next(ended)
			if errors.Is(err, context.Canceled) && ctx.Err() == nil {
				return feed.Close()
			}
			if err != nil {
				return errors.Join(err, feed.Close())
			}
			c.count(entries)
		}
	}, nil
}

func (c *changing) count(entries []store.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range entries {
		if e.Local == nil {
			continue
		}
		for _, r := range e.Local.Records {
			for _, t := range c.db.Tables() {
				if t.ID == r.Table && t.Name == "t" {
					c.records++
				}
			}
		}
	}
}

// pauses are the steps of a schema that a store logs.
type pauses struct {
	some chan struct{} // has one if there are any

	mu    sync.Mutex // guards spans
	spans []stretch
}

func newPauses() *pauses { return &pauses{some: make(chan struct{}, 1)} }

// take returns the steps since the last take.
func (p *pauses) take() []stretch {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.some:
	default:
	}
	out := p.spans
	p.spans = nil
	return out
}

// Enabled is part of slog.Handler, as are the next three.
func (p *pauses) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs adds nothing: only the message and its own attributes count.
func (p *pauses) WithAttrs([]slog.Attr) slog.Handler { return p }

// WithGroup makes none.
func (p *pauses) WithGroup(string) slog.Handler { return p }

// Handle notes a step of the schema.
func (p *pauses) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "schema changed" {
		return nil
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "took" {
			p.mu.Lock()
			p.spans = append(p.spans, stretch{r.Time.Add(-a.Value.Duration()), r.Time})
			p.mu.Unlock()
		}
		return true
	})
	select {
	case p.some <- struct{}{}:
	default:
	}
	return nil
}
