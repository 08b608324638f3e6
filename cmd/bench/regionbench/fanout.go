package regionbench

import (
	"context"
	"errors"
	"fmt"

	"github.com/firebreak-dev/firebreak/cmd/bench/row"
	"github.com/firebreak-dev/firebreak/cmd/bench/world"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/identity"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region/table"
)

const (
	fewKeys  = 10 // the keys that change, on both nodes
	manyKeys = 10_000
	keyApp   = "keyed"
)

// watchFanout compares what a change costs on a node with many watches by key
// with what it costs on one with few.
func watchFanout(ctx context.Context, b *bench.Bencher) (err error) {
	many := manyKeys
	if !b.Full() {
		many = 1000
	}
	b.Note("the same %d rows change on both nodes; beside %d watches one client of the app never reads", fewKeys, many)
	var sides [2]*watched
	for i, keys := range []int{many, fewKeys} {
		dir, err := b.MemoryDir(64 << 20)
		if err != nil {
			return err
		}
		w, err := newWatched(ctx, dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.Close()) }()
		if err := w.openKeys(ctx, keys); err != nil {
			return fmt.Errorf("%d watches: %w", keys, err)
		}
		if keys == many {
			if err := w.stall(ctx); err != nil {
				return fmt.Errorf("client that never reads: %w", err)
			}
		}
		sides[i] = w
	}
	return b.Compare(ctx, bench.Pair{
		Multiple: watchedRate, Most: watchedRate,
		Subject:  bench.Side{Name: fmt.Sprint(many, " watches"), Do: sides[0].block},
		Baseline: bench.Side{Name: fmt.Sprint(fewKeys, " watches"), Do: sides[1].block},
		Measures: []bench.Measure{
			{Name: fmt.Sprintf("CPU per change, %d watches to %d", many, fewKeys), Unit: "µs", Of: bench.CPU, How: bench.Ratio, Guard: bench.OnCPU, Target: result.AtMost(2)},
			{Name: "p99 from write to event beside a client that never reads", Unit: "µs", Of: bench.Value("p99"), How: bench.Alone, Target: result.AtMost(20_000)},
		},
	})
}

func keyID(i int) string { return fmt.Sprintf("m%d", i) }

// openKeys opens one stream with a watch of each key.
func (w *watched) openKeys(ctx context.Context, keys int) error {
	stream, err := w.stream(ctx)
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() { sent <- sendKeys(stream, keys) }()
	for synced := 0; synced < keys; {
		ev, err := stream.Recv()
		if err != nil {
			return err
		}
		if ev.GetSynced() != nil {
			synced++
		}
	}
	w.keyed = true
	go w.follow(stream)
	return <-sent
}

func sendKeys(stream regionv1.RegionService_WatchClient, keys int) error {
	if err := stream.Send(&regionv1.WatchRequest{Part: &regionv1.WatchRequest_Hello{Hello: &regionv1.WatchHello{Client: "keys"}}}); err != nil {
		return err
	}
	text := func(s string) *clusterv1.Value { return &clusterv1.Value{Kind: &clusterv1.Value_Text{Text: []byte(s)}} }
	for i := range keys {
		key := &regionv1.WatchKey{Table: table.Machines, Key: []*clusterv1.Value{text(row.Worker(1)), text(keyID(i) + "-" + keyApp)}}
		in := &regionv1.WatchInterest{Id: uint64(i + 1), What: &regionv1.WatchInterest_Key{Key: key}}
		if err := stream.Send(&regionv1.WatchRequest{Part: &regionv1.WatchRequest_Add{Add: in}}); err != nil {
			return err
		}
	}
	return nil
}

// stall opens a watch of the app that nobody reads.
func (w *watched) stall(ctx context.Context) error {
	stream, err := w.stream(ctx)
	if err != nil {
		return err
	}
	return errors.Join(
		stream.Send(&regionv1.WatchRequest{Part: &regionv1.WatchRequest_Hello{Hello: &regionv1.WatchHello{Client: "stalled"}}}),
		stream.Send(&regionv1.WatchRequest{Part: &regionv1.WatchRequest_Add{Add: &regionv1.WatchInterest{Id: 1, What: &regionv1.WatchInterest_App{App: keyApp}}}}))
}

// stream opens a watch on a connection of its own.
func (w *watched) stream(ctx context.Context) (regionv1.RegionService_WatchClient, error) {
	conn, err := w.Dial(w.addr, identity.ID{Role: identity.Client, Name: "edge"}, identity.InRegion(world.Fleet, "iad", identity.Node))
	if err != nil {
		return nil, err
	}
	stop, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w.Until(func() error { cancel(); return nil })
	return regionv1.NewRegionServiceClient(conn).Watch(stop)
}
