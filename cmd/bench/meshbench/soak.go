package meshbench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/bench/row"
	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/load"
	"github.com/firebreak-dev/firebreak/internal/bench/machine"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/bench/stat"
	"github.com/firebreak-dev/firebreak/internal/store"
)

const (
	soakNodes = 8
	soakRate  = 100 // rows per second, by nodes that are up
	soakRows  = 500 // of each node, so that the content does not grow
	samples   = 60  // of the heap
)

// soakTimes are how long a soak takes: mixed work, and a node that is away.
type soakTimes struct {
	mixed, outage, restarts time.Duration
}

// soak runs a region for long: rows are written all the time, nodes restart in
// turn, all clocks jump. Then one node is away for long.
func soak(ctx context.Context, b *bench.Bencher) (err error) {
	times := soakTimes{30 * time.Minute, 10 * time.Minute, 20 * time.Second}
	if !b.Full() {
		times = soakTimes{30 * time.Second, 10 * time.Second, 5 * time.Second}
	}
	b.Note("%d nodes in one process; %v of mixed work with a restart and a jump of the clocks by up to an hour every %v, then one node away for %v", soakNodes, times.mixed, times.restarts, times.outage)
	dir, err := b.MemoryDir(1 << 30)
	if err != nil {
		return err
	}
	r, err := newRegion(ctx, dir, soakNodes, b.Seed())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	s := &soaked{region: r, rand: rand.New(rand.NewPCG(b.Seed(), 26)), seed: b.Seed(), busy: -1}
	heap, err := s.mixed(ctx, b, times)
	if err != nil {
		return err
	}
	took, err := s.equal(ctx)
	if err != nil {
		return err
	}
	b.Count("until all roots are equal after the mixed work", "s", took.Seconds(), result.AtMost(10))
	slope, noise := stat.Slope(heap)
	b.Count("slope of the heap beside its own noise", "×", slope/max(noise, 1e-9), result.AtMost(2))
	b.Count("slope of the heap", "MB/h", slope*float64(len(heap))*float64(time.Hour/times.mixed), result.Target{})
	if err := s.away(ctx, times.outage); err != nil {
		return err
	}
	if took, err = s.equal(ctx); err != nil {
		return err
	}
	b.Count(fmt.Sprintf("until all roots are equal after a node was away for %v", times.outage), "s", took.Seconds(), result.AtMost(10))
	return nil
}

// soaked is a region in which one goroutine writes, and restarts what must.
type soaked struct {
	*region
	rand *rand.Rand
	seed uint64
	n    int
	busy int // the node that is down; negative for none
}

// mixed writes, restarts and turns the clocks, and gives the heap over time,
// in MB, without its beginning.
func (s *soaked) mixed(ctx context.Context, b *bench.Bencher, t soakTimes) ([]float64, error) {
	var heap []float64
	every := t.mixed / samples
	for begun, restart, told := time.Now(), time.Now(), 0; time.Since(begun) < t.mixed; told++ {
		if err := s.load(ctx, every); err != nil {
			return nil, err
		}
		if time.Since(restart) >= t.restarts {
			restart = time.Now()
			s.skew.Store(s.rand.Int64N(int64(2*time.Hour)) - int64(time.Hour))
			if err := s.restart(ctx, s.rand.IntN(soakNodes)); err != nil {
				return nil, err
			}
		}
		heap = append(heap, float64(machine.Held().Heap)/1e6)
		if told%10 == 0 {
			b.Say("%v of %v: heap %.1f MB", time.Since(begun).Round(time.Second), t.mixed, heap[len(heap)-1])
		}
	}
	return heap[len(heap)/4:], nil
}

// load has the nodes that are up write for a while.
func (s *soaked) load(ctx context.Context, d time.Duration) error {
	r, err := load.Run(ctx, load.Config{Rate: soakRate, Duration: d, Workers: 8}, func(ctx context.Context, i uint64, _ time.Time) error {
		at := int(i) % soakNodes
		if at == s.busy {
			return nil
		}
		x := s.nodes[at]
		s.mu.Lock()
		s.n++
		values := store.Row(x.make.Row(row.Key{Worker: at, ID: s.n % soakRows}))
		s.mu.Unlock()
		_, err := x.db.Update(ctx, func(tx store.Tx) error { return tx.Put(row.Table().Name, values) })
		return err
	})
	if err == nil {
		err = r.First
	}
	// Nobody waits for these rows: what was seen of them is not kept.
	s.mu.Lock()
	clear(s.early)
	s.mu.Unlock()
	return err
}

// restart stops a node and starts it on its files.
func (s *soaked) restart(ctx context.Context, i int) error {
	if err := s.nodes[i].stop(); err != nil {
		return fmt.Errorf("stop node %d: %w", i, err)
	}
	x, err := s.start(ctx, i, s.seed+uint64(s.n))
	if err != nil {
		return fmt.Errorf("start node %d again: %w", i, err)
	}
	s.nodes[i] = x
	return nil
}

// away has the others write while one node is down, and starts it.
func (s *soaked) away(ctx context.Context, d time.Duration) error {
	s.busy = soakNodes - 1
	defer func() { s.busy = -1 }()
	if err := s.nodes[s.busy].stop(); err != nil {
		return err
	}
	if err := s.load(ctx, d); err != nil {
		return err
	}
	return s.restart(ctx, s.busy)
}

// equal waits until all nodes have the same root, and says how long it took.
func (s *soaked) equal(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		same := true
		for _, x := range s.nodes {
			same = same && x.runner.Root() == s.nodes[0].runner.Root()
		}
		if same && s.met() == nil {
			return time.Since(begun), nil
		}
		if err := backoff.Wait(ctx, 20*time.Millisecond); err != nil {
			return 0, fmt.Errorf("roots are not equal after %v: %w", time.Since(begun).Round(time.Second), err)
		}
	}
}
