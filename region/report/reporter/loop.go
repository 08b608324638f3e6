package reporter

import (
	"context"
	"time"

	"github.com/firebreak-dev/firebreak/region/report"
)

// The paces of the loop.
const (
	tick      = 250 * time.Millisecond
	minReread = 20 * time.Millisecond // between two reads of all counts
	catchUpIn = 5 * time.Second       // else a token stays unanswered: the next comes anyway
)

// loop owns the core.
type loop struct {
	r     *Reporter
	core  *report.Core
	links []link // by global node

	changed <-chan struct{} // closed when counts changed; nil while a reread is due
	reread  *time.Timer
	readAt  time.Time     // of the last read
	cost    time.Duration // of the last read: reads take at most a tenth of the time
}

// link is a session as the loop sees it; the zero link is none.
type link struct {
	out chan<- report.Message
	end context.CancelFunc
}

// event is what a session tells the loop: that it began or ended, or an input.
type event struct {
	global int
	began  *link
	ended  bool
	in     report.Input
}

func (r *Reporter) loop(ctx context.Context) error {
	l := &loop{r: r, links: make([]link, len(r.cfg.Globals)), core: report.New(report.Config{
		Fleet: r.cfg.Fleet, Region: r.cfg.Region, Node: r.cfg.Node, Boot: r.cfg.Boot,
		Generation: r.cfg.Generation, Globals: len(r.cfg.Globals),
	})}
	l.reread = time.NewTimer(0) // the first read
	defer l.reread.Stop()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-r.events:
			l.event(e)
		case asked := <-r.answer:
			l.readMembers()
			l.readCounts()
			l.confirm(asked)
		case <-l.changed:
			l.changed = nil
			l.reread.Reset(max(minReread, 9*l.cost) - time.Since(l.readAt))
		case <-l.reread.C:
			l.readMembers()
			l.readCounts()
		case <-ticker.C:
			l.readMembers()
			l.core.Tick(r.now())
		}
		l.flush()
		r.cfg.Progress()
	}
}

func (l *loop) event(e event) {
	switch {
	case e.began != nil:
		l.links[e.global] = *e.began
		l.core.Step(l.r.now(), report.Connected{Global: e.global, Up: true})
		l.r.metrics.sessions.Inc()
	case e.ended:
		l.links[e.global] = link{}
		l.core.Step(l.r.now(), report.Connected{Global: e.global})
		l.r.metrics.sessions.Dec()
	default:
		if refused, ok := e.in.(report.Refused); ok {
			l.r.metrics.refused.Inc()
			l.r.cfg.Logger.Debug("report refused", "app", refused.App, "err", refused.Reason)
		}
		l.core.Step(l.r.now(), e.in)
	}
}

func (l *loop) readCounts() {
	begin := time.Now()
	all, changed := l.r.cfg.View.Counts()
	counts := make(report.Counts, 0, len(all))
	for app, n := range all {
		counts = append(counts, report.Count{App: app, N: n})
	}
	l.changed = changed
	l.core.Step(l.r.now(), counts)
	l.readAt = time.Now()
	l.cost = l.readAt.Sub(begin)
}

func (l *loop) readMembers() {
	cfg := l.r.cfg
	l.core.Step(l.r.now(), report.Members{
		Fit: cfg.View.Fit(), Candidates: cfg.View.Candidates(), Gateways: cfg.View.Gateways(),
		Locality: cfg.Locality, SchemaHash: cfg.SchemaHash,
	})
}

// confirm answers tokens; since they came this node has caught up.
func (l *loop) confirm(asked []token) {
	withheld := l.r.cfg.View.Withheld()
	for _, t := range asked {
		l.core.Step(l.r.now(), report.Token{
			Global: t.global, Token: t.token, Withheld: withheld, AgeMs: time.Since(t.came).Milliseconds(),
		})
	}
}

// flush hands the core's messages to the sessions. A session that does not
// take them is ended: what global then lacks is derived anew.
func (l *loop) flush() {
	frozen := l.r.cfg.Freeze()
	for _, m := range l.core.Ready() {
		if frozen || l.links[m.Global].out == nil {
			continue
		}
		select {
		case l.links[m.Global].out <- m:
			l.r.metrics.count(m)
		default:
			l.r.metrics.dropped.Inc()
			l.links[m.Global].end()
		}
	}
	if frozen {
		for _, link := range l.links {
			if link.end != nil {
				link.end()
			}
		}
	}
	l.r.note(l.core)
}

func (m *metrics) count(msg report.Message) {
	switch {
	case msg.Presence != nil:
		m.sent.WithLabelValues("presence").Add(float64(len(msg.Presence)))
	case msg.Region != nil:
		m.sent.WithLabelValues("region").Inc()
	case msg.Confirmation != nil:
		m.sent.WithLabelValues("confirmation").Inc()
	}
}

// note publishes what others may ask of the loop.
func (r *Reporter) note(core *report.Core) {
	active := core.Active(r.now())
	if r.active.Swap(active) != active {
		r.cfg.Logger.Info("reporter changed", "active", active)
		r.metrics.active.Set(0)
		if active {
			r.metrics.active.Set(1)
		}
	}
	alarm := core.Alarm()
	if old := r.alarm.Swap(&alarm); (old == nil || *old == "") && alarm != "" {
		r.cfg.Logger.Warn("reports are not taken", "err", alarm)
	}
}
