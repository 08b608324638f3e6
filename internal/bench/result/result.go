// Package result is what a run of the benchmarks found: measures with their
// intervals, verdicts against targets, and where it was run. It is stored as
// JSON, printed as a table, and compared with an earlier one.
package result

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Format counts the layouts of the JSON.
const Format = 1

// File is one run, or the latest of every bench.
type File struct {
	Format      int         `json:"format"`
	Environment Environment `json:"environment"`
	Benches     []Bench     `json:"benches"` // by name
}

// Environment is where and on what the last run was.
type Environment struct {
	At          time.Time     `json:"at"`
	Commit      string        `json:"commit"`
	Command     string        `json:"command"`
	Go          string        `json:"go"`
	SQLite      string        `json:"sqlite"`
	CPU         string        `json:"cpu"`
	CPUs        int           `json:"cpus"`
	GOMAXPROCS  int           `json:"gomaxprocs"`
	Kernel      string        `json:"kernel"`
	LoadBefore  string        `json:"load_before"` // 1, 5 and 15 minutes
	LoadAfter   string        `json:"load_after"`
	Memory      string        `json:"memory_dir"` // directory of CPU benches and what it lies on
	Disk        string        `json:"disk_dir"`   // directory of durability benches and what it lies on
	Sync        Sync          `json:"fdatasync"`
	Calibration time.Duration `json:"calibration_ns"` // best of the loop
	Seed        uint64        `json:"seed"`
}

// Sync is what one write of 4 KiB and fdatasync took on the disk.
type Sync struct {
	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`
}

// Bench is what one bench found.
type Bench struct {
	Name     string    `json:"name"`
	Title    string    `json:"title"`
	Verdict  string    `json:"verdict"`
	Note     string    `json:"note,omitempty"` // why there is no figure, or what was run instead of the whole
	Measures []Measure `json:"measures,omitempty"`
	At       time.Time `json:"at"`
	Commit   string    `json:"commit"`
	Load     string    `json:"load"` // average of one minute before and after
	Seconds  float64   `json:"seconds"`
}

// Measure is one figure.
type Measure struct {
	Name     string             `json:"name"`
	Unit     string             `json:"unit"` // "×" for a ratio
	Value    float64            `json:"value"`
	Low      float64            `json:"low"` // of the 95 % interval
	High     float64            `json:"high"`
	Target   Target             `json:"target,omitzero"`
	Verdict  string             `json:"verdict"`
	Blocks   int                `json:"blocks,omitempty"` // measured; zero for a figure that is counted
	Quiet    int                `json:"quiet,omitempty"`  // of them used
	Subject  float64            `json:"subject,omitempty"`
	Baseline float64            `json:"baseline,omitempty"` // medians, in Of
	Of       string             `json:"of,omitempty"`
	Best     float64            `json:"best,omitempty"` // the best absolute of the subject
	Details  map[string]float64 `json:"details,omitempty"`
}

// Target is a limit on a value. The zero Target is none.
type Target struct {
	Bound string  `json:"bound"` // "at most" or "at least"
	Limit float64 `json:"limit"`
}

// The bounds of targets.
const (
	most  = "at most"
	least = "at least"
)

// AtMost is the target of what should be small.
func AtMost(limit float64) Target { return Target{most, limit} }

// AtLeast is the target of what should be large.
func AtLeast(limit float64) Target { return Target{least, limit} }

// More reports whether more is better.
func (t Target) More() bool { return t.Bound == least }

// None reports whether there is no target.
func (t Target) None() bool { return t == Target{} }

// String gives "≤ 1.3" or "≥ 5", empty for none.
func (t Target) String() string {
	switch {
	case t.None():
		return ""
	case t.More():
		return "≥ " + Number(t.Limit)
	}
	return "≤ " + Number(t.Limit)
}

// The verdicts. A short one is followed by how much.
const (
	Met       = "met"
	Short     = "short by"
	TooNoisy  = "too noisy"
	NoFeature = "no feature yet"
	NoTarget  = "no target" // a floor or a rival
	Failed    = "failed"
)

// Few is how many quiet blocks a verdict needs.
const Few = 5

// Margin is what a figure may move between two runs of one commit beyond its
// interval, of its target: the interval knows only the noise of one run.
const Margin = 0.05

// Judge returns the verdict on m. A measured figure needs Few quiet blocks,
// and an interval that is clear of the target by Margin: else a second run
// could say the opposite, and the machine is too noisy to tell.
func (m Measure) Judge() string {
	measured := m.Blocks > 0
	switch {
	case measured && m.Quiet < Few, math.IsNaN(m.Value):
		return TooNoisy
	case m.Target.None():
		return NoTarget
	}
	good := func(v float64) bool { return v == m.Target.Limit || (v > m.Target.Limit) == m.Target.More() }
	low, high := m.Low, m.High
	if measured && low != high { // one that is the same in every block needs no margin
		margin := Margin * math.Abs(m.Target.Limit)
		low, high = low-margin, high+margin
	}
	switch {
	case good(low) != good(high):
		return TooNoisy
	case good(m.Value):
		return Met
	}
	return Short + " " + shortBy(m.Value, m.Target)
}

// shortBy says by how much a value misses: in percent of the target, or as a
// factor once that reads better.
func shortBy(v float64, t Target) string {
	a, b := v, t.Limit
	if t.More() {
		a, b = b, a
	}
	switch {
	case b <= 0:
		return Number(a - b)
	case a/b >= 2:
		return fmt.Sprintf("%.1f ×", a/b)
	}
	return fmt.Sprintf("%.0f %%", 100*math.Abs(v-t.Limit)/t.Limit)
}

// Conclude sets the verdicts of b's measures and its own: the worst of them.
func (b *Bench) Conclude() {
	worst, at := -1, NoTarget
	for i := range b.Measures {
		b.Measures[i].Verdict = b.Measures[i].Judge()
		v := b.Measures[i].Verdict
		if r := badness(v); r > worst || r == worst && strings.HasPrefix(v, Short) && further(v, at) {
			worst, at = r, v
		}
	}
	b.Verdict = at
}

func badness(verdict string) int {
	if strings.HasPrefix(verdict, Short) {
		return 3
	}
	return slices.Index([]string{NoTarget, Met, TooNoisy}, verdict)
}

// further reports whether the short verdict a misses by more than b.
func further(a, b string) bool { return distance(a) > distance(b) }

func distance(verdict string) float64 {
	var n float64
	var unit string
	if _, err := fmt.Sscanf(strings.TrimPrefix(verdict, Short+" "), "%g %s", &n, &unit); err != nil {
		return 0
	}
	if unit == "×" {
		return 100 * (n - 1)
	}
	return n
}

// Merge returns f with the benches and the environment of newer: those that
// were run now replace those of before.
func (f File) Merge(newer File) File {
	out := File{Format: Format, Environment: newer.Environment, Benches: slices.Clone(newer.Benches)}
	for _, b := range f.Benches {
		if !slices.ContainsFunc(out.Benches, func(n Bench) bool { return n.Name == b.Name }) {
			out.Benches = append(out.Benches, b)
		}
	}
	slices.SortFunc(out.Benches, func(a, b Bench) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Number prints v with three or so digits that say something.
func Number(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "–"
	case a == math.Trunc(a) && a < 1e6, a >= 1000:
		return fmt.Sprintf("%.0f", v)
	case a >= 100:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.2g", v)
}
