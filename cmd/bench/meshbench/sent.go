package meshbench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/replica"
)

// traffic counts the frames of all nodes where they enter streams.
type traffic struct {
	rows, rowBytes atomic.Int64 // deliveries, and the bytes of frames that carry some
	syncs, bytes   atomic.Int64 // frames of the class sync that carry none, and their bytes
	leaves         atomic.Int64 // comparisons of leaves
}

func (t *traffic) add(f mesh.Flow, frame []byte, p *replica.Packing) {
	if n := p.Deliveries(frame); n > 0 {
		t.rows.Add(int64(n))
		t.rowBytes.Add(int64(len(frame)))
		return
	}
	if f.Class != mesh.Sync {
		return
	}
	t.syncs.Add(1)
	t.bytes.Add(int64(len(frame)))
	if replica.KindOf(frame) == "leaves" {
		t.leaves.Add(1)
	}
}

// counted runs a block and adds what it sent for each row of it to its values:
// deliveries per node that the row comes to, and bytes.
func (r *region) counted(ctx context.Context, ops int) (bench.Values, error) {
	rows, bytes := r.sent.rows.Load(), r.sent.rowBytes.Load()
	v, err := r.block(ctx, ops)
	if err != nil {
		return nil, err
	}
	landings := float64(ops * (len(r.nodes) - 1))
	v["copies"] = float64(r.sent.rows.Load()-rows) / landings
	v["bytes"] = float64(r.sent.rowBytes.Load()-bytes) / landings
	return v, nil
}

const (
	restNodes = 32
	restFor   = 10 * time.Second
)

// atRest counts what nodes that have the same send each other, over sockets.
func atRest(ctx context.Context, b *bench.Bencher) (err error) {
	dir, err := b.MemoryDir(64 << 20)
	if err != nil {
		return err
	}
	r, err := newRegion(ctx, dir, restNodes, b.Seed())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if _, err := r.block(ctx, block); err != nil {
		return err
	}
	if err := bench.Pause(ctx, 5*time.Second); err != nil {
		return err
	}
	syncs, bytes := r.sent.syncs.Load(), r.sent.bytes.Load()
	if err := bench.Pause(ctx, restFor); err != nil {
		return err
	}
	syncs, bytes = r.sent.syncs.Load()-syncs, r.sent.bytes.Load()-bytes
	if syncs == 0 {
		return fmt.Errorf("nothing was compared in %v", restFor)
	}
	name := fmt.Sprintf("%d nodes over sockets: ", restNodes)
	b.Count(name+"bytes per exchange at rest", "B", float64(bytes)/float64(syncs), result.AtMost(64))
	b.Count(name+"exchanges per node and second", "", float64(syncs)/restNodes/restFor.Seconds(), result.Target{})
	leaves := r.sent.leaves.Load()
	if _, err := r.block(ctx, 5*block); err != nil {
		return err
	}
	b.Count(fmt.Sprintf("%s%d rows/s for 5 s: comparisons of leaves", name, rate), "", float64(r.sent.leaves.Load()-leaves), result.Target{})
	return nil
}
