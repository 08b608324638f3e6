// Package reporter drives a report.Core: it reads the region through a View,
// keeps one Report stream to every configured global node, and sends what the
// core decides. Rows go to one of them, the ingress; every one asks with its
// own tokens and gets its own confirmations, so nothing of them is gossiped.
//
// Losing any stream loses nothing: what a global node holds of the region
// comes anew with the next session and the core sends the difference.
package reporter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/region/report"
)

// View is what a reporter needs of its region. Safe for concurrent use.
type View interface {
	// Counts returns the number of current claims of every app that has any,
	// in any state. Changed is closed at the next change. The caller does not
	// write to the map.
	Counts() (counts map[fleet.App]int, changed <-chan struct{})
	// Fit reports whether this node's answers may be believed.
	Fit() bool
	// Candidates returns the region's live fit gateways, this node included
	// if it is one.
	Candidates() []fleet.Worker
	// Gateways returns the region's gateways as configured, at most 4.
	Gateways() []presence.Gateway
	// Withheld counts the records that this node received and does not show.
	Withheld() uint64
	// WaitCaughtUp returns once this node has received, and Counts shows,
	// whatever the live members had received when the call began.
	WaitCaughtUp(ctx context.Context) error
}

// Config of a Reporter.
type Config struct {
	Fleet      string
	Region     fleet.Region
	Node       fleet.Worker
	Locality   string // empty for none
	Generation presence.Generation
	Boot       uint64
	SchemaHash uint64
	Globals    []string                                    // host:port of each global node's gRPC; required
	Dial       func(addr string) (*grpc.ClientConn, error) // required
	View       View                                        // required
	Freeze     func() bool                                 // true: send nothing; nil means never
	Now        func() time.Time                            // nil means time.Now
	Seed       int64                                       // of the jitter between retries
	Progress   func()                                      // nil, or the watchdog's mark of the loop
	Logger     *slog.Logger                                // nil discards
	Metrics    prometheus.Registerer                       // nil leaves metrics unregistered
}

func (c Config) validate() error {
	var errs []error
	errs = append(errs, fleet.CheckFleet(c.Fleet), c.Region.Check(), c.Node.Check())
	if c.Locality != "" {
		errs = append(errs, fleet.CheckLocality(c.Locality))
	}
	if c.Generation.Number == 0 {
		errs = append(errs, errors.New("generation is missing"))
	}
	if len(c.Globals) == 0 {
		errs = append(errs, errors.New("no global nodes"))
	}
	if c.Dial == nil || c.View == nil {
		errs = append(errs, errors.New("no Dial or no View"))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.Freeze == nil {
		c.Freeze = func() bool { return false }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Progress == nil {
		c.Progress = func() {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Reporter reports for one region while this node is its reporter, and stands
// by while another is. Safe for concurrent use.
type Reporter struct {
	// Set by New, then constant.
	cfg     Config
	metrics *metrics
	start   time.Time
	events  chan event
	answer  chan []token
	wake    chan struct{} // size 1: there are tokens

	// Written by the loop.
	active atomic.Bool
	alarm  atomic.Pointer[string]

	mu    sync.Mutex // guards asked
	asked []token
}

// eventQueue holds what sessions tell while the loop reads the region. Full, it
// holds up the sessions, each of which then holds up its global node's sending.
const eventQueue = 64

// New returns a Reporter that Run starts.
func New(cfg Config) (*Reporter, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("reporter config: %w", err)
	}
	cfg = cfg.withDefaults()
	return &Reporter{
		cfg: cfg, metrics: newMetrics(cfg.Metrics), start: time.Now(),
		events: make(chan event, eventQueue), answer: make(chan []token), wake: make(chan struct{}, 1),
	}, nil
}

// Active reports whether this node is the region's reporter now.
func (r *Reporter) Active() bool { return r.active.Load() }

// Alarms says what keeps the region's reports from global, for a person.
func (r *Reporter) Alarms() []string {
	if a := r.alarm.Load(); a != nil && *a != "" {
		return []string{*a}
	}
	return nil
}

// Run reports until ctx ends.
func (r *Reporter) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.loop(ctx) })
	group.Go(func() error { return r.catchUp(ctx) })
	for i := range r.cfg.Globals {
		group.Go(func() error { return r.keepSession(ctx, i) })
	}
	return group.Wait()
}

// now is the moment for the core.
func (r *Reporter) now() report.Instant {
	return report.Instant{Mono: time.Since(r.start), Wall: r.cfg.Now().UnixMilli()}
}
