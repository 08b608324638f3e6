package bench

import (
	"context"
	"time"

	"github.com/firebreak-dev/firebreak/internal/bench/machine"
)

// Values are what a side measured in one block by itself, as a latency or the
// bytes on a wire.
type Values map[string]float64

// Side is one of two things compared, or the only one measured.
type Side struct {
	Name string
	// Prepare makes the input of a block of ops operations, fresh values every
	// time; it is not measured. Nil prepares nothing.
	Prepare func(ops int) error
	// Do does the operations. An operation without effect is an error: it
	// would look fast.
	Do func(ctx context.Context, ops int) (Values, error)
}

// Block is what one block cost.
type Block struct {
	Ops     int
	Wall    time.Duration
	CPU     time.Duration
	Mallocs uint64
	Bytes   uint64 // allocated
	Written uint64 // by write calls
	Values  Values
	Beside  machine.Spin // the slower of the calibrations before and after
}

// The costs of a block per operation; times in microseconds.
func (b Block) perOp(v float64) float64 { return v / float64(b.Ops) }

// CPU is microseconds of CPU time per operation, of all threads.
func CPU(b Block) float64 { return b.perOp(float64(b.CPU.Nanoseconds()) / 1e3) }

// Wall is microseconds per operation.
func Wall(b Block) float64 { return b.perOp(float64(b.Wall.Nanoseconds()) / 1e3) }

// Rate is operations per second.
func Rate(b Block) float64 { return float64(b.Ops) / b.Wall.Seconds() }

// Mallocs is allocations per operation.
func Mallocs(b Block) float64 { return b.perOp(float64(b.Mallocs)) }

// Allocated is bytes allocated per operation.
func Allocated(b Block) float64 { return b.perOp(float64(b.Bytes)) }

// Written is bytes per operation that went into write calls: log and database.
func Written(b Block) float64 { return b.perOp(float64(b.Written)) }

// Value is what the side measured under a name.
func Value(name string) func(Block) float64 {
	return func(b Block) float64 { return b.Values[name] }
}

// meter measures blocks; tests have one of their own.
type meter interface {
	// calibrate runs the loop once.
	calibrate() machine.Spin
	// measure runs do and says what it cost.
	measure(do func() error) (Block, error)
	// now is the time that budgets are of.
	now() time.Time
}

// process measures this process.
type process struct {
	loop *machine.Calibration
}

func newProcess() *process { return &process{machine.NewCalibration()} }

func (p *process) calibrate() machine.Spin { return p.loop.Loop() }

func (p *process) now() time.Time { return time.Now() }

func (p *process) measure(do func() error) (Block, error) {
	before, err := machine.Used()
	if err != nil {
		return Block{}, err
	}
	start := time.Now()
	err = do()
	wall := time.Since(start)
	if err != nil {
		return Block{}, err
	}
	after, err := machine.Used()
	return Block{
		Wall: wall, CPU: after.CPU - before.CPU, Mallocs: after.Mallocs - before.Mallocs,
		Bytes: after.MallocBytes - before.MallocBytes, Written: after.Written - before.Written,
	}, err
}
