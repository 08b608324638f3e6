// Package watchdog ends a process whose loops have stopped making progress. A
// loop marks each round; one that is silent beyond its bound is wedged (a
// deadlock, a hung disk), so every goroutine's stack goes to the log and the
// process exits with ExitCode, for its supervisor to start it again. Peers are
// better off with a node that restarts than with one that holds connections
// and answers nothing.
package watchdog

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// ExitCode is the process's status after a wedged loop (EX_SOFTWARE), so that
// a supervisor can tell it from a crash or a refused configuration.
const ExitCode = 70

// maxStacks bounds the dump, in bytes.
const maxStacks = 4 << 20

// Config configures a Watchdog.
type Config struct {
	Logger *slog.Logger   // gets the stacks; nil discards
	Exit   func(code int) // ends the process; nil means os.Exit
}

// Watchdog watches loops. Safe for concurrent use.
type Watchdog struct {
	cfg   Config
	start time.Time // of the monotonic clock that marks are counted on

	mu    sync.Mutex
	loops []*Loop
}

// Loop is one watched loop. A nil Loop is watched by nobody.
type Loop struct {
	name  string
	bound time.Duration
	start time.Time
	last  atomic.Int64 // nanoseconds since start of the last mark; negative: resting
}

// New returns a Watchdog that watches nothing yet.
func New(cfg Config) *Watchdog {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Exit == nil {
		cfg.Exit = os.Exit
	}
	return &Watchdog{cfg: cfg, start: time.Now()}
}

// Loop registers a loop that promises to Mark at least every bound. It counts
// as marked now.
func (w *Watchdog) Loop(name string, bound time.Duration) *Loop {
	l := &Loop{name: name, bound: bound, start: w.start}
	l.Mark()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loops = append(w.loops, l)
	return l
}

// Mark says that the loop is making progress.
func (l *Loop) Mark() {
	if l != nil {
		l.last.Store(int64(time.Since(l.start)))
	}
}

// Rest says that the loop is over, or waits without a bound, until its next Mark.
func (l *Loop) Rest() {
	if l != nil {
		l.last.Store(-1)
	}
}

// silence returns how long the loop has been silent at now.
func (l *Loop) silence(now time.Time) time.Duration {
	last := l.last.Load()
	if last < 0 {
		return 0
	}
	return now.Sub(l.start) - time.Duration(last)
}

// Healthy reports whether every loop is within its bound: the condition for
// telling an outer supervisor that the process lives.
func (w *Watchdog) Healthy() bool { return w.wedged(time.Now()) == nil }

// Run looks at the loops until ctx ends, or one of them is beyond its bound.
func (w *Watchdog) Run(ctx context.Context) error {
	t := time.NewTicker(w.period())
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if l := w.wedged(time.Now()); l != nil {
			w.cfg.Logger.Error("loop made no progress: ending the process",
				"loop", l.name, "bound", l.bound, "silent", l.silence(time.Now()), "stacks", stacks())
			w.cfg.Exit(ExitCode)
			return nil // only where Exit returns, as in tests
		}
		t.Reset(w.period())
	}
}

func (w *Watchdog) wedged(now time.Time) *Loop {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.loops {
		if l.silence(now) > l.bound {
			return l
		}
	}
	return nil
}

// period is a quarter of the shortest bound, within 10 ms and a second.
func (w *Watchdog) period() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := time.Second
	for _, l := range w.loops {
		p = min(p, l.bound/4)
	}
	return max(p, 10*time.Millisecond)
}

// stacks returns the stacks of all goroutines, cut at maxStacks.
func stacks() string {
	for size := 64 << 10; ; size *= 2 {
		buf := make([]byte, min(size, maxStacks))
		if n := runtime.Stack(buf, true); n < len(buf) || len(buf) == maxStacks {
			return string(buf[:n])
		}
	}
}
