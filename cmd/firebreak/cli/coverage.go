package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	clusterpb "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
)

// coverage is how one region contributed to an answer.
type coverage struct {
	State    string `json:"state"` // live, pruned, stale, pruned_stale, timeout, unreachable, refused, fenced, unknown
	AgeMS    int64  `json:"age_ms"`
	AsOfMS   int64  `json:"as_of_unix_ms"`
	Withheld uint64 `json:"withheld"`
	Detail   string `json:"detail,omitempty"`
}

// coverages is the coverage of an answer, by region.
type coverages map[string]coverage

func fromCoverage(list []*clusterpb.Coverage) coverages {
	out := coverages{}
	for _, c := range list {
		out[c.GetRegion()] = coverage{
			State: stateName(c.GetState()), AgeMS: c.GetAgeMs(), AsOfMS: c.GetAsOfUnixMs(),
			Withheld: c.GetWithheld(), Detail: c.GetDetail(),
		}
	}
	return out
}

func stateName(s clusterpb.CoverageState) string {
	if s == clusterpb.CoverageState_COVERAGE_STATE_UNSPECIFIED || clusterpb.CoverageState_name[int32(s)] == "" {
		return "unknown"
	}
	return strings.ToLower(strings.TrimPrefix(s.String(), "COVERAGE_STATE_"))
}

// covered reports whether a region's part of the answer can be relied on.
func (c coverage) covered() bool { return c.State == "live" || c.State == "pruned" }

// warn says on standard error which regions an answer lacks, and why.
func (e *env) warn(cs coverages) {
	for _, r := range slices.Sorted(maps.Keys(cs)) {
		c := cs[r]
		if c.covered() {
			if c.Withheld > 0 {
				e.note("region %s: %d records are withheld", r, c.Withheld)
			}
			continue
		}
		text := fmt.Sprintf("region %s: %s", r, c.State)
		if c.AgeMS > 0 {
			text += fmt.Sprintf(", %v old", time.Duration(c.AgeMS)*time.Millisecond)
		}
		if c.Detail != "" {
			text += ": " + c.Detail
		}
		e.note("%s", text)
	}
}

var errNoRegions = exit.With(exit.Unanswered, errors.New("the router knows no region"))

// verdict turns what was found and whether all is covered into the exit code:
// 4 unless the answer is complete, then 3 if nothing was found.
func (e *env) verdict(found, complete bool) error {
	switch {
	case !complete:
		return exit.With(exit.Partial, errors.New("the answer is partial: some region is not covered, or the list of regions is not confirmed"))
	case !found:
		return exit.With(exit.NotFound, errors.New("not found in any region"))
	}
	return nil
}

// fromOne is fromCoverage of a single region.
func fromOne(c *clusterpb.Coverage) coverage {
	return fromCoverage([]*clusterpb.Coverage{c})[c.GetRegion()]
}

// generationText is a generation as configuration files have it, empty for none.
func generationText(g *clusterpb.Generation) string {
	if g == nil {
		return ""
	}
	return presence.Generation{Number: g.GetNumber(), Bits: g.GetBits()}.String()
}
