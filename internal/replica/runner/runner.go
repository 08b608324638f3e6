// Package runner drives a replica.Core: it moves what the core decides between
// a store and a mesh. One goroutine owns the core; reading the feed, applying,
// renewing and serving snapshots have one each, so that disk and network never
// hold up a decision.
//
// A node has one runner per lane. The owner of the mesh's handler calls Frame,
// PeerChanged and Answer of the runner of the frame's lane.
package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// ErrStopped says that Run has ended.
var ErrStopped = errors.New("replication has stopped")

// Sender is what a runner needs of a mesh. If it also has
// SetWriter(boot, bits uint64), it is told of a renewed writer; if it has
// Drop(peer record.Node, why string), it is told of a peer to disconnect.
type Sender interface {
	Send(to record.Node, flow mesh.Flow, frame []byte) error
	Ask(ctx context.Context, to record.Node, question []byte) ([]byte, error)
	Peers() []mesh.Peer
}

// Config of a runner.
type Config struct {
	Node      record.Node           // required
	Lane      string                // the flow's lane; empty in a region's cluster
	Store     store.Store           // required
	Mesh      Sender                // required
	Packing   *replica.Packing      // makes frames small; may be shared by lanes; nil sends them as they are
	Fit       func() bool           // told to peers in answers to surveys; nil means never fit
	OnOwnTail func()                // called when an earlier writer of this node changed its own rows; may be nil, must not block
	Close     bool                  // close the earlier writers of this node, once it is time, and collect what may be
	Alone     bool                  // configured without seeds: closes its earlier writers though it knows nobody to ask
	Confirmed func() bool           // every row of the node's own is vouched for by who writes it; until then earlier writers are not closed; nil means always
	Ages      store.Ages            // of tombstones that are collected; zero means the defaults
	Freeze    func() bool           // true: send nothing; nil means false
	Seed      int64                 // of the choice of peers and of jitter
	Logger    *slog.Logger          // nil discards
	Metrics   prometheus.Registerer // nil leaves metrics unregistered
	Progress  func()                // the watchdog's mark of the loop; may be nil
}

func (c Config) validate() error {
	var errs []error
	for _, x := range []struct {
		missing bool
		what    string
	}{{c.Node == "", "node"}, {c.Store == nil, "store"}, {c.Mesh == nil, "mesh"}} {
		if x.missing {
			errs = append(errs, fmt.Errorf("no %s", x.what))
		}
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	no := func() bool { return false }
	if c.Fit == nil {
		c.Fit = no
	}
	if c.Freeze == nil {
		c.Freeze = no
	}
	if c.Confirmed == nil {
		c.Confirmed = func() bool { return true }
	}
	if c.Ages.Owned == 0 {
		c.Ages.Owned = store.OwnedAge
	}
	if c.Ages.Shared == 0 {
		c.Ages.Shared = store.SharedAge
	}
	if c.OnOwnTail == nil {
		c.OnOwnTail = func() {}
	}
	if c.Progress == nil {
		c.Progress = func() {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = c.Logger.With("lane", cmp.Or(c.Lane, "-"))
	return c
}

// eventQueue is how many events wait for the loop; beyond it those who bring
// them wait, each mesh flow on its own.
const eventQueue = 64

// Runner replicates one store over a mesh. Safe for concurrent use.
type Runner struct {
	// Set by New, then constant.
	cfg     Config
	events  chan replica.Event
	calls   chan func(*loop)
	applies chan []record.Delivery // the core has at most one out
	renews  chan uint64            // the core has at most one out
	takes   chan replica.TakePage  // so too
	closes  chan closingStep       // so too
	checks  chan struct{}          // so too
	serves  chan replica.Serve
	started chan struct{} // closed when the loop begins
	stopped chan struct{} // closed when it has ended
	warn    *rate.Limiter
	metrics *metrics

	collected, forgotten atomic.Uint64

	view view
}

// New returns a runner. Nothing happens before Run, which is called once.
func New(cfg Config) (*Runner, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("replica runner config: %w", err)
	}
	r := &Runner{
		cfg: cfg.withDefaults(), events: make(chan replica.Event, eventQueue), calls: make(chan func(*loop)),
		applies: make(chan []record.Delivery, 1), renews: make(chan uint64, 1), takes: make(chan replica.TakePage, 1), closes: make(chan closingStep, 1), checks: make(chan struct{}, 1), serves: make(chan replica.Serve),
		started: make(chan struct{}), stopped: make(chan struct{}), warn: rate.NewLimiter(1, 10),
	}
	r.view.init()
	if r.metrics = newMetrics(r); cfg.Metrics != nil {
		if err := cfg.Metrics.Register(r.metrics); err != nil {
			return nil, fmt.Errorf("register replica metrics: %w", err)
		}
	}
	return r, nil
}

// Run replicates until ctx ends. An error means that the store failed.
func (r *Runner) Run(ctx context.Context) error {
	if r.cfg.Metrics != nil {
		defer r.cfg.Metrics.Unregister(r.metrics)
	}
	all, feed, err := r.open(ctx)
	if err != nil {
		close(r.stopped)
		return quiet(ctx, err)
	}
	r.view.setWriter(r.cfg.Store.Writer())
	r.view.reload(all)
	l := newLoop(r, all)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { l.run(ctx); return nil })
	g.Go(func() error { return quiet(ctx, r.follow(ctx, feed)) })
	g.Go(func() error { return quiet(ctx, r.apply(ctx)) })
	g.Go(func() error { r.renew(ctx); return nil })
	g.Go(func() error { r.serve(ctx); return nil })
	g.Go(func() error { r.take(ctx); return nil })
	g.Go(func() error { r.closeEarlier(ctx); return nil })
	g.Go(func() error { r.check(ctx); return nil })
	if r.cfg.Close {
		g.Go(func() error { r.keep(ctx); return nil })
	}
	return g.Wait()
}

// quiet drops errors that only say that we were asked to stop.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// tell brings an event to the loop, unless that has ended.
func (r *Runner) tell(e replica.Event) {
	select {
	case r.events <- e:
	case <-r.stopped:
	}
}

// call has the loop run fn between two events. ErrStopped says that it did not
// and never will.
func (r *Runner) call(ctx context.Context, fn func(*loop)) error {
	done := make(chan struct{})
	select {
	case r.calls <- func(l *loop) { fn(l); close(done) }:
		<-done
		return nil
	case <-r.stopped:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Frame takes a frame of this runner's lane. It blocks while the runner is
// behind, or does not run yet, which holds up that flow of that peer only.
func (r *Runner) Frame(from mesh.Peer, class mesh.Class, frame []byte) {
	r.view.received(class, len(frame))
	r.tell(replica.Arrived{From: from.Node, Frame: frame})
}

// PeerChanged takes the mesh's word on a peer. A peer that goes on as it was
// is no change.
func (r *Runner) PeerChanged(p mesh.Peer, connected bool) {
	if !r.view.peerChanged(p, connected) {
		return
	}
	r.tell(r.members())
	if connected {
		r.tell(replica.Connected{Peer: p.Node})
	} else {
		r.tell(replica.Lost{Peer: p.Node})
	}
}

// report tells people what the core noticed, at a bounded rate.
func (r *Runner) report(p replica.Report) {
	level := slog.LevelDebug
	switch p.Kind {
	case replica.ReportDamage:
		level = slog.LevelError
	case replica.ReportMalformed, replica.ReportForeign, replica.ReportBoot, replica.ReportCap, replica.ReportDropped:
		level = slog.LevelWarn
	}
	if level > slog.LevelDebug && !r.warn.Allow() {
		level = slog.LevelDebug
	}
	r.cfg.Logger.Log(context.Background(), level, "replication noticed something wrong",
		"kind", string(p.Kind), "peer", string(p.Peer), "writer", p.Writer.String(), "err", p.Err)
}
