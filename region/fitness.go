package region

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica/runner"
	"github.com/firebreak-dev/firebreak/internal/store"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	"github.com/firebreak-dev/firebreak/region/fit"
	"github.com/firebreak-dev/firebreak/region/table"
	"github.com/firebreak-dev/firebreak/region/watch"
)

// The pace of catching up. Gateways confirm every two seconds; the others only
// say how far they can be believed.
const (
	roundFirst   = 250 * time.Millisecond // until fit for the first time
	roundGateway = time.Second
	roundOther   = 5 * time.Second
	askTime      = 2 * time.Second // for the answers of one round
	catchTime    = 3 * time.Second // to receive what they have
	rounds       = 4               // a node is believed this many rounds without success
)

// fitness is what a node knows of its own standing. Run owns the rounds.
type fitness struct {
	n       *Node
	kick    chan struct{}   // wants a round now
	done    watch.Broadcast // a round ended
	changed watch.Broadcast // the coverage of answers may have changed

	mu       sync.Mutex
	ever     bool        // was fit since its start
	last     round       // the last round that ended
	fitAt    time.Time   // begin of the last round that found it fit
	vouching []mesh.Peer // live peers that said that they are fit, in the last round
}

// round is one attempt to catch up with every known node.
type round struct {
	began    time.Time
	verdict  fit.Verdict
	withheld int // records, of any table
}

func newFitness(n *Node) *fitness {
	return &fitness{n: n, kick: make(chan struct{}, 1), last: round{verdict: fit.Verdict{Because: "not yet caught up since its start"}}}
}

// run makes rounds until ctx ends.
func (f *fitness) run(ctx context.Context) error {
	select {
	case <-f.n.hub.Ready():
	case <-ctx.Done():
		return nil
	}
	for {
		if err := f.round(ctx); err != nil && ctx.Err() == nil {
			f.n.log.Warn("could not judge fitness", "err", err)
			if backoff.Wait(ctx, roundFirst) != nil {
				return nil
			}
		}
		pause := time.NewTimer(f.period())
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-f.kick:
		case <-pause.C:
		}
		pause.Stop()
	}
}

func (f *fitness) period() time.Duration {
	switch {
	case !f.sinceStart():
		return roundFirst
	case f.n.cfg.Gateway:
		return roundGateway
	}
	return roundOther
}

// believed is how long after a good round began its verdict holds.
func (f *fitness) believed() time.Duration {
	return rounds*f.period() + askTime
}

func (f *fitness) round(ctx context.Context) error {
	r := round{began: time.Now()}
	known, err := f.n.known(ctx)
	if err != nil {
		return err
	}
	ask, cancel := context.WithTimeout(ctx, askTime)
	reports := f.n.runner.Survey(ask, known)
	cancel()
	answers, err := f.n.catchUp(ctx, reports)
	if err != nil {
		return err
	}
	all, claims, err := f.n.countWithheld(ctx)
	if err != nil {
		return err
	}
	r.withheld = all
	r.verdict = fit.Judge(fit.Round{Known: known, Answers: answers, Seedless: len(f.n.cfg.Seeds) == 0, Withheld: claims})
	f.conclude(r, answers)
	return nil
}

// conclude takes over the outcome of a round.
func (f *fitness) conclude(r round, answers map[record.Node]fit.Answer) {
	var vouching []mesh.Peer
	for _, p := range f.n.mesh.Peers() {
		if answers[p.Node].Fit && alive(p) {
			vouching = append(vouching, p)
		}
	}
	f.mu.Lock()
	news := f.last.verdict != r.verdict || f.last.withheld != r.withheld
	first := r.verdict.Fit && !f.ever
	f.last, f.vouching = r, vouching
	if r.verdict.Fit {
		f.ever, f.fitAt = true, r.began
	}
	f.mu.Unlock()
	f.done.Fire()
	if news {
		f.changed.Fire()
	}
	outcome := "unfit"
	if r.verdict.Fit {
		outcome = "fit"
	}
	f.n.metrics.rounds.WithLabelValues(outcome).Inc()
	f.n.metrics.fit.Set(0)
	if f.now() {
		f.n.metrics.fit.Set(1)
	}
	if first {
		f.n.log.Info("fit: caught up with the region since the start")
	}
}

// withheld is how many records the last round found withheld.
func (f *fitness) withheld() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last.withheld
}

// sinceStart reports whether this node has been fit since its start: what
// peers are told.
func (f *fitness) sinceStart() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ever
}

// now reports whether this node may speak for its region.
func (f *fitness) now() bool {
	limit := f.believed()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ever && time.Since(f.fitAt) <= limit
}

// because says why the node is not fit; empty if it is.
func (f *fitness) because() string {
	if f.now() {
		return ""
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last.verdict.Because != "" {
		return f.last.verdict.Because
	}
	return "the last rounds of catching up did not end"
}

// after waits for a round that began after the call, and returns why the node
// is not fit by it.
func (f *fitness) after(ctx context.Context) error {
	called := time.Now()
	for {
		done := f.done.Wait()
		f.mu.Lock()
		last := f.last
		f.mu.Unlock()
		if !last.began.Before(called) {
			if !last.verdict.Fit {
				return fmt.Errorf("not fit: %s", last.verdict.Because)
			}
			return nil
		}
		select {
		case f.kick <- struct{}{}:
		default:
		}
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// FitNow returns nil once this node has, since the call, caught up with enough
// of its region to speak for it; else why it may not.
func (n *Node) FitNow(ctx context.Context) error { return n.fit.after(ctx) }

// Coverage says how far this node's answers can be believed: live as of the
// begin of the last good round, else stale, with an age.
func (n *Node) Coverage() *clusterv1.Coverage {
	fitNow := n.fit.now()
	n.fit.mu.Lock()
	at, last := n.fit.fitAt, n.fit.last
	n.fit.mu.Unlock()
	out := &clusterv1.Coverage{Region: string(n.cfg.Region), Withheld: uint64(last.withheld)}
	if fitNow {
		out.State, out.AsOfUnixMs = clusterv1.CoverageState_COVERAGE_STATE_LIVE, at.UnixMilli()
		return out
	}
	if at.IsZero() {
		at = n.probes.newestBefore()
	}
	out.State, out.AgeMs, out.Detail = clusterv1.CoverageState_COVERAGE_STATE_STALE, max(time.Since(at).Milliseconds(), 0), last.verdict.Because
	return out
}

// known returns all known nodes of the region but this one.
func (n *Node) known(ctx context.Context) ([]record.Node, error) {
	evicted, err := n.evicted(ctx)
	if err != nil {
		return nil, err
	}
	var owners []record.Node
	for _, w := range n.hub.Owners() {
		owners = append(owners, record.Node(w))
	}
	for _, w := range n.hub.Workers() {
		owners = append(owners, record.Node(w.Worker))
	}
	var met []fit.Peer
	for _, p := range n.mesh.Peers() {
		met = append(met, fit.Peer{Node: p.Node, Boot: p.Boot})
	}
	writers := slices.Collect(maps.Keys(n.runner.Received()))
	return fit.Known(record.Node(n.cfg.Node), writers, owners, met, evicted), nil
}

func (n *Node) evicted(ctx context.Context) (map[record.Node]uint64, error) {
	snap, err := n.db.Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for evicted nodes: %w", err)
	}
	defer snap.Close()
	out := map[record.Node]uint64{}
	err = snap.Scan(table.Evicted, nil, func(row store.Row, _ record.Point, _ int64) error {
		out[record.Node(row[0].Data)] = uint64(max(row[1].Int, 0))
		return nil
	})
	return out, err
}

// catchUp waits until this node has, and its index shows, what the reports
// say, as far as that comes in time, and returns whom it caught up with.
func (n *Node) catchUp(ctx context.Context, reports []runner.Report) (map[record.Node]fit.Answer, error) {
	wait, cancel := context.WithTimeout(ctx, catchTime)
	defer cancel()
	if err := n.runner.WaitSets(wait, union(reports)); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	have := n.runner.Received()
	out := map[record.Node]fit.Answer{}
	for _, r := range reports {
		if r.Err == nil {
			out[r.Node] = fit.Answer{Fit: r.Fit, Caught: covers(have, r.Sets)}
		}
	}
	snap, err := n.db.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	return out, n.hub.WaitPosition(ctx, snap.Position())
}

func union(reports []runner.Report) map[record.Writer]record.Received {
	out := map[record.Writer]record.Received{}
	for _, r := range reports {
		for w, set := range r.Sets {
			out[w] = out[w].Union(set)
		}
	}
	return out
}

func covers(have, want map[record.Writer]record.Received) bool {
	for w, set := range want {
		if len(have[w].Minus(set)) > 0 {
			return false
		}
	}
	return true
}

// countWithheld counts the withheld records, and those of them that could be
// claims or reclaims. A record in another worker's name is none: it would never
// be shown, whatever happens, and whoever can write one could otherwise keep a
// region stale.
func (n *Node) countWithheld(ctx context.Context) (all, claims int, err error) {
	list, err := n.withheld(ctx)
	for _, w := range list {
		if (w.Table == table.Machines || w.Table == table.Reclaims) && w.Reason != store.ReasonOwner {
			claims++
		}
	}
	return len(list), claims, err
}

func (n *Node) withheld(ctx context.Context) ([]store.Withheld, error) {
	snap, err := n.db.Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for withheld records: %w", err)
	}
	defer snap.Close()
	list, err := snap.Withheld()
	if err != nil {
		return nil, fmt.Errorf("look for withheld records: %w", err)
	}
	return list, nil
}

// alive reports whether membership believes that a peer runs.
func alive(p mesh.Peer) bool { return p.State == mesh.Alive || p.State == mesh.Suspected }
