package meshbench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/internal/bench"
)

// udpNodes is the largest region of B01.
const udpNodes = 64

// fanout measures a flat fan-out of datagrams: what no protocol can beat.
func fanout(ctx context.Context, b *bench.Bencher) (err error) {
	from, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	var sinks []*net.UDPConn
	defer func() {
		for _, s := range sinks {
			err = errors.Join(err, s.Close())
		}
	}()
	for range udpNodes {
		s, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		sinks = append(sinks, s)
	}
	do := func(ctx context.Context, ops int) (bench.Values, error) { return flat(ctx, from, sinks, ops) }
	return b.Compare(ctx, bench.Pair{
		Name: fmt.Sprintf("%d nodes", udpNodes), Multiple: 100, Most: 1000, Subject: bench.Side{Name: "UDP", Do: do},
		Measures: []bench.Measure{
			{Name: "p50 until a node has it", Unit: "µs", Of: bench.Value("p50"), How: bench.Alone},
			{Name: "p99 until the last node has it", Unit: "µs", Of: bench.Value("last p99"), How: bench.Alone},
		},
	})
}

// flat sends one row after the other to all sinks, and waits for each.
func flat(ctx context.Context, from *net.UDPConn, sinks []*net.UDPConn, ops int) (bench.Values, error) {
	came := make(chan time.Time, len(sinks))
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range sinks {
		if err := s.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			return nil, err
		}
		g.Go(func() error {
			buf := make([]byte, rowBytes)
			for range ops {
				if _, _, err := s.ReadFromUDP(buf); err != nil {
					return fmt.Errorf("receive: %w", err)
				}
				came <- time.Now()
			}
			return nil
		})
	}
	var landed []landing
	g.Go(func() error {
		b := make([]byte, rowBytes)
		for range ops {
			start := time.Now()
			for _, s := range sinks {
				if _, err := from.WriteTo(b, s.LocalAddr()); err != nil {
					return fmt.Errorf("send: %w", err)
				}
			}
			var last time.Duration
			for range sinks {
				select {
				case at := <-came:
					landed = append(landed, landing{took: at.Sub(start)})
					last = max(last, at.Sub(start))
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			landed = append(landed, landing{took: last, last: true})
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return values(landed, ops, len(sinks)+1)
}
