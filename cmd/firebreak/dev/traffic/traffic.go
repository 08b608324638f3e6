// Package traffic makes the life of a fleet: invented, by a seeded model, or
// replayed from a trace. It says what happens and when; a Sink carries it out.
package traffic

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/daemon"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Sink makes changes happen on one of the workers, by its number in the order
// of placement. It waits while the worker cannot take more.
type Sink interface {
	Offer(ctx context.Context, worker int, changes ...daemon.Change) error
}

// The shape of an invented fleet.
const (
	perWorker  = 25  // machines that a worker tends to run
	maxApps    = 100 // some of them brief
	shareBrief = 10  // one publish in so many is of a brief app
)

// steady are apps with many machines that are always there.
var steady = [...]fleet.App{"web", "api", "worker", "cache", "search", "mail", "queue", "db"}

// Apps lists every app that a Model ever uses.
func Apps() []fleet.App {
	out := append([]fleet.App(nil), steady[:]...)
	for i := range maxApps - len(steady) {
		out = append(out, brief(i))
	}
	return out
}

// brief apps have a machine or two, so that they come to regions and leave
// them.
func brief(i int) fleet.App { return fleet.App(fmt.Sprintf("job-%d", i)) }

// Model invents changes: publishes, updates, and ends. Same seed, same
// changes. Not safe for concurrent use.
type Model struct {
	rnd     *rand.Rand
	prefix  string
	made    int
	running [][]daemon.Change // of each worker: the publish of each machine
}

// NewModel makes a model for n workers. The ids of its machines begin with
// prefix, so that two runs over one directory do not share any.
func NewModel(seed uint64, n int, prefix string) *Model {
	return &Model{rnd: rand.New(rand.NewPCG(seed, 0x74726166666963)), prefix: prefix, running: make([][]daemon.Change, n)}
}

// Next returns the next change and its worker.
func (m *Model) Next() (worker int, c daemon.Change) {
	worker = m.rnd.IntN(len(m.running))
	live := m.running[worker]
	draw := m.rnd.IntN(2 * perWorker)
	switch {
	case len(live) == 0 || draw >= perWorker/2+len(live):
		return worker, m.publish(worker)
	case draw%3 == 0:
		return worker, live[m.rnd.IntN(len(live))] // an update: the same once more
	case draw%3 == 1 && len(live) < perWorker:
		return worker, m.publish(worker)
	}
	i := m.rnd.IntN(len(live))
	c = daemon.Change{ID: live[i].ID, Gone: true, Destroyed: m.rnd.IntN(8) == 0}
	live[i] = live[len(live)-1]
	m.running[worker] = live[:len(live)-1]
	return worker, c
}

func (m *Model) publish(worker int) daemon.Change {
	m.made++
	c := daemon.Change{ID: fleet.MachineID(fmt.Sprintf("%s-%d", m.prefix, m.made))}
	if m.rnd.IntN(shareBrief) == 0 {
		c.App = brief(m.rnd.IntN(maxApps - len(steady)))
	} else {
		c.App = steady[min(m.rnd.IntN(len(steady)), m.rnd.IntN(len(steady)))] // the first ones are large
	}
	m.running[worker] = append(m.running[worker], c)
	return c
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
