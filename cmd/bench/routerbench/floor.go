package routerbench

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/firebreak-dev/firebreak/internal/bench"
)

// direct measures one question to one gateway over gRPC, without a router.
func direct(ctx context.Context, b *bench.Bencher) (err error) {
	dir, err := b.MemoryDir(1 << 20)
	if err != nil {
		return err
	}
	f, err := newFederation(ctx, dir, 1, 0, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b.Note("caller and server are one process")
	return b.Compare(ctx, bench.Pair{
		Subject: bench.Side{Name: "direct", Do: closed(f.askDirect)},
		Measures: []bench.Measure{
			{Name: "p50", Unit: "µs", Of: bench.Value("p50"), How: bench.Alone},
			{Name: "CPU per question", Unit: "µs", Of: bench.CPU, How: bench.Alone, Guard: bench.OnCPU},
		},
	})
}

// bareMap measures lookups in a map behind an atomic pointer, by text and by
// number.
func bareMap(ctx context.Context, b *bench.Bencher) error {
	names := make([]string, catalogApps)
	byName, byNumber := map[string]int{}, map[int]int{}
	for i := range names {
		names[i] = appName(i)
		byName[appName(i)], byNumber[i] = i, i
	}
	var text atomic.Pointer[map[string]int]
	var number atomic.Pointer[map[int]int]
	text.Store(&byName)
	number.Store(&byNumber)
	wrong := errors.New("a key is gone")
	side := func(look func(i int) (int, bool)) bench.Side {
		return bench.Side{Name: "map", Do: func(_ context.Context, ops int) (bench.Values, error) {
			for i := range ops {
				i *= 7919
				if v, ok := look(i % catalogApps); !ok || v != i%catalogApps {
					return nil, wrong
				}
			}
			return nil, nil
		}}
	}
	nanoseconds := []bench.Measure{{Name: "time per lookup", Unit: "ns", Of: func(x bench.Block) float64 { return 1000 * bench.Wall(x) }, How: bench.Alone}}
	b.Pairs(2)
	err := b.Compare(ctx, bench.Pair{Name: "by text", Measures: nanoseconds, Subject: side(func(i int) (int, bool) {
		v, ok := (*text.Load())[names[i]]
		return v, ok
	})})
	if err != nil {
		return err
	}
	return b.Compare(ctx, bench.Pair{Name: "by number", Measures: nanoseconds, Subject: side(func(i int) (int, bool) {
		v, ok := (*number.Load())[i]
		return v, ok
	})})
}
