// Package clock compares a node's clock with those of its peers. While it is
// not their median's, shared rows are not written here: others would withhold
// them, or take them for older than they are. Once it is right again, and was
// ahead, the clock of shared tables is reset by itself. Owned rows are judged
// by no clock, and nothing here touches them.
//
// A peer's clock is believed as far as its answer was quick, and a minority of
// wrong ones decides nothing: see [hlc.Judge].
package clock

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/store"
)

const (
	every    = 5 * time.Second // between two rounds of asking
	closeFor = time.Minute     // of agreement with every peer, before a reset by itself
)

// Config of a watch. All but Metrics is required.
type Config struct {
	Now     func() time.Time                                // this node's wall
	Ask     func(ctx context.Context) []hlc.Reading         // the clocks of the peers that answer in time
	Last    func() hlc.Timestamp                            // the highest stamp of this node
	Reset   func(context.Context) (store.ClockReset, error) // begins anew with the clock of shared tables
	Logger  *slog.Logger
	Metrics prometheus.Registerer // nil leaves metrics unregistered
}

// Watch watches one node's clock. Safe for concurrent use.
type Watch struct {
	cfg     Config
	metrics *metrics
	verdict atomic.Pointer[hlc.Verdict] // of the last round; nil before it

	// Owned by Run.
	closeSince time.Time // since when every round found all peers close; zero if the last did not
}

// New returns a watch. Run does the looking.
func New(cfg Config) *Watch { return &Watch{cfg: cfg, metrics: newMetrics(cfg.Metrics)} }

// Run looks now and every five seconds until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		w.round(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *Watch) round(ctx context.Context) {
	v := hlc.Judge(w.cfg.Ask(ctx))
	if ctx.Err() != nil {
		return
	}
	w.conclude(v)
	ahead := w.ahead()
	w.metrics.apart.Set(v.Apart().Seconds())
	w.metrics.ahead.Set(ahead.Seconds())
	if !v.Close {
		w.closeSince = time.Time{}
		return
	}
	if w.closeSince.IsZero() {
		w.closeSince = time.Now()
	}
	if ahead == 0 || time.Since(w.closeSince) < closeFor {
		return
	}
	if _, err := w.reset(ctx, "itself"); err != nil && ctx.Err() == nil {
		w.cfg.Logger.Error("the clock of shared tables could not be reset; will try again", "err", err)
	}
}

// conclude takes over a verdict, and logs what is new about it.
func (w *Watch) conclude(v hlc.Verdict) {
	last := w.verdict.Swap(&v)
	if last == nil {
		last = &hlc.Verdict{Agrees: true}
	}
	switch {
	case last.Agrees == v.Agrees && last.Refuses() == v.Refuses():
	case v.Agrees:
		w.cfg.Logger.Info("this host's clock is its peers' again", "peers", v.Peers)
	default:
		w.cfg.Logger.Error("this host's clock differs from its peers'", "median", v.Apart(), "peers", v.Peers, "refused", v.Refuses())
	}
}

// ahead is how far the stamps of this node are in front of its wall, beyond
// what clocks may differ; else zero.
func (w *Watch) ahead() time.Duration {
	now, last := w.cfg.Now().Round(0), w.cfg.Last()
	if last <= hlc.At(now.Add(hlc.MaxDrift)) {
		return 0
	}
	return last.Wall().Sub(now)
}

// Fault says why this node must not write shared rows; nil while it may. It
// does not wait.
func (w *Watch) Fault() error {
	v := w.verdict.Load()
	if v == nil || !v.Refuses() {
		return nil
	}
	return fmt.Errorf("this host's clock is %s the median of %d peers: set it right, it is looked at again within %v: %w", side(v.Apart()), v.Peers, every, store.ErrClock)
}

// side words how far this clock is from the median.
func side(apart time.Duration) string {
	if apart > 0 {
		return fmt.Sprintf("%v behind", apart.Round(time.Millisecond))
	}
	return fmt.Sprintf("%v ahead of", -apart.Round(time.Millisecond))
}

// Reset begins anew with the clock of shared tables, as an operator asks. It
// refuses while this host's clock is known to be wrong: by a clock that is
// behind it would void what was stamped rightly.
func (w *Watch) Reset(ctx context.Context) (store.ClockReset, error) { return w.reset(ctx, "operator") }

func (w *Watch) reset(ctx context.Context, by string) (store.ClockReset, error) {
	if err := w.Fault(); err != nil {
		return store.ClockReset{}, fmt.Errorf("reset the clock of shared tables: %w", err)
	}
	r, err := w.cfg.Reset(ctx)
	if err != nil {
		return r, err
	}
	w.metrics.resets.WithLabelValues(by).Inc()
	w.cfg.Logger.Warn("the clock of shared tables was reset: what this node had stamped later is void, and stamped again", "by", by, "after", r.Above.UTC(), "again", r.Again)
	return r, nil
}

// Alarms are what a person should know, with what ends each.
func (w *Watch) Alarms() (out []string) {
	if v := w.verdict.Load(); v != nil && !v.Agrees {
		what := "what it writes to shared tables may stay withheld at others"
		if v.Refuses() {
			what = "writes to shared tables are refused"
		}
		out = append(out, fmt.Sprintf("this host's clock is %s the median of %d peers, and %s: set it right", side(v.Apart()), v.Peers, what))
	}
	if d := w.ahead(); d > 0 {
		out = append(out, fmt.Sprintf("this node has stamped shared rows %v ahead of its host's clock, and refuses further ones: a minute after the clock is right that is mended by itself, or at once by firebreak clock reset", d.Round(time.Second)))
	}
	return out
}
