package traffic

import (
	"context"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/daemon"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/trace"
)

// Replay carries out a trace.
type Replay struct {
	Schedule trace.Schedule
	Until    trace.Time // where the trace's clock stops
	Speed    float64    // trace seconds per second
	Workers  int
	Progress func(now trace.Time, done int) // called now and then; required
}

// progressEvery is how often Progress is called.
const progressEvery = 5 * time.Second

// Initial offers the machines from before the trace.
func (r Replay) Initial(ctx context.Context, sink Sink) error {
	perWorker := make([][]daemon.Change, r.Workers)
	for _, i := range r.Schedule.Initial {
		w, c := r.change(trace.Event{Machine: i})
		perWorker[w] = append(perWorker[w], c)
	}
	return offer(ctx, sink, perWorker)
}

func (r Replay) change(e trace.Event) (worker int, c daemon.Change) {
	m := r.Schedule.Machines[e.Machine]
	return trace.Place(m.ID, r.Workers), daemon.Change{ID: m.ID, App: m.App, Gone: e.Gone}
}

func offer(ctx context.Context, sink Sink, perWorker [][]daemon.Change) error {
	for w, changes := range perWorker {
		if len(changes) == 0 {
			continue
		}
		if err := sink.Offer(ctx, w, changes...); err != nil {
			return err
		}
	}
	return nil
}

// Run offers the events in their time and returns once all are offered: from
// the last one on nothing changes up to Until. A sink that waits makes the
// replay late, never wrong: the order of each worker's events stays. It
// returns the trace time as of which everything was offered: Until, or where
// it was when ctx ended.
func (r Replay) Run(ctx context.Context, sink Sink) (trace.Time, error) {
	t := time.NewTicker(tick)
	defer t.Stop()
	start := time.Now()
	told := start
	for done := 0; ; {
		at := time.Now()
		now := r.clock(at.Sub(start))
		due := r.Schedule.Due(done, now)
		perWorker := make([][]daemon.Change, r.Workers)
		for _, e := range due {
			w, c := r.change(e)
			perWorker[w] = append(perWorker[w], c)
		}
		if err := offer(ctx, sink, perWorker); err != nil {
			return now, stopped(ctx, err)
		}
		done += len(due)
		if done == len(r.Schedule.Events) {
			r.Progress(r.Until, done)
			return r.Until, nil
		}
		if at.Sub(told) >= progressEvery {
			told = at
			r.Progress(now, done)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return now, nil
		}
	}
}

// clock returns the trace time after the replay has run for elapsed.
func (r Replay) clock(elapsed time.Duration) trace.Time {
	first := r.Schedule.Start()
	if ran := float64(elapsed) * r.Speed; ran < float64(r.Schedule.End()-first) {
		return first + trace.Time(ran)
	}
	return r.Schedule.End()
}
