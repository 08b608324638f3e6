package simbench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/bench/row"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica/replicatest"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// repair counts what it takes to mend one node of a region.
func repair(ctx context.Context, b *bench.Bencher) error {
	lost := 10_000
	if !b.Full() {
		lost = 2000
	}
	b.Note("simulated: 5 nodes, of which one has missed rows of the others; control is all frames but those with rows and the roots, which are sent at rest too; 1 %% of %d rows", lost)
	for _, c := range []struct {
		name          string
		rows, writers int
		one           int // of so many rows is missed
		limit         float64
	}{{"1 row", 1, 1, 1, 0.6}, {"1000 rows of 4 writers", 1000, 4, 1, 1.2}, {"1 % lost", lost, 1, 100, 60}} {
		if err := mend(ctx, b, c.name, missing{c.rows, c.writers, c.one}, c.limit); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if err := flipped(ctx, b); err != nil {
		return fmt.Errorf("a flipped row: %w", err)
	}
	return nil
}

// missing is what a node does not get: one in so many of some rows.
type missing struct {
	rows, writers, one int
}

// small is a region of five, at rest, each of which has written; the last node
// is the one that will need mending.
func small(ctx context.Context, seed uint64) (*replicatest.World, *row.Maker, error) {
	w, err := machinesWorld(ctx, replicatest.Config{Seed: seed, Delay: 4 * time.Millisecond}, 5)
	if err != nil {
		return nil, nil, err
	}
	m := row.NewMaker(seed)
	return w, m, manyWriters(ctx, w, m, 5)
}

func mend(ctx context.Context, b *bench.Bencher, name string, miss missing, limit float64) error {
	w, m, err := small(ctx, b.Seed())
	if err != nil {
		return err
	}
	last := len(w.Nodes()) - 1
	w.Sent = map[string]replicatest.Traffic{}
	for i := range miss.rows {
		if err := ctx.Err(); err != nil {
			return err
		}
		if i%miss.one == 0 {
			cut(w, last, w.Cut)
		}
		if err := put(w.Nodes()[i%miss.writers], m.Row(row.Key{ID: 10 + i/miss.writers})); err != nil {
			return err
		}
		if w.Run(time.Millisecond); miss.one > 1 && i%miss.one == 0 {
			cut(w, last, w.Join)
		}
	}
	if miss.one == 1 { // all of it was missed; what others said meanwhile is not of the repair
		w.Run(time.Second)
		w.Sent = map[string]replicatest.Traffic{}
		cut(w, last, w.Join)
	}
	from := w.Now()
	if !w.RunUntil(time.Minute, w.Equal) {
		return errNotEqual
	}
	b.Count(name+": control", "KB", control(w), result.AtMost(limit))
	b.Count(name+": until equal", "ms", 1000*(w.Now()-from).Seconds(), result.Target{})
	return nil
}

// control is the kilobytes of what is sent only because something differs.
func control(w *replicatest.World) float64 {
	_, bytes := sent(w)
	return float64(bytes-w.Sent["root"].Bytes) / 1000
}

// flipped gives the last node another row than its owner wrote, under the same
// version, as a disk does that turns bits before anybody sums them.
func flipped(ctx context.Context, b *bench.Bencher) error {
	w, m, err := small(ctx, b.Seed())
	if err != nil {
		return err
	}
	last := len(w.Nodes()) - 1
	owner, bad := w.Nodes()[0], w.Nodes()[last]
	cut(w, last, w.Cut)
	var wrote record.Changeset
	owner.Wrote = func(c record.Changeset) { wrote = c }
	if err := put(owner, m.Row(row.Key{ID: 10})); err != nil {
		return err
	}
	owner.Wrote = nil
	w.Run(time.Second)
	r := store.Row(m.Row(row.Key{ID: 10}))
	r[0] = record.Of(string(owner.Name))
	other, err := row.Table().Record(r, "")
	if err != nil {
		return err
	}
	d := record.Pushed(record.Changeset{Writer: wrote.Writer, Version: wrote.Version, Records: []record.Record{other}})
	if _, err := bad.Store.Apply(ctx, []record.Delivery{d}); err != nil {
		return err
	}
	if err := put(bad, m.Row(row.Key{ID: 11})); err != nil { // its core hears of both
		return err
	}
	cut(w, last, w.Join)
	from := w.Now()
	w.Sent = map[string]replicatest.Traffic{}
	if !w.RunUntil(10*time.Minute, w.Equal) {
		return errNotEqual
	}
	if bad.Core.Stats().Repaired == 0 {
		return errors.New("nothing was repaired: the row was not flipped")
	}
	b.Count("a flipped row: until repaired", "s", (w.Now() - from).Seconds(), result.AtMost(30))
	b.Count("a flipped row: control", "KB", control(w), result.AtMost(4))
	return nil
}
