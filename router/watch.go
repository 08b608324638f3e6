package router

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
	"github.com/firebreak-dev/firebreak/router/directory"
	"github.com/firebreak-dev/firebreak/router/join"
	"github.com/firebreak-dev/firebreak/router/position"
)

const (
	maxWatchApps  = 100_000
	eventsPerTurn = 256 // of one region, before the next has its turn
	watchTick     = 500 * time.Millisecond
	watchRequests = 16 // that the client is ahead; it waits beyond
)

// Watch follows apps across regions. Nothing that the client sent is trusted
// and nothing that it fails to read holds anybody else up.
func (s *service) Watch(stream routerv1.RouterService_WatchServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	if hello == nil {
		return status.Error(codes.InvalidArgument, "the first request must be a hello")
	}
	w := &watching{
		service: s, core: join.NewSession(), stream: stream, bell: newBell(),
		subs: map[fleet.Region]join.Sub{}, said: map[fleet.Region]coverage.State{},
		from: s.positions(hello.GetPosition()),
	}
	s.watchers.enter(w.bell)
	s.metrics.watches.Inc()
	defer s.metrics.watches.Dec()
	defer s.watchers.leave(w.bell)
	defer w.leave()
	requests := make(chan *routerv1.WatchRequest, watchRequests)
	g, ctx := errgroup.WithContext(stream.Context())
	g.Go(func() error { return receive(ctx, stream, requests) })
	g.Go(func() error { return w.run(ctx, requests) })
	return g.Wait()
}

// receive hands over what the client asks. A client that has closed its side
// asks for nothing more, and goes on watching.
func receive(ctx context.Context, stream routerv1.RouterService_WatchServer, requests chan<- *routerv1.WatchRequest) error {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case requests <- req:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// watching is one client's stream. Owned by run.
type watching struct {
	*service
	core   *join.Session
	stream routerv1.RouterService_WatchServer
	bell   *bell
	subs   map[fleet.Region]join.Sub
	said   map[fleet.Region]coverage.State   // how each region stands to other apps, as told
	from   map[fleet.App][]position.Position // where the client goes on, until the app is announced
}

// positions reads where a client goes on.
func (s *service) positions(b []byte) map[fleet.App][]position.Position {
	all, bad := position.All(b)
	s.metrics.positions.WithLabelValues("refused").Add(float64(bad))
	s.metrics.positions.WithLabelValues("read").Add(float64(len(all)))
	out := map[fleet.App][]position.Position{}
	for _, p := range all {
		out[p.App] = append(out[p.App], p)
	}
	return out
}

func (w *watching) run(ctx context.Context, requests <-chan *routerv1.WatchRequest) error {
	t := time.NewTicker(watchTick)
	defer t.Stop()
	w.tick()
	more := false
	for {
		if !more {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case req := <-requests:
				if err := w.request(req); err != nil {
					return err
				}
			case <-w.bell.rung:
			case <-t.C:
				w.tick()
			}
		}
		for _, p := range w.bell.take() {
			w.moved(p)
		}
		more = w.drain()
		for _, app := range w.core.Announce(w.copy.names(), w.listAge(), w.stand, w.copy.now()) {
			delete(w.from, app) // what it did not go on with it has dropped
		}
		for _, resp := range w.core.Take() {
			if err := w.stream.Send(resp); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (w *watching) request(req *routerv1.WatchRequest) error {
	switch part := req.GetPart().(type) {
	case *routerv1.WatchRequest_AddApp:
		app := fleet.App(part.AddApp)
		if err := app.Check(); err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		if w.core.Len() >= maxWatchApps {
			return status.Errorf(codes.ResourceExhausted, "more than %d apps on one watch", maxWatchApps)
		}
		w.core.AddApp(app, w.copy.now())
		w.bell.want(app)
		for _, st := range w.copy.standings(app) {
			w.apply(app, st)
		}
	case *routerv1.WatchRequest_RemoveApp:
		app := fleet.App(part.RemoveApp)
		w.bell.unwant(app)
		delete(w.from, app)
		for _, region := range w.core.RemoveApp(app) {
			w.unsubscribe(region, app)
		}
	}
	return nil // acknowledgements are for delivery rings
}

// moved looks again at what changed in the directory.
func (w *watching) moved(p poke) {
	if p.app != "" {
		w.apply(p.app, w.stand(p.region, p.app))
		return
	}
	for _, app := range w.core.Apps() {
		w.apply(app, w.stand(p.region, app))
	}
}

func (w *watching) apply(app fleet.App, st directory.Standing) {
	switch w.core.Stand(app, st, func() bool { return w.clients.hub(st.Region).maySuspect(app) }) {
	case join.Subscribe:
		h := w.clients.hub(st.Region)
		if _, ok := w.subs[st.Region]; !ok {
			w.subs[st.Region] = h.enter(w.bell.ring)
		}
		i := slices.IndexFunc(w.from[app], func(p position.Position) bool { return p.Region == st.Region })
		if i < 0 {
			h.add(w.subs[st.Region], app)
			return
		}
		h.resume(w.subs[st.Region], w.from[app][i])
		w.from[app] = slices.Delete(w.from[app], i, i+1)
	case join.Unsubscribe:
		w.unsubscribe(st.Region, app)
	}
}

func (w *watching) unsubscribe(region fleet.Region, app fleet.App) {
	if sub, ok := w.subs[region]; ok {
		w.clients.hub(region).remove(sub, app)
	}
}

// drain lets every region have its turn and reports whether one wants another.
func (w *watching) drain() (more bool) {
	for _, region := range slices.Sorted(maps.Keys(w.subs)) {
		events, again := w.clients.hub(region).drain(w.subs[region], eventsPerTurn)
		w.core.Handle(region, events)
		more = more || again
		w.settle(region, events)
	}
	return more
}

// settle looks at the apps whose last machine may have gone: a withdrawal that
// came before its end was waiting for it.
func (w *watching) settle(region fleet.Region, events []join.Event) {
	for _, e := range events {
		if e.Kind == join.Gone || e.Kind == join.Status {
			w.apply(e.App, w.stand(region, e.App))
		}
	}
}

// tick tells how the list of regions stands, and how regions stand to apps that
// they are not known to run.
func (w *watching) tick() {
	w.core.List(w.listAge())
	for _, region := range w.copy.names() {
		st, ok := w.copy.standing(region, "")
		if ok && w.said[region] != st.Part.State {
			w.said[region] = st.Part.State
			w.core.Region(st.Part)
			w.moved(poke{region: region})
		}
	}
	for _, region := range w.core.Left().Regions() {
		w.doubt(region)
	}
}

// doubt looks again at the apps that are not proven to be absent in a region:
// at all of them once the region is proven; until then at as many as may be
// watched there.
func (w *watching) doubt(region fleet.Region) {
	if w.stand(region, "").MayPrune() {
		for _, app := range w.core.Left().Apps(region) {
			w.apply(app, w.stand(region, app))
		}
		return
	}
	for tried := 0; tried < watchBurst; tried++ {
		app, ok := w.core.Left().Next(region)
		if !ok {
			return
		}
		w.apply(app, w.stand(region, app))
	}
}

// stand returns how a region stands to an app; one that the directory does not
// have any more proves nothing.
func (w *watching) stand(region fleet.Region, app fleet.App) directory.Standing {
	st, ok := w.copy.standing(region, app)
	if !ok {
		st = directory.Standing{Region: region, Part: coverage.Part{Region: region, State: coverage.Unreachable, Age: -1, Detail: "the directory does not list it any more"}}
	}
	return st
}

func (w *watching) listAge() time.Duration {
	_, ever := w.copy.age()
	return ever
}

func (w *watching) leave() {
	for region, sub := range w.subs {
		w.clients.hub(region).leave(sub)
	}
}
