package plan

import (
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	"github.com/firebreak-dev/firebreak/router/directory"
)

// Breaker leaves a failing region alone: after Trip failures in a row it opens
// for a time that doubles, then lets one attempt through. The zero value is
// closed.
type Breaker struct {
	failures int
	opened   int // times in a row
	until    directory.Instant
	probing  bool
	since    directory.Instant // of the probe
}

const (
	trip         = 5
	firstOpen    = 500 * time.Millisecond
	longestOpen  = 10 * time.Second
	probeForgets = 30 * time.Second // a probe whose outcome was never told
)

// Allow reports whether an attempt may be made now. One that may must be told
// to Done.
func (b *Breaker) Allow(now directory.Instant) bool {
	if b.failures < trip {
		return true
	}
	if !reached(now, b.until) || b.probing && now.Since(b.since) < probeForgets {
		return false
	}
	b.probing, b.since = true, now
	return true
}

// Done tells the outcome of an attempt. Jitter in [0,1) spreads the retries of
// many routers.
func (b *Breaker) Done(ok bool, now directory.Instant, jitter float64) {
	b.probing = false
	if ok {
		*b = Breaker{}
		return
	}
	b.failures++
	if b.failures < trip {
		return
	}
	open := min(firstOpen<<min(b.opened, 10), longestOpen)
	b.opened++
	b.until = now.Add(time.Duration(float64(open) * (0.5 + jitter/2)))
}

// Open reports whether the breaker holds attempts back now.
func (b *Breaker) Open(now directory.Instant) bool {
	return b.failures >= trip && !reached(now, b.until)
}

func reached(now, at directory.Instant) bool { return now.Mono >= at.Mono }

// Latency is how long a region's answers took lately: the newest samples, by
// which a second gateway is tried when the first is late for this region. The
// zero value knows none.
type Latency struct {
	samples [64]time.Duration
	n       int
}

// The bounds of P95: below, a hedge would only double the load; above, it
// would come too late to matter.
const (
	minHedge     = 10 * time.Millisecond
	unknownHedge = 250 * time.Millisecond
	fewSamples   = 8
)

// Add takes one sample.
func (l *Latency) Add(d time.Duration) {
	l.samples[l.n%len(l.samples)] = d
	l.n++
}

// P95 returns the time after which a second gateway is asked.
func (l *Latency) P95() time.Duration {
	n := min(l.n, len(l.samples))
	if n < fewSamples {
		return unknownHedge
	}
	sorted := slices.Clone(l.samples[:n])
	slices.Sort(sorted)
	return max(sorted[n*95/100], minHedge)
}

// Budget is a token bucket: Rate tokens a second, at most Burst at once. It
// begins full.
type Budget struct {
	Rate  float64
	Burst float64

	used float64
	last directory.Instant
}

// Take takes one token, or reports that none is left.
func (b *Budget) Take(now directory.Instant) bool {
	b.used = max(0, b.used-b.Rate*now.Since(b.last).Seconds())
	b.last = now
	if b.used+1 > b.Burst {
		return false
	}
	b.used++
	return true
}

// Answer is what a region said when asked whether it runs an app.
type Answer struct {
	Machines  int
	Part      coverage.Part
	NewestEnd time.Time // wall time of the newest end there; zero for none
	At        directory.Instant
}

// Answers remembers them for a short time, so that many questions about an app
// that nobody knows cost a region one. The zero value is empty.
type Answers struct {
	held map[fleet.App]Answer
}

const (
	maxAnswers  = 4096
	answerLives = 2 * time.Second
)

// Get returns a remembered answer that is not too old.
func (a *Answers) Get(app fleet.App, now directory.Instant) (Answer, bool) {
	got, ok := a.held[app]
	return got, ok && now.Since(got.At) < answerLives
}

// Put remembers an answer. When full it forgets all: the asker's budget bounds
// what that costs.
func (a *Answers) Put(app fleet.App, ans Answer) {
	if a.held == nil || len(a.held) >= maxAnswers {
		a.held = map[fleet.App]Answer{}
	}
	a.held[app] = ans
}

// Len returns how many answers are held, old ones included.
func (a *Answers) Len() int { return len(a.held) }
