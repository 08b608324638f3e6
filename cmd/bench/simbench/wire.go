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

// rootFrame is what a comparison at rest sends: a kind byte and 16 bytes.
const rootFrame = 17

// state is the place of the column in a row of machines.
const state = 3

func wireBytes(ctx context.Context, b *bench.Bencher) error {
	w, err := machinesWorld(ctx, replicatest.Config{Seed: b.Seed(), Delay: time.Millisecond}, 2)
	if err != nil {
		return err
	}
	p := &pusher{world: w, make: row.NewMaker(b.Seed())}
	flip := func(int) store.Row { return p.flip() }
	fresh := func(int) store.Row { return p.fresh() }
	mix := func(i int) store.Row {
		if i%5 == 0 {
			return p.fresh()
		}
		return p.flip()
	}
	for _, c := range []struct {
		name   string
		row    func(int) store.Row
		limits map[int]float64 // by rows per frame
	}{
		{"state flip", flip, map[int]float64{1: 90, 10: 40}},
		{"new row", fresh, map[int]float64{1: 120}},
		{"four flips to one new row", mix, nil},
	} {
		for _, perFrame := range []int{1, 10, 100} {
			if err := ctx.Err(); err != nil {
				return err
			}
			bytes, err := p.push(c.row, perFrame)
			if err != nil {
				return fmt.Errorf("%s, %d per frame: %w", c.name, perFrame, err)
			}
			var target result.Target
			if limit, ok := c.limits[perFrame]; ok {
				target = result.AtMost(limit)
			}
			b.Count(fmt.Sprintf("%s, %d per frame: bytes per row", c.name, perFrame), "B", bytes, target)
		}
	}
	return nil
}

// pusher has the first node of a world write.
type pusher struct {
	world *replicatest.World
	make  *row.Maker
	rows  []store.Row
	next  int // the next to flip
}

// fresh is a machine that was not there.
func (p *pusher) fresh() store.Row {
	r := store.Row(p.make.Row(row.Key{ID: len(p.rows)}))
	r[0] = record.Of(string(p.world.Nodes()[0].Name))
	p.rows = append(p.rows, r)
	return r
}

// fill makes sure that there are machines to flip.
func (p *pusher) fill() {
	for len(p.rows) < 2000 {
		n := p.world.Nodes()[0]
		if c := n.Write(func(tx store.Tx) error { return tx.Put(row.Table().Name, p.fresh()) }); c.Records != 1 {
			panic("a fresh row was no write") // a mistake in this bench
		}
	}
}

// flip is a machine that was there, in another state.
func (p *pusher) flip() store.Row {
	p.next = (p.next + 1) % len(p.rows)
	i := p.next
	next := append(store.Row{}, p.rows[i]...)
	if next[state].Data == "started" {
		next[state] = record.Of("stopping")
	} else {
		next[state] = record.Of("started")
	}
	p.rows[i] = next
	return next
}

// push writes frames of rows, each row a changeset of its own, and returns the
// bytes of a row.
func (p *pusher) push(next func(int) store.Row, perFrame int) (float64, error) {
	const frames = 100
	p.fill()
	n, w := p.world.Nodes()[0], p.world
	if !w.RunUntil(time.Minute, w.Equal) {
		return 0, errNotEqual
	}
	bytes, pushes, all := w.Bytes, w.Pushes, w.Frames
	written := 0
	for range frames {
		for i := range perFrame {
			r := next(written)
			written++
			put := func(tx store.Tx) error { return tx.Put(row.Table().Name, r) }
			if i < perFrame-1 { // commits; the feed is read at the last
				if c, err := n.Store.Update(context.Background(), put); err != nil || c.Records != 1 {
					return 0, errors.Join(err, fmt.Errorf("%d records of a row that changed", c.Records))
				}
				continue
			}
			if c := n.Write(put); c.Records != 1 {
				return 0, errors.New("a row that changed made no record")
			}
		}
		w.Run(10 * time.Millisecond)
	}
	sent := w.Pushes - pushes
	if sent != frames {
		return 0, fmt.Errorf("%d frames for %d groups of rows", sent, frames)
	}
	control := w.Frames - all - sent
	return float64(w.Bytes-bytes-control*rootFrame) / float64(written), nil
}
