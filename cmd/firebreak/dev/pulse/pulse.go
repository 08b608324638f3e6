// Package pulse measures how late this process itself gets to run. Who judges
// others by the clock needs to know: on a host that is busy with other things,
// a second of the clock may hold little time in which anybody could have acted.
//
// A beat is due every ten milliseconds. What it comes too late, beyond what
// timers are late anyway, is lost time. On an idle host none is lost.
package pulse

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	every    = 10 * time.Millisecond
	forgiven = 5 * time.Millisecond // that a timer may be late
	maxGaps  = 10_000               // remembered; the oldest are forgotten
)

// Pulse is the pulse of this process. The zero value is ready; Run keeps it
// going. Safe for concurrent use.
type Pulse struct {
	mu   sync.Mutex
	gaps []gap // in their order, apart from each other
	lost time.Duration
}

// gap is a time in which this process should have run and did not.
type gap struct{ from, to time.Time }

// Run beats until ctx ends.
func (p *Pulse) Run(ctx context.Context) error {
	t := time.NewTimer(every)
	defer t.Stop()
	for {
		due := time.Now().Add(every + forgiven)
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		if now := time.Now(); now.After(due) {
			p.note(gap{due, now})
		}
		t.Reset(every)
	}
}

func (p *Pulse) note(g gap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.gaps) == maxGaps {
		p.gaps = slices.Delete(p.gaps, 0, maxGaps/2)
	}
	p.gaps = append(p.gaps, g)
	p.lost += g.to.Sub(g.from)
}

// Lost returns how much was lost between two moments.
func (p *Pulse) Lost(from, to time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	lost := time.Duration(0)
	for _, g := range slices.Backward(p.gaps) {
		if !g.to.After(from) {
			break
		}
		a, b := g.from, g.to
		if a.Before(from) {
			a = from
		}
		if b.After(to) {
			b = to
		}
		lost += max(0, b.Sub(a))
	}
	return lost
}

// Total returns how much was lost so far.
func (p *Pulse) Total() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}
