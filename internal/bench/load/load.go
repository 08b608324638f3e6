// Package load offers operations at a fixed rate, whether or not the former
// ones have ended, as users do. Latency counts from the moment when an
// operation was meant to begin: one that had to wait for its turn was slow,
// whoever kept it waiting.
package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Config of a load.
type Config struct {
	Rate     float64       // operations per second; required
	Duration time.Duration // of arrivals; zero means until the context ends
	Count    uint64        // operations, however late; zero means as many as are due
	Workers  int           // operations at once; zero means 64. Beyond it they wait, and are late
	// Each tells of every operation when it has ended, from one goroutine at a
	// time; may be nil.
	Each func(latency time.Duration, err error)
}

// Report is what became of a load.
type Report struct {
	Latency Histogram // of operations that succeeded
	Sent    uint64    // begun
	Failed  uint64
	Unsent  uint64 // were due and not begun before the end
	First   error  // of those that failed
	Took    time.Duration
}

// Run offers do until the duration is over or ctx ends, and waits for what has
// begun. Do gets the number of the operation, from 0, and when it was meant to
// begin. Run itself fails only for a bad Config.
func Run(ctx context.Context, cfg Config, do func(ctx context.Context, i uint64, due time.Time) error) (*Report, error) {
	if cfg.Rate <= 0 || cfg.Rate > 1e7 {
		return nil, fmt.Errorf("load: rate %v is not in 0..10,000,000 per second", cfg.Rate)
	}
	if cfg.Workers == 0 {
		cfg.Workers = 64
	}
	if cfg.Workers < 0 || cfg.Duration < 0 {
		return nil, errors.New("load: workers or duration below zero")
	}
	start := time.Now()
	turns := make(chan turn) // unbuffered: what has no worker is late, and counted so
	var mu sync.Mutex        // guards out
	out := &Report{}
	var workers sync.WaitGroup
	for range cfg.Workers {
		workers.Go(func() {
			for t := range turns {
				err := do(ctx, t.i, t.due)
				took := time.Since(t.due)
				mu.Lock()
				out.add(took, err, cfg.Each)
				mu.Unlock()
			}
		})
	}
	sent, unsent := offer(ctx, cfg, start, turns)
	close(turns)
	workers.Wait()
	out.Sent, out.Unsent, out.Took = sent, unsent, time.Since(start)
	return out, nil
}

type turn struct {
	i   uint64
	due time.Time
}

func (r *Report) add(took time.Duration, err error, each func(time.Duration, error)) {
	if err != nil {
		r.Failed++
		if r.First == nil {
			r.First = err
		}
	} else {
		r.Latency.Add(took)
	}
	if each != nil {
		each(took, err)
	}
}

// grace is how late the last turns may begin: this process may have been kept
// from running. Their latency counts from when they were due all the same.
const grace = 250 * time.Millisecond

// offer hands out the turns when they are due.
func offer(ctx context.Context, cfg Config, start time.Time, turns chan<- turn) (sent, unsent uint64) {
	wait := newWaiter()
	defer wait.close()
	end := ctx.Done()
	var over <-chan time.Time
	if cfg.Duration > 0 {
		t := time.NewTimer(cfg.Duration + grace)
		defer t.Stop()
		over = t.C
	}
	for i := uint64(0); ; i++ {
		at := time.Duration(float64(i) / cfg.Rate * float64(time.Second))
		if cfg.Duration > 0 && at >= cfg.Duration || cfg.Count > 0 && i >= cfg.Count {
			return i, 0
		}
		due := start.Add(at)
		if !wait.until(due, end) {
			return i, 0
		}
		select {
		case turns <- turn{i, due}:
		case <-end:
			return i, missed(cfg, start, i)
		case <-over:
			return i, missed(cfg, start, i)
		}
	}
}

// exact is how long before a turn the alarm takes over from Go's timer.
const exact = 2 * time.Millisecond

// waiter waits for turns.
type waiter struct {
	timer *time.Timer
	alarm *alarm
}

func newWaiter() *waiter { return &waiter{time.NewTimer(0), newAlarm()} }

func (w *waiter) close() {
	w.timer.Stop()
	w.alarm.close()
}

// until waits until due, or reports false if the end comes before.
func (w *waiter) until(due time.Time, end <-chan struct{}) bool {
	if d := time.Until(due) - exact; d > 0 && !w.sleep(d, end) {
		return false
	}
	if d := time.Until(due); d > 0 {
		_ = w.alarm.sleep(d) // one that fails leaves the rest to the timer
	}
	d := time.Until(due)
	return d <= 0 || w.sleep(d, end)
}

func (w *waiter) sleep(d time.Duration, end <-chan struct{}) bool {
	w.timer.Reset(d)
	select {
	case <-w.timer.C:
		return true
	case <-end:
		return false
	}
}

// missed is how many were due by now and not begun.
func missed(cfg Config, start time.Time, begun uint64) uint64 {
	gone := time.Since(start)
	if cfg.Duration > 0 {
		gone = min(gone, cfg.Duration)
	}
	due := uint64(gone.Seconds() * cfg.Rate)
	return max(due, begun) - begun
}
