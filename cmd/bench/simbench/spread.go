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
	spreadWrites = 100
	spreadEvery  = 100 * time.Millisecond // between two writes: more than memberlist's broadcast takes at 64 nodes
	spreadDelay  = 4 * time.Millisecond   // of a frame or packet, from half of it to one and a half
)

// Spread is what it takes to have an update on every node.
type Spread struct {
	Copies   float64 // of its payload, per node that it comes to
	Bytes    float64 // sent in all, per update
	P50, P99 time.Duration
	size     int // of an update alone in its frame
}

// Spreads measures push and memberlist's broadcast in a simulated region of n
// nodes, under the same links and writes.
func Spreads(ctx context.Context, n int, seed uint64) (push, broadcast Spread, err error) {
	if push, err = pushed(ctx, n, seed); err != nil {
		return push, broadcast, fmt.Errorf("push, %d nodes: %w", n, err)
	}
	if broadcast, err = gossiped(ctx, n, push.size, seed); err != nil {
		return push, broadcast, fmt.Errorf("memberlist's broadcast, %d nodes: %w", n, err)
	}
	return push, broadcast, nil
}

// spreads compares both.
func spreads(ctx context.Context, b *bench.Bencher) error {
	b.Note("simulated: a frame takes 2 to 6 ms, 10 updates a second; memberlist is its own queue of broadcasts with its defaults for a LAN, and the loops around it")
	for _, n := range SpreadNodes {
		push, broadcast, err := Spreads(ctx, n, b.Seed())
		if err != nil {
			return err
		}
		for _, x := range []struct {
			name string
			s    Spread
		}{{"push", push}, {"memberlist", broadcast}} {
			name := fmt.Sprintf("%d nodes, %s: ", n, x.name)
			b.Count(name+"payload copies per delivery", "", x.s.Copies, result.Target{})
			b.Count(name+"bytes per update and node", "B", x.s.Bytes/float64(n), result.Target{})
			b.Count(name+"p50 until the last node has it", "ms", 1000*x.s.P50.Seconds(), result.Target{})
			b.Count(name+"p99 until the last node has it", "ms", 1000*x.s.P99.Seconds(), result.Target{})
		}
	}
	return nil
}

// SpreadNodes are the sizes of region that are compared.
var SpreadNodes = [...]int{50, 128, 256}

func pushed(ctx context.Context, n int, seed uint64) (Spread, error) {
	w, err := machinesWorld(ctx, replicatest.Config{Seed: seed, Delay: spreadDelay}, n)
	if err != nil {
		return Spread{}, err
	}
	waiting := map[record.Point]*flight{}
	var last []float64
	for _, x := range w.Nodes() {
		x.Wrote = func(c record.Changeset) { waiting[c.Point()] = &flight{w.Now(), n - 1} }
		x.Saw = func(e store.Entry) {
			f := waiting[e.Point]
			if e.Local != nil || f == nil {
				return
			}
			if f.left--; f.left == 0 {
				last = append(last, (w.Now() - f.at).Seconds())
				delete(waiting, e.Point)
			}
		}
	}
	m := row.NewMaker(seed)
	for i := range spreadWrites {
		if err := ctx.Err(); err != nil {
			return Spread{}, err
		}
		if err := put(w.Nodes()[m.Pick(n)], m.Row(row.Key{ID: i})); err != nil {
			return Spread{}, err
		}
		w.Run(spreadEvery)
	}
	if !w.RunUntil(time.Minute, func() bool { return len(waiting) == 0 }) {
		return Spread{}, fmt.Errorf("%d rows are not everywhere after a minute", len(waiting))
	}
	all := stats(w)
	bytes := w.Sent["push"].Bytes + w.Sent["packed"].Bytes + w.Sent["answer"].Bytes
	return Spread{
		Copies: float64(all.arrived) / float64(all.taken), Bytes: float64(bytes) / spreadWrites,
		P50: seconds(stat.Quantile(last, 0.5)), P99: seconds(stat.Quantile(last, 0.99)), size: bytes / (spreadWrites * (n - 1)),
	}, nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
