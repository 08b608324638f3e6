package dev

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/renameio/v2"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/check"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/edge"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/fault"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/propagation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/survey"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// report is the file of --report. Its keys are a contract:
// docs/reference/dev-report.md.
type report struct {
	TraceTime   *float64                                 `json:"trace_time"`
	Apps        map[fleet.App]appReport                  `json:"apps"`
	Regions     map[fleet.Region]check.Region            `json:"regions"`
	Propagation map[propagation.Tier]propagation.Summary `json:"propagation_ms"`
	Edges       edge.Report                              `json:"edges"`
	Faults      []fault.Verdict                          `json:"faults"`
	survey.Report
	Checks   []check.Check `json:"checks"`
	CPU      float64       `json:"cpu_s"`
	Lost     float64       `json:"lost_s"`
	RSS      int64         `json:"rss_bytes"`
	Seed     uint64        `json:"seed"`
	OK       bool          `json:"ok"`
	Duration float64       `json:"duration_s"`
	Version  string        `json:"version"`
}

type appReport struct {
	Machines int `json:"machines"`
}

func (s *session) makeReport(ctx context.Context, result check.Result, verdicts []fault.Verdict) report {
	r := report{
		Apps: map[fleet.App]appReport{}, Regions: result.Regions,
		Propagation: s.tracker.Report(time.Now()), Edges: s.tally.Report(), Checks: result.Checks, Faults: verdicts,
		Seed: s.seed, OK: result.Err() == nil, Version: s.version,
		Duration: time.Since(s.say.start).Seconds(), Lost: s.pulse.Total().Seconds(),
	}
	if s.replay != nil {
		at := s.reached.Seconds()
		r.TraceTime = &at
	}
	for app, n := range result.Truth.Apps() {
		r.Apps[app] = appReport{n}
	}
	r.Report = survey.Ask(ctx, s.federation)
	r.CPU, r.RSS = usage(s.federation.PIDs())
	return r
}

func (r report) write(file string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := renameio.WriteFile(file, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
