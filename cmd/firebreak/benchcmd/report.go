package benchcmd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/bench/load"
)

// maxFaults is how many different errors are told apart; the rest is counted
// as others.
const maxFaults = 20

// faults counts errors by their text.
type faults struct {
	mu    sync.Mutex // guards count
	count map[string]uint64
}

func newFaults() *faults { return &faults{count: map[string]uint64{}} }

func (f *faults) add(err error) {
	if err == nil {
		return
	}
	text := err.Error()
	if errors.Is(err, context.Canceled) {
		text = "interrupted"
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.count[text]; !known && len(f.count) >= maxFaults {
		text = "other errors"
	}
	f.count[text]++
}

// fault is one kind of failure. Its keys are documented.
type fault struct {
	Count uint64 `json:"count"`
	Error string `json:"error"`
}

// report is the outcome of a load. A run with failures has no rate and no
// latencies: they would be those of the part that works.
type report struct {
	Load      string   `json:"load"`
	Rate      float64  `json:"rate"`
	Seconds   float64  `json:"seconds"`
	Sent      uint64   `json:"sent"`
	Failed    uint64   `json:"failed"`
	Unsent    uint64   `json:"unsent"` // due, and not begun for want of workers
	PerSecond *float64 `json:"per_second,omitempty"`
	P50       *float64 `json:"p50_ms,omitempty"`
	P99       *float64 `json:"p99_ms,omitempty"`
	Max       *float64 `json:"max_ms,omitempty"`
	Errors    []fault  `json:"errors"`
}

func newReport(name string, f *flags, r *load.Report, faults *faults) report {
	out := report{Load: name, Rate: f.rate, Seconds: r.Took.Seconds(), Sent: r.Sent, Failed: r.Failed, Unsent: r.Unsent, Errors: []fault{}}
	for _, text := range slices.Sorted(maps.Keys(faults.count)) {
		out.Errors = append(out.Errors, fault{faults.count[text], text})
	}
	slices.SortStableFunc(out.Errors, func(a, b fault) int { return cmp.Compare(b.Count, a.Count) })
	if out.good() {
		ms := func(d time.Duration) *float64 { v := float64(d.Microseconds()) / 1000; return &v }
		// The last operation has its turn's time, however fast it was.
		rate := float64(r.Latency.Count()) / max(r.Took.Seconds(), float64(r.Sent)/f.rate)
		out.PerSecond, out.P50, out.P99, out.Max = &rate, ms(r.Latency.Quantile(0.5)), ms(r.Latency.Quantile(0.99)), ms(r.Latency.Max())
	}
	return out
}

func (r report) good() bool {
	return r.Failed == 0 && r.Unsent == 0 && len(r.Errors) == 0 && r.Sent > 0
}

// print writes the report; the error of a run with failures says only that.
func (r report) print(w io.Writer, format string) error {
	if format == "json" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(r); err != nil {
			return err
		}
	} else if err := r.table(w); err != nil {
		return err
	}
	if r.good() {
		return nil
	}
	return exit.With(exit.Failed, fmt.Errorf("%d of %d operations failed, %d were not begun in time", r.Failed, r.Sent, r.Unsent))
}

func (r report) table(w io.Writer) error {
	if r.good() {
		_, err := fmt.Fprintf(w, "%s: %d in %.1f s, %.1f/s; from when each was due: p50 %.2f ms, p99 %.2f ms, longest %.2f ms\n",
			r.Load, r.Sent, r.Seconds, *r.PerSecond, *r.P50, *r.P99, *r.Max)
		return err
	}
	if _, err := fmt.Fprintf(w, "%s: %d of %d failed, %d not begun; no rate, for it would be that of the part that works\n", r.Load, r.Failed, r.Sent, r.Unsent); err != nil {
		return err
	}
	for _, f := range r.Errors {
		if _, err := fmt.Fprintf(w, "%6d  %s\n", f.Count, f.Error); err != nil {
			return err
		}
	}
	return nil
}

// progress is a line on a terminal that is written anew, or a line a second
// in a log.
type progress struct {
	w      io.Writer
	name   string
	whole  time.Duration
	begun  time.Time
	redraw bool

	mu     sync.Mutex // guards what follows
	done   uint64
	failed uint64
	last   load.Histogram // of the last second
}

func newProgress(w io.Writer, name string, whole time.Duration) *progress {
	p := &progress{w: w, name: name, whole: whole, begun: time.Now()}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.redraw = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

func (p *progress) add(latency time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	if err != nil {
		p.failed++
		return
	}
	p.last.Add(latency)
}

// start shows the line every second until the returned function is called.
func (p *progress) start() (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	tick := time.NewTicker(time.Second)
	go func() {
		defer close(ended)
		for {
			select {
			case <-tick.C:
				p.show()
			case <-end:
				return
			}
		}
	}()
	return func() {
		tick.Stop()
		close(end)
		<-ended
		if p.redraw {
			fmt.Fprint(p.w, "\r\x1b[K")
		}
	}
}

func (p *progress) show() {
	p.mu.Lock()
	line := fmt.Sprintf("%s %v of %v: %d done, %d failed; last second p50 %v, p99 %v", p.name, time.Since(p.begun).Round(time.Second), p.whole,
		p.done, p.failed, p.last.Quantile(0.5).Round(10*time.Microsecond), p.last.Quantile(0.99).Round(10*time.Microsecond))
	p.last = load.Histogram{}
	p.mu.Unlock()
	if p.redraw {
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
		return
	}
	fmt.Fprintln(p.w, line)
}
