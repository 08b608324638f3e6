package regionbench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/load"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/bench/stat"
)

// subscribed is a subscription over HTTP on each of some nodes.
type subscribed struct {
	*web

	mu    sync.Mutex // guards what follows
	due   map[int64]time.Time
	times [][]float64 // microseconds, by node
	news  chan struct{}
}

var updateRates = []int{20, 100}

// subscriptions measures when an update that one node took is an event on
// that node and on another of three.
func subscriptions(ctx context.Context, b *bench.Bencher) (err error) {
	b.Note("latency counts from when the update was due, its call included; clients and nodes share a process")
	b.Pairs(len(updateRates))
	dir, err := b.MemoryDir(256 << 20)
	if err != nil {
		return err
	}
	base, err := newWeb(ctx, dir, 3)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	s := &subscribed{web: base, due: map[int64]time.Time{}, times: make([][]float64, 2), news: make(chan struct{}, 1)}
	for node := range s.times {
		if err := s.follow(ctx, node); err != nil {
			return err
		}
	}
	for _, rate := range updateRates {
		err := b.Compare(ctx, bench.Pair{
			Name: fmt.Sprintf("%d updates/s", rate), Multiple: rate, Most: rate,
			Subject: bench.Side{Name: "subscriptions", Do: func(ctx context.Context, ops int) (bench.Values, error) { return s.block(ctx, ops, rate) }},
			Measures: []bench.Measure{
				{Name: "p50 to the event on the writer", Unit: "µs", Of: bench.Value("writer p50"), How: bench.Alone, Target: result.AtMost(3000)},
				{Name: "p50 to the event on another node", Unit: "µs", Of: bench.Value("other p50"), How: bench.Alone, Target: result.AtMost(10_000)},
				{Name: "p99 to the event on another node", Unit: "µs", Of: bench.Value("other p99"), How: bench.Alone},
			},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// follow opens a subscription and returns once it has told every row.
func (s *subscribed) follow(ctx context.Context, node int) error {
	stop, cancel := context.WithCancel(context.WithoutCancel(ctx))
	res, err := s.open(stop, node, "subscriptions", `["SELECT id, n FROM items WHERE app = ?", ["app0"]]`)
	if err != nil {
		cancel()
		return err
	}
	s.Until(func() error { cancel(); return res.Body.Close() })
	lines := bufio.NewReader(res.Body)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("subscription: %w", err)
		}
		if bytes.HasPrefix(line, []byte(`{"eoq"`)) {
			break
		}
	}
	go s.events(node, lines)
	return nil
}

// events notes when changes come, until the stream ends: an event that does
// not come fails the block.
func (s *subscribed) events(node int, lines *bufio.Reader) {
	for {
		line, err := lines.ReadBytes('\n')
		now := time.Now()
		if err != nil {
			return
		}
		n, err := changed(line)
		if err != nil {
			return
		}
		s.mu.Lock()
		if due, ok := s.due[n]; ok {
			s.times[node] = append(s.times[node], float64(now.Sub(due).Nanoseconds())/1e3)
		}
		s.mu.Unlock()
		select {
		case s.news <- struct{}{}:
		default:
		}
	}
}

// changed returns the number in a change's row.
func changed(line []byte) (int64, error) {
	var e struct{ Change []json.RawMessage }
	if err := json.Unmarshal(line, &e); err != nil || len(e.Change) != 4 {
		return 0, fmt.Errorf("no change: %s", line)
	}
	var cells []any
	if err := json.Unmarshal(e.Change[2], &cells); err != nil || len(cells) != 2 {
		return 0, fmt.Errorf("no row of two cells: %s", line)
	}
	n, ok := cells[1].(float64)
	if !ok {
		return 0, io.ErrUnexpectedEOF
	}
	return int64(n), nil
}

func (s *subscribed) block(ctx context.Context, ops, rate int) (bench.Values, error) {
	from := s.n
	s.n += ops
	r, err := load.Run(ctx, load.Config{Rate: float64(rate), Count: uint64(ops)}, func(ctx context.Context, i uint64, due time.Time) error {
		n := from + int(i)
		s.mu.Lock()
		s.due[int64(n)] = due
		s.mu.Unlock()
		return s.update(ctx, 0, n)
	})
	if err == nil {
		err = r.First
	}
	if err == nil {
		err = s.settle(ctx, ops)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	writer, other := s.times[0], s.times[1]
	s.times, s.due = make([][]float64, 2), map[int64]time.Time{}
	return bench.Values{
		"writer p50": stat.Quantile(writer, 0.5), "other p50": stat.Quantile(other, 0.5), "other p99": stat.Quantile(other, 0.99),
	}, err
}

// settle waits until every event has come.
func (s *subscribed) settle(ctx context.Context, ops int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		s.mu.Lock()
		writer, other := len(s.times[0]), len(s.times[1])
		s.mu.Unlock()
		if writer >= ops && other >= ops {
			return nil
		}
		select {
		case <-s.news:
		case <-ctx.Done():
			return fmt.Errorf("%d and %d events of %d updates came", writer, other, ops)
		}
	}
}
