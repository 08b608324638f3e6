// Package backoff spaces retries: exponential steps with full jitter, so that
// many who failed at one moment do not come back at one moment. Every retry in
// the product waits through it, and it is the only place that sleeps for one.
//
// Source: Brooker, "Exponential Backoff And Jitter", AWS 2015 ("full jitter").
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Config says how far apart retries are.
type Config struct {
	Base time.Duration // upper bound of the first wait; zero means 100ms
	Max  time.Duration // upper bound of every wait; zero means 30s
}

// Backoff gives the waits between the attempts of one retry loop. Not safe for
// concurrent use.
type Backoff struct {
	cfg  Config
	step time.Duration // bound of the next wait
	rand *rand.Rand
}

// New returns a Backoff at its first step. Equal seeds give equal waits.
func New(cfg Config, seed uint64) *Backoff {
	if cfg.Base <= 0 {
		cfg.Base = 100 * time.Millisecond
	}
	if cfg.Max <= 0 {
		cfg.Max = 30 * time.Second
	}
	cfg.Base = min(cfg.Base, cfg.Max)
	return &Backoff{cfg: cfg, step: cfg.Base, rand: rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15))}
}

// Next returns how long to wait before the next attempt: anything from an
// eighth of the step up to it. The floor keeps an unlucky draw from being a
// hot loop.
func (b *Backoff) Next() time.Duration {
	floor := b.step / 8
	d := floor + time.Duration(b.rand.Int64N(int64(b.step-floor)+1))
	if b.step > b.cfg.Max/2 {
		b.step = b.cfg.Max
	} else {
		b.step *= 2
	}
	return d
}

// Reset goes back to the first step: call it after an attempt that held.
func (b *Backoff) Reset() { b.step = b.cfg.Base }

// Wait sleeps for d, or until ctx ends and then returns its error.
func Wait(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
