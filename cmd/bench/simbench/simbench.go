// Package simbench measures what replication sends, in the seeded simulator:
// payload copies per delivery (B03), the cost of comparing (B10), the bytes of
// a row on the wire (B12), and what push takes beside memberlist's broadcast. Equal seeds give equal figures.
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
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/replica/replicatest"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/region/table"
)

// Benches returns the package's.
func Benches() []bench.Bench {
	return []bench.Bench{
		{Name: "B03", Title: "sends-per-delivery", Set: bench.Quick, Quick: 6 * time.Second, Long: 20 * time.Second, Run: sends,
			About: "Simulated regions of 50, 128 and 256 nodes: at most 1.05 payload copies per delivery, 1.5 under 5 % loss, and control at most 10 % of the payload's bytes."},
		{Name: "B02", Title: "propagate-cell", Set: bench.Full, Long: 60 * time.Second, Run: cell,
			About: "A simulated region of 256 nodes over long links: p50 at most 1.15 × and p99 1.4 × what the links take, also with 5 % crashed; all delivered within 2 s at 2 % loss."},
		{Name: "B09", Title: "catch-up", Set: bench.Full, Run: catchUp,
			About: "A simulated region whose halves wrote apart: after healing at most 100 KB of control per node, 1.5 s, and 1.05 × the bytes of the changed rows."},
		{Name: "B10", Title: "sync", Set: bench.Quick, Quick: 16 * time.Second, Long: 90 * time.Second, Run: exchanges,
			About: "Simulated regions with 64 and 256 nodes, 64 and 1,000 writers: at rest at most 64 bytes per exchange, whatever the writers; under 1,000 rows a second no comparison of leaves."},
		{Name: "B11", Title: "sync-repair", Set: bench.Full, Long: 15 * time.Second, Run: repair,
			About: "A simulated node that missed rows of others, or has one that its disk flipped: at most 0.6 KB of control for one row, 1.2 for 1,000 of 4 writers, 60 for 1 % of 10,000, and 4 KB and 30 s for the flipped one."},
		{Name: "B12", Title: "wire-bytes", Set: bench.Quick, Quick: 8 * time.Second, Long: 8 * time.Second, Run: wireBytes,
			About: "Bytes per row of push frames, before QUIC: a state flip at most 90 alone and 40 at ten a frame, a new row at most 120."},
		{Name: "broadcast", Title: "rival: memberlist's broadcast", Set: bench.Full, Run: spreads,
			About: "Simulated regions of 50, 128 and 256 nodes: copies per delivery, bytes and time to the last node of push, and of memberlist's broadcast under the same links."},
		{Name: "version-vectors", Title: "rival: full version vectors", Set: bench.Full, Run: vectors,
			About: "The bytes of one exchange of everything that a node has received, with 1,000 writers, as designs without digests send it."},
	}
}

var errNotEqual = errors.New("the nodes are not equal in time")

// machinesWorld is a region of n nodes that store machines, met and at rest.
func machinesWorld(ctx context.Context, cfg replicatest.Config, n int) (*replicatest.World, error) {
	packing, err := replica.NewPacking(table.Dictionaries()...)
	if err != nil {
		return nil, err
	}
	cfg.Tables, cfg.Packing = []schema.Table{row.Table()}, packing
	w := replicatest.New(cfg)
	for i := range n {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		w.Add(record.Node(row.Worker(i))).Start()
	}
	w.Run(2 * time.Second)
	return w, nil
}

// put writes one machine of a node.
func put(n *replicatest.Node, r store.Row) error {
	r[0] = record.Of(string(n.Name))
	c := n.Write(func(tx store.Tx) error { return tx.Put(row.Table().Name, r) })
	if c.Records != 1 {
		return fmt.Errorf("%s: %d records of a row that changed", n.Name, c.Records)
	}
	return nil
}

func sends(ctx context.Context, b *bench.Bencher) error {
	counts := []int{50, 128}
	if b.Full() {
		counts = append(counts, 256)
	}
	for _, n := range counts {
		for _, loss := range []float64{0, 0.05} {
			if err := sendsOver(ctx, b, n, loss); err != nil {
				return fmt.Errorf("%d nodes, loss %v: %w", n, loss, err)
			}
		}
	}
	return nil
}

// sendsOver has random nodes write 200 rows a second in all.
func sendsOver(ctx context.Context, b *bench.Bencher, n int, loss float64) error {
	const writes, every = 300, 5 * time.Millisecond
	w, err := machinesWorld(ctx, replicatest.Config{Seed: b.Seed(), Loss: loss, Delay: 4 * time.Millisecond}, n)
	if err != nil {
		return err
	}
	w.Sent = map[string]replicatest.Traffic{}
	m := row.NewMaker(b.Seed())
	for range writes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := put(w.Nodes()[m.Pick(n)], m.Row(row.Key{ID: m.Pick(20)})); err != nil {
			return err
		}
		w.Run(every)
	}
	w.Run(time.Second)
	if !w.RunUntil(time.Minute, w.Equal) {
		return errNotEqual
	}
	var arrived, taken uint64
	for _, node := range w.Nodes() {
		s := node.Core.Stats()
		arrived, taken = arrived+s.Arrived, taken+s.Taken
	}
	// After a loss one delivery may account for several versions.
	if want := uint64(writes * (n - 1)); taken > want || loss == 0 && taken < want {
		return fmt.Errorf("%d deliveries, want %d", taken, want)
	}
	name, limit := fmt.Sprintf("%d nodes", n), 1.05
	if loss > 0 {
		name, limit = fmt.Sprintf("%d nodes, %.0f %% loss", n, 100*loss), 1.5
	}
	b.Count(name+": payload copies per delivery", "", float64(arrived)/float64(taken), result.AtMost(limit))
	if payload, control := sent(w); loss == 0 {
		b.Count(name+": control per payload", "%", 100*float64(control)/float64(payload), result.AtMost(10))
	}
	return nil
}

func exchanges(ctx context.Context, b *bench.Bencher) error {
	shapes := [][2]int{{64, 64}, {64, 1000}}
	if b.Full() {
		shapes = append(shapes, [2]int{256, 256}, [2]int{256, 1000})
	} else {
		b.Note("64 nodes; 256 in a full run")
	}
	var small, large float64 // bytes per exchange with fewest and most writers
	for i, s := range shapes {
		bytes, err := exchangesOver(ctx, b, s[0], s[1])
		if err != nil {
			return fmt.Errorf("%d nodes, %d writers: %w", s[0], s[1], err)
		}
		if i%2 == 0 {
			small = bytes
		} else {
			large = bytes
			b.Count(fmt.Sprintf("%d nodes: bytes more per exchange with %d writers than with %d", s[0], s[1], shapes[i-1][1]), "B", large-small, result.AtMost(0))
		}
	}
	return nil
}

// exchangesOver counts what is sent in a minute of rest, and which comparisons
// there are under load.
func exchangesOver(ctx context.Context, b *bench.Bencher, n, writers int) (perExchange float64, err error) {
	w, err := machinesWorld(ctx, replicatest.Config{Seed: b.Seed(), Delay: 4 * time.Millisecond}, n)
	if err != nil {
		return 0, err
	}
	m := row.NewMaker(b.Seed())
	if err := manyWriters(ctx, w, m, writers); err != nil {
		return 0, err
	}
	frames, bytes := w.Frames, w.Bytes
	w.Run(time.Minute)
	frames, bytes = w.Frames-frames, w.Bytes-bytes
	if frames == 0 {
		return 0, errors.New("nothing was compared in a minute")
	}
	perExchange = float64(bytes) / float64(frames)
	name := fmt.Sprintf("%d nodes, %d writers", n, writers)
	b.Count(name+": bytes per exchange at rest", "B", perExchange, result.AtMost(64))
	b.Count(name+": exchanges per node and second", "", float64(frames)/float64(n)/60, result.Target{})
	if !b.Full() && writers == n { // the load beside many writers is the harder one
		return perExchange, nil
	}
	w.Sent = map[string]replicatest.Traffic{}
	for range loadWrites {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := put(w.Nodes()[m.Pick(n)], m.Row(row.Key{ID: m.Pick(20)})); err != nil {
			return 0, err
		}
		w.Run(time.Millisecond)
	}
	b.Count(name+", 1,000 rows/s: comparisons of leaves", "", float64(w.Sent["leaves"].Frames), result.AtMost(0))
	b.Count(name+", 1,000 rows/s: roots sent meanwhile", "", float64(w.Sent["root"].Frames), result.Target{})
	return perExchange, nil
}

// loadWrites is how many rows are written, one each millisecond.
const loadWrites = 1000

// manyWriters starts nodes again until there were as many writers: every start
// is one. All have written, and all nodes are equal and at rest.
func manyWriters(ctx context.Context, w *replicatest.World, m *row.Maker, writers int) error {
	n := len(w.Nodes())
	for begun := 0; begun < writers; {
		if err := ctx.Err(); err != nil {
			return err
		}
		again := w.Nodes()[:min(n, writers-begun)]
		if begun > 0 {
			for _, node := range again {
				node.Stop()
			}
			w.Run(1100 * time.Millisecond) // a start takes a boot of its own second
			for _, node := range again {
				node.Start()
			}
		}
		for _, node := range again {
			if err := put(node, m.Row(row.Key{ID: 1})); err != nil {
				return err
			}
		}
		begun += len(again)
	}
	if !w.RunUntil(time.Minute, w.Equal) {
		return errNotEqual
	}
	w.Run(5 * time.Second)
	return nil
}

// vectors is what the same state costs if it is sent as a list.
func vectors(_ context.Context, b *bench.Bencher) error {
	var buf []byte
	for i := range 1000 {
		buf = record.AppendWriter(buf, record.Writer{Node: record.Node(row.Worker(i)), Boot: 1_764_000_000, Bits: uint64(i)})
		buf = record.AppendReceived(buf, record.Received{Head: record.Version(1000 + i)})
	}
	b.Count("1,000 writers: bytes per exchange", "B", float64(len(buf)), result.Target{})
	return nil
}
