// Package row makes the machines that the benches write: of the size and shape
// of a fleet's, about 190 bytes each, and different every time.
package row

import (
	"database/sql/driver"
	"fmt"
	"math/rand/v2"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/region/table"
)

// Table is the table that they are in.
func Table() schema.Table {
	for _, t := range table.All() {
		if t.Name == table.Machines {
			return t
		}
	}
	panic("no table " + table.Machines) // only if the product drops it
}

// Key names one machine: the worker's number, and its own there.
type Key struct {
	Worker, ID int
}

// Worker is the name of a worker, equally long for all.
func Worker(n int) string { return fmt.Sprintf("host-%04d", n) }

// Maker makes rows. Equal seeds make equal rows. Not safe for concurrent use.
type Maker struct {
	rand *rand.Rand
	n    int64
}

// NewMaker returns the maker of a seed.
func NewMaker(seed uint64) *Maker { return &Maker{rand: rand.New(rand.NewPCG(seed, 0x5eed))} }

// Pick returns a number below n.
func (m *Maker) Pick(n int) int { return m.rand.IntN(n) }

// Some returns count different numbers below n, in the order of chance.
func (m *Maker) Some(count, n int) []int {
	seen := make(map[int]bool, count)
	out := make([]int, 0, count)
	for len(out) < count {
		if i := m.rand.IntN(n); !seen[i] {
			seen[i] = true
			out = append(out, i)
		}
	}
	return out
}

// Row makes a row of k, unlike every one before it.
func (m *Maker) Row(k Key) []record.Value {
	m.n++
	app := m.rand.IntN(50_000)
	return []record.Value{
		record.Of(Worker(k.Worker)), record.Of(fmt.Sprintf("m%07d", k.ID)),
		record.Of(fmt.Sprintf("app-%05d", app)), record.Of("started"), record.Of(""),
		record.Of(fmt.Sprintf(`[{"name":"http","port":%d}]`, 1024+m.rand.IntN(60_000))),
		record.Of(fmt.Sprintf(`["fdaa:0:%x:%x::3"]`, k.Worker, m.rand.IntN(1<<16))),
		record.Of(fmt.Sprintf("registry/app-%05d@%012x", app, m.n)),
		record.Of(`{"cpus":1,"memory_mb":256}`), record.Of(fmt.Sprintf(`{"release":%d}`, m.n)),
		record.Of(m.n), record.Of(0), record.Of(""),
	}
}

// Driver gives the values as SQLite's driver takes them.
func Driver(vals []record.Value) []driver.Value {
	out := make([]driver.Value, len(vals))
	for i, v := range vals {
		out[i] = v.Any()
	}
	return out
}
