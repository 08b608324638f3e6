// Package trace reads the churn of a real fleet from CSV, one row per machine,
// and turns it into a schedule of publishes and withdrawals. A machine is live
// at t exactly if create ≤ t < delete: an empty creation means that it was
// there before the trace began, an empty deletion that it outlives it. One
// whose two times are equal is published and withdrawn and never counted.
//
// Reading refuses a bad file whole, with the line and the reason: a replay of
// half a trace would have a truth that nobody can compute again.
package trace

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Time is a trace time, in nanoseconds from the zero of the trace.
type Time int64

// The ends of time: the creation of a machine from before the trace, and the
// deletion of one that outlives it.
const (
	Before Time = math.MinInt64
	Never  Time = math.MaxInt64
)

// MaxSeconds bounds a time in a trace: above the Unix seconds of this century,
// below what a Time can hold.
const MaxSeconds = 9e9

// Seconds returns t in seconds, rounded to what a float64 holds.
func (t Time) Seconds() float64 { return float64(t) / 1e9 }

// ParseTime reads a number of seconds, decimal, from 0 to MaxSeconds.
func ParseTime(s string) (Time, error) {
	f, err := strconv.ParseFloat(s, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("time %q is over the limit of %g seconds", s, float64(MaxSeconds))
	case err != nil, strings.ContainsAny(s, "xXpP_"):
		return 0, fmt.Errorf("time %q is no number of seconds", s)
	case math.IsNaN(f), math.IsInf(f, 0):
		return 0, fmt.Errorf("time %q is not finite", s)
	case f < 0:
		return 0, fmt.Errorf("time %q is negative", s)
	case f > MaxSeconds:
		return 0, fmt.Errorf("time %q is over the limit of %g seconds", s, float64(MaxSeconds))
	}
	return Time(math.Round(f * 1e9)), nil
}

// Machine is one row.
type Machine struct {
	ID     fleet.MachineID
	App    fleet.App
	Create Time // Before if the row has none
	Delete Time // Never if the row has none
}

// LiveAt reports whether m counts at t.
func (m Machine) LiveAt(t Time) bool { return m.Create <= t && t < m.Delete }

// Columns names the CSV columns that a trace is read from.
type Columns struct {
	ID, App, Create, Delete string
}

// DefaultColumns are the names that are taken if none are given.
func DefaultColumns() Columns {
	return Columns{ID: "id", App: "app", Create: "create", Delete: "delete"}
}

// ParseColumns reads "id=…,app=…,create=…,delete=…", in any order; what is
// left out keeps its default. It reports every problem at once.
func ParseColumns(s string) (Columns, error) {
	c := DefaultColumns()
	if s == "" {
		return c, nil
	}
	fields := map[string]*string{"id": &c.ID, "app": &c.App, "create": &c.Create, "delete": &c.Delete}
	seen := map[string]bool{}
	var errs []error
	for _, part := range strings.Split(s, ",") {
		name, column, ok := strings.Cut(part, "=")
		field := fields[name]
		switch {
		case !ok || column == "":
			errs = append(errs, fmt.Errorf("trace columns: %q: want NAME=COLUMN", part))
		case field == nil:
			errs = append(errs, fmt.Errorf("trace columns: %q is none of id, app, create, delete", name))
		case seen[name]:
			errs = append(errs, fmt.Errorf("trace columns: %s is given twice", name))
		default:
			*field, seen[name] = column, true
		}
	}
	return c, errors.Join(errs...)
}

// Place returns which of n workers runs a machine: xxh3_64(id) mod n, over the
// workers sorted by region and then name.
func Place(id fleet.MachineID, n int) int {
	return int(xxh3.HashString(string(id)) % uint64(n))
}

// Count returns how many machines each app has at t, by the definition alone.
func Count(machines []Machine, t Time) map[fleet.App]int {
	out := map[fleet.App]int{}
	for _, m := range machines {
		if m.LiveAt(t) {
			out[m.App]++
		}
	}
	return out
}
