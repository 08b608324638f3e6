package router

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/router/directory"
	"github.com/firebreak-dev/firebreak/router/join"
	"github.com/firebreak-dev/firebreak/router/position"
)

const (
	hubTick     = time.Second
	idleStream  = 10 * time.Second // without an interest: the stream ends
	unfitSwitch = 5 * time.Second  // of a gateway that is not fit: the next is tried
	switchEvery = 30 * time.Second
	maxSuspects = 10_000 // apps of a region beyond which none is watched on suspicion; a gateway takes twice as many
)

// hub runs the watch of one region, for all clients. Safe for concurrent use.
type hub struct {
	// Set by newHub, then constant.
	name   fleet.Region
	client *regionClient
	self   string
	kick   chan struct{} // of size 1: there are requests to send

	mu    sync.Mutex // guards what follows; never held over I/O
	core  *join.Region
	wakes map[join.Sub]func()
	next  join.Sub

	// Owned by run.
	switched directory.Instant
}

func newHub(name fleet.Region, client *regionClient, self string) *hub {
	return &hub{
		name: name, client: client, self: self, kick: make(chan struct{}, 1),
		core: join.NewRegion(name), wakes: map[join.Sub]func(){},
	}
}

// enter makes a subscriber; wake is called, and must not block, when it is
// owed something.
func (h *hub) enter(wake func()) join.Sub {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next++
	h.wakes[h.next] = wake
	return h.next
}

func (h *hub) leave(sub join.Sub) {
	h.change(func(core *join.Region) { core.Leave(sub) })
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.wakes, sub)
}

func (h *hub) add(sub join.Sub, app fleet.App) {
	h.change(func(core *join.Region) { core.Add(sub, app, h.client.now()) })
}

// resume is add for who holds what there was at a position.
func (h *hub) resume(sub join.Sub, from position.Position) {
	h.change(func(core *join.Region) { core.Resume(sub, from, h.client.now()) })
}

func (h *hub) remove(sub join.Sub, app fleet.App) {
	h.change(func(core *join.Region) { core.Remove(sub, app) })
}

func (h *hub) drain(sub join.Sub, limit int) ([]join.Event, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.core.Drain(sub, limit, h.client.now())
}

// change works on the core and then wakes whoever is owed something, and the
// sender of requests.
func (h *hub) change(fn func(*join.Region)) {
	for _, wake := range h.changed(fn) {
		wake()
	}
	select {
	case h.kick <- struct{}{}:
	default:
	}
}

// changed gives back the lock whatever fn does: who reads this region's core
// serves other regions too.
func (h *hub) changed(fn func(*join.Region)) (wakes []func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.core.Resumes()
	fn(h.core)
	h.client.metrics.resumed(h.name, before, h.core.Resumes())
	for _, sub := range h.core.Touched() {
		if wake := h.wakes[sub]; wake != nil {
			wakes = append(wakes, wake)
		}
	}
	h.client.metrics.interests.WithLabelValues(string(h.name)).Set(float64(h.core.Apps()))
	return wakes
}

// maySuspect reports whether an app may be watched here only because it might
// be here: it costs nothing if it is watched anyway.
func (h *hub) maySuspect(app fleet.App) bool {
	h.mu.Lock()
	watched, full := h.core.Watches(app), h.core.Apps() >= maxSuspects
	h.mu.Unlock()
	return watched || !full && h.client.mayWatch()
}

func (h *hub) apps() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.core.Apps()
}

func (h *hub) requests() []*regionv1.WatchRequest {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.core.Requests()
}

// run keeps a stream to the region while anything is watched there.
func (h *hub) run(ctx context.Context) error {
	wait := backoff.New(backoff.Config{Base: 100 * time.Millisecond, Max: 5 * time.Second}, rand.Uint64())
	for {
		for h.apps() == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-h.kick:
			}
		}
		begun := time.Now()
		err := h.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		h.change(func(core *join.Region) { core.Lost(lostBecause(err), h.client.now()) })
		if errors.Is(err, errIdle) {
			continue
		}
		h.client.log.Warn("watch of a region lost", "region", h.name, "err", err)
		if time.Since(begun) > 10*time.Second {
			wait.Reset()
		}
		if h.linger(ctx, wait.Next()) != nil {
			return nil
		}
	}
}

// linger waits between attempts, and goes on showing how stale things are.
func (h *hub) linger(ctx context.Context, d time.Duration) error {
	err := backoff.Wait(ctx, d)
	h.change(func(core *join.Region) { core.Tick(h.client.now()) })
	return err
}

func lostBecause(err error) string { return fmt.Sprintf("its watch was lost: %v", err) }

var (
	errIdle   = errors.New("nothing is watched")
	errSilent = errors.New("the gateway fell silent")
	errUnfit  = errors.New("the gateway is not fit, trying another")
)

// follow holds one stream to one gateway.
func (h *hub) follow(ctx context.Context) (err error) {
	defer h.client.guard(&err)
	list, err := h.client.gateways()
	if err != nil {
		return err
	}
	gw := list[0]
	begun := h.client.now()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			err = cause
		}
		if !errors.Is(err, errIdle) {
			h.client.told(gw.address, 0, err)
		}
	}()
	stream, err := regionv1.NewRegionServiceClient(gw.conn).Watch(ctx)
	if err != nil {
		return err
	}
	hello := &regionv1.WatchHello{Client: "router/" + h.self}
	if err := stream.Send(&regionv1.WatchRequest{Part: &regionv1.WatchRequest_Hello{Hello: hello}}); err != nil {
		_, rerr := stream.Recv() // the reason comes this way
		return errors.Join(err, rerr)
	}
	h.client.metrics.streams.WithLabelValues(string(h.name)).Inc()
	h.change(func(core *join.Region) { core.Connected(position.Tag(gw.node), h.client.now()) })
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return h.send(gctx, stream, cancel, begun, len(list) > 1) })
	g.Go(func() error {
		err := h.receive(stream)
		cancel(err)
		return err
	})
	return g.Wait()
}

type watchStream = grpc.BidiStreamingClient[regionv1.WatchRequest, regionv1.WatchResponse]

// send sends requests as they come up, and looks after the stream.
func (h *hub) send(ctx context.Context, stream watchStream, cancel context.CancelCauseFunc, begun directory.Instant, others bool) error {
	t := time.NewTicker(hubTick)
	defer t.Stop()
	idle := h.client.now()
	for {
		for _, req := range h.requests() {
			if err := stream.Send(req); err != nil {
				<-ctx.Done() // the receiver learns why
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.kick:
		case <-t.C:
			h.change(func(core *join.Region) { core.Tick(h.client.now()) })
		}
		if h.apps() > 0 {
			idle = h.client.now()
		}
		if err := h.check(begun, idle, others); err != nil {
			cancel(err)
			return err
		}
	}
}

// check says why the stream should end, or nil.
func (h *hub) check(begun, idle directory.Instant, others bool) error {
	now := h.client.now()
	h.mu.Lock()
	silent, spoke := h.core.Silent(now)
	fit := h.core.Live()
	h.mu.Unlock()
	if !spoke {
		silent = now.Since(begun)
	}
	switch {
	case now.Since(idle) > idleStream:
		return errIdle
	case silent > coverage.Fresh:
		return errSilent
	case spoke && !fit && others && now.Since(begun) > unfitSwitch && now.Since(h.switched) > switchEvery:
		h.switched = now
		return errUnfit
	}
	return nil
}

// receive takes what the region sends until the stream ends.
func (h *hub) receive(stream watchStream) (err error) {
	defer h.client.guard(&err)
	for {
		msg, err := stream.Recv()
		if err != nil {
			return err
		}
		h.change(func(core *join.Region) {
			if err := core.Handle(msg, h.client.now()); err != nil {
				h.client.metrics.badRows.WithLabelValues(string(h.name)).Inc()
				h.client.log.Warn("region sent what cannot be read", "region", h.name, "err", err)
			}
		})
	}
}
