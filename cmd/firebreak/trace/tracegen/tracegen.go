// Package tracegen makes traces of the shape of a real fleet's, for tests: a
// few large apps and many small ones, a good part of the machines there from
// before, lives from seconds to months, bursts, and now and then a machine
// that is created and deleted at one moment. Same config, same trace.
package tracegen

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/trace"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Config says how large a trace is.
type Config struct {
	Seed     uint64
	Machines int
	Apps     int
	Span     trace.Time // no event lies at or after it
}

// Generate makes a trace, its machines in order of their ids.
func Generate(cfg Config) []trace.Machine {
	rnd := rand.New(rand.NewPCG(cfg.Seed, 0x7472616365)) // any fixed second word
	weights := appWeights(rnd, cfg.Apps)
	out := make([]trace.Machine, cfg.Machines)
	burst := trace.Time(0)
	for i := range out {
		m := trace.Machine{
			ID:     fleet.MachineID(fmt.Sprintf("machine_%d", i)),
			App:    fleet.App(fmt.Sprintf("app_%d", pick(rnd, weights))),
			Create: trace.Before, Delete: trace.Never,
		}
		born := trace.Time(0)
		if rnd.Float64() > 0.3 {
			if rnd.Float64() > 0.4 { // else in the burst of the machine before
				burst = seconds(rnd.Float64() * cfg.Span.Seconds())
			}
			born = burst
			m.Create = born
		}
		if rnd.Float64() < 0.65 {
			if d := born + lifetime(rnd); d < cfg.Span {
				m.Delete = d
			}
		}
		out[i] = m
	}
	return out
}

// appWeights gives app k a share of about 1/(k+1).
func appWeights(rnd *rand.Rand, n int) []float64 {
	w := make([]float64, n)
	sum := 0.0
	for i := range w {
		sum += (0.5 + rnd.Float64()) / float64(i+1)
		w[i] = sum
	}
	return w
}

func pick(rnd *rand.Rand, cumulative []float64) int {
	x := rnd.Float64() * cumulative[len(cumulative)-1]
	for i, w := range cumulative {
		if x < w {
			return i
		}
	}
	return len(cumulative) - 1
}

// lifetime is zero once in a hundred, else spread evenly in its logarithm from
// ten seconds to a month.
func lifetime(rnd *rand.Rand) trace.Time {
	if rnd.Float64() < 0.01 {
		return 0
	}
	return seconds(math.Pow(10, 1+rnd.Float64()*5.4))
}

func seconds(s float64) trace.Time { return trace.Time(math.Floor(s)) * 1e9 }

// Columns are the names that WriteCSV gives.
func Columns() trace.Columns {
	return trace.Columns{ID: "instance", App: "service", Create: "created", Delete: "deleted"}
}

// WriteCSV writes machines with a header and a column that no reader needs.
func WriteCSV(w io.Writer, machines []trace.Machine) error {
	out := csv.NewWriter(w)
	c := Columns()
	if err := out.Write([]string{c.ID, "note", c.App, c.Create, c.Delete}); err != nil {
		return fmt.Errorf("write trace: %w", err)
	}
	for _, m := range machines {
		row := []string{string(m.ID), "a, b", string(m.App), text(m.Create), text(m.Delete)}
		if err := out.Write(row); err != nil {
			return fmt.Errorf("write trace: %w", err)
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("write trace: %w", err)
	}
	return nil
}

func text(t trace.Time) string {
	if t == trace.Before || t == trace.Never {
		return ""
	}
	return strconv.FormatFloat(t.Seconds(), 'f', 1, 64)
}
