package simbench

import (
	"context"
	"errors"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/bench/row"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica/replicatest"
)

// catchUp cuts a region in two halves, has each write, and heals it.
func catchUp(ctx context.Context, b *bench.Bencher) error {
	n, writers, updates := 64, 1000, 5000
	if !b.Full() {
		n, writers, updates = 16, 64, 500
	}
	b.Note("simulated: %d nodes with %d writers, 2 × %d updates while in two halves", n, writers, updates)
	w, err := machinesWorld(ctx, replicatest.Config{Seed: b.Seed(), Delay: 4 * time.Millisecond}, n)
	if err != nil {
		return err
	}
	m := row.NewMaker(b.Seed())
	if err := manyWriters(ctx, w, m, writers); err != nil {
		return err
	}
	half := n / 2
	cut(w, half, w.Cut)
	rows := 0 // bytes that have to get across
	for i, x := range w.Nodes() {
		across := n - half
		if i >= half {
			across = half
		}
		x.Wrote = func(c record.Changeset) { rows += across * len(record.AppendDelivery(nil, record.Pushed(c))) }
	}
	for i := range 2 * updates {
		if err := ctx.Err(); err != nil {
			return err
		}
		// Every row is written once, so that each counts.
		if err := put(w.Nodes()[i%n], m.Row(row.Key{ID: 10 + i/n})); err != nil {
			return err
		}
		w.Run(time.Millisecond)
	}
	w.Run(time.Minute)
	before := stats(w)
	healed := w.Now()
	w.Sent = map[string]replicatest.Traffic{}
	cut(w, half, w.Join)
	if !w.RunUntil(5*time.Minute, w.Equal) {
		return errNotEqual
	}
	took, after := w.Now()-healed, stats(w)
	payload, control := sent(w)
	if after.taken == before.taken {
		return errors.New("nothing was taken across the halves")
	}
	b.Count("control bytes of a node", "KB", float64(control)/float64(n)/1000, result.AtMost(100))
	b.Count("from healed to equal", "ms", 1000*took.Seconds(), result.AtMost(1500))
	b.Count("row bytes beside those that had to get across", "×", float64(payload)/float64(rows), result.AtMost(1.05))
	b.Count("copies of a changeset beside one", "×", float64(after.arrived-before.arrived)/float64(after.taken-before.taken), result.Target{})
	return nil
}

// sent is what has crossed links since w.Sent was emptied: the bytes of frames
// that carry rows, and of all others.
func sent(w *replicatest.World) (rows, control int) {
	for kind, t := range w.Sent {
		switch kind {
		case "push", "answer", "packed":
			rows += t.Bytes
		default:
			control += t.Bytes
		}
	}
	return rows, control
}

// cut does something to every link between the first nodes and the others.
func cut(w *replicatest.World, first int, do func(from, to *replicatest.Node)) {
	for i, a := range w.Nodes() {
		for j, c := range w.Nodes() {
			if (i < first) != (j < first) {
				do(a, c)
			}
		}
	}
}

// counts are those of all cores.
type counts struct{ arrived, taken uint64 }

func stats(w *replicatest.World) (out counts) {
	for _, x := range w.Nodes() {
		s := x.Core.Stats()
		out.arrived, out.taken = out.arrived+s.Arrived, out.taken+s.Taken
	}
	return out
}
