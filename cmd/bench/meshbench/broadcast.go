package meshbench

import (
	"context"
	"errors"
	"time"

	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/machine"
)

// Broadcast is what memberlist's broadcast of rows has taken.
type Broadcast struct {
	P50, Last float64 // µs until a row is on a node, and p99 until it is on the last one
	Copies    float64 // messages that came per row and node
	Bytes     float64 // of them, per row and node
	CPU       float64 // µs per row and node, beyond what the nodes take at rest
	Rest      float64 // µs of CPU per node and second at rest
}

// MeasureBroadcast has n nodes of memberlist, all in this process, broadcast
// rows at a rate, after a rest. It counts the CPU of the whole process, in
// which nothing else should be at work.
func MeasureBroadcast(ctx context.Context, n int, rate float64, rows int, rest time.Duration) (out Broadcast, err error) {
	m, err := newMembers(n)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	idle, err := cpuOf(func() error { return bench.Pause(ctx, rest) })
	if err != nil {
		return out, err
	}
	begun := time.Now()
	busy, err := cpuOf(func() error {
		v, err := m.offer(ctx, rate, rows)
		out.P50, out.Last, out.Copies, out.Bytes = v["p50"], v["last p99"], v["copies"], v["bytes"]
		return err
	})
	out.Rest = idle / rest.Seconds() / float64(n)
	out.CPU = busy/float64(rows)/float64(n) - out.Rest*time.Since(begun).Seconds()/float64(rows)
	return out, err
}

// cpuOf is the CPU time in µs that this process takes while do runs.
func cpuOf(do func() error) (float64, error) {
	before, err := machine.Used()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := machine.Used()
	return float64((after.CPU - before.CPU).Microseconds()), err
}
