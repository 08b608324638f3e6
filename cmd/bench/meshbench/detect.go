package meshbench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
)

const (
	killed     = 5                // nodes, one after the other
	starvedFor = 20 * time.Second // CPUs that others have
)

// detect measures how long it takes until all know that a node is silent, and
// how often a live one is taken for dead while the CPUs are short.
func detect(ctx context.Context, b *bench.Bencher) (err error) {
	n := 64
	if !b.Full() {
		n = 12
	}
	b.Note("%d nodes in one process; a killed node is one whose socket is cut in both directions; one-way loss is not in it", n)
	dir, err := b.MemoryDir(256 << 20)
	if err != nil {
		return err
	}
	r, err := newRegionWith(ctx, dir, n, b.Seed(), true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	m, err := newMembers(n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	if err := starve(ctx, starvedFor); err != nil {
		return err
	}
	ours, theirs := r.takenForDead(), m.left.Load()
	var longest time.Duration
	for i := range killed {
		took, err := r.silence(ctx, i)
		if err != nil {
			return err
		}
		b.Say("node %d: all know after %v", i, took.Round(time.Millisecond))
		longest = max(longest, took)
	}
	b.Count("until all know of a killed node, the longest of five", "s", longest.Seconds(), result.AtMost(6))
	b.Count("live nodes taken for dead by memberlist while CPUs are short", "", float64(theirs), result.Target{})
	b.Count("live nodes taken for dead while CPUs are short", "", float64(ours), result.AtMost(float64(theirs)/2))
	return nil
}

// starve keeps all CPUs busy with twice as many loops.
func starve(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	done := make(chan struct{})
	loops := 2 * runtime.GOMAXPROCS(0)
	for range loops {
		go func() {
			defer func() { done <- struct{}{} }()
			for ctx.Err() == nil {
			}
		}()
	}
	for range loops {
		<-done
	}
	if err := context.Cause(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

func (r *region) takenForDead() (count int) {
	for _, x := range r.nodes {
		x.mu.Lock()
		count += x.dead
		x.mu.Unlock()
	}
	return count
}

// silence cuts node i off and waits until no other is connected with it.
func (r *region) silence(ctx context.Context, i int) (time.Duration, error) {
	gone := r.nodes[i].db.Writer().Node
	begun := time.Now()
	r.nodes[i].wire.dead.Store(true)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		left := 0
		for j, x := range r.nodes {
			if j == i || x.wire.dead.Load() {
				continue
			}
			x.mu.Lock()
			if x.peers[gone] {
				left++
			}
			x.mu.Unlock()
		}
		if left == 0 {
			return time.Since(begun), nil
		}
		if err := backoff.Wait(ctx, 5*time.Millisecond); err != nil {
			return 0, fmt.Errorf("%d nodes do not know after a minute that node %d is silent: %w", left, i, err)
		}
	}
}
