package simbench

import (
	"context"
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/bench/row"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/bench/stat"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica/replicatest"
	"github.com/firebreak-dev/firebreak/internal/store"
)

const (
	cellNodes = 256
	cellDelay = 60 * time.Millisecond // of a frame, from half of it to one and a half
	cellGap   = 5 * time.Millisecond  // between writes
)

// The floor is the link alone: the quantiles of its delay.
var (
	floorP50 = cellDelay.Seconds()
	floorP99 = (cellDelay / 2).Seconds() + 0.99*cellDelay.Seconds()
)

// cell measures how long after its commit a row is visible on the live nodes
// of a cell, beside what the links alone take.
func cell(ctx context.Context, b *bench.Bencher) error {
	nodes, writes := cellNodes, 400
	if !b.Full() {
		nodes, writes = 64, 200
		b.Note("64 nodes; 256 in a full run")
	}
	b.Note("simulated: a frame takes 30 to 90 ms, an apply 2 ms; the way over global to a router is not in it")
	for _, c := range []struct {
		loss float64
		dead int
	}{{0, 0}, {0.02, 0}, {0, nodes / 20}} {
		if err := cellWith(ctx, b, nodes, writes, c.loss, c.dead); err != nil {
			return fmt.Errorf("loss %v, %d crashed: %w", c.loss, c.dead, err)
		}
	}
	return nil
}

// flight is a row that is on its way in the simulation.
type flight struct {
	at   time.Duration
	left int
}

func cellWith(ctx context.Context, b *bench.Bencher, n, writes int, loss float64, dead int) error {
	w, err := machinesWorld(ctx, replicatest.Config{Seed: b.Seed(), Loss: loss, Delay: cellDelay}, n)
	if err != nil {
		return err
	}
	live := w.Nodes()[dead:]
	for _, x := range w.Nodes()[:dead] {
		x.Crash()
	}
	var took []float64
	waiting := map[record.Point]*flight{}
	for _, x := range live {
		x.Wrote = func(c record.Changeset) { waiting[c.Point()] = &flight{w.Now(), len(live) - 1} }
		x.Saw = func(e store.Entry) {
			for _, c := range e.Changes {
				f := waiting[c.Point]
				if e.Local != nil || f == nil {
					continue
				}
				took = append(took, (w.Now() - f.at).Seconds())
				if f.left--; f.left == 0 {
					delete(waiting, c.Point)
				}
			}
		}
	}
	m := row.NewMaker(b.Seed())
	for i := range writes {
		if err := ctx.Err(); err != nil {
			return err
		}
		// Every row is written once: none is overtaken by its successor.
		if err := put(live[m.Pick(len(live))], m.Row(row.Key{ID: i})); err != nil {
			return err
		}
		w.Run(cellGap)
	}
	last := w.Now()
	if !w.RunUntil(time.Minute, func() bool { return len(waiting) == 0 }) {
		return fmt.Errorf("%d rows are not everywhere after a minute", len(waiting))
	}
	if want := writes * (len(live) - 1); len(took) != want {
		return fmt.Errorf("%d deliveries, want %d", len(took), want)
	}
	name := fmt.Sprintf("%d nodes", n)
	switch {
	case loss > 0:
		name += fmt.Sprintf(", %.0f %% loss", 100*loss)
		b.Count(name+": from the last write until all have all", "ms", 1000*(w.Now()-last).Seconds(), result.AtMost(2000))
		return nil
	case dead > 0:
		name += fmt.Sprintf(", %d crashed", dead)
	}
	b.Count(name+": p50 beside that of the link", "×", stat.Quantile(took, 0.5)/floorP50, result.AtMost(1.15))
	b.Count(name+": p99 beside that of the link", "×", stat.Quantile(took, 0.99)/floorP99, result.AtMost(1.4))
	return nil
}
