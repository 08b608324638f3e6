package benchcmd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// watcher writes machines and waits for their events.
type watcher struct {
	*publisher
	routers places
	stop    context.CancelFunc
	ended   chan struct{} // closed when the stream has ended

	mu   sync.Mutex // guards wait and err
	wait map[string]chan struct{}
	err  error // why the stream ended
}

// openWatch is ready when the app is synced: before that there is nothing to
// measure.
func openWatch(ctx context.Context, f *flags) (operations, error) {
	routers, err := f.target.dial("router")
	if err != nil {
		return nil, err
	}
	p, err := newPublisher(f)
	if err != nil {
		return nil, errors.Join(err, routers.close())
	}
	follow, stop := context.WithCancel(ctx)
	w := &watcher{publisher: p, routers: routers, stop: stop, ended: make(chan struct{}), wait: map[string]chan struct{}{}}
	synced := make(chan struct{})
	go func() {
		defer close(w.ended)
		w.fail(at(routers[0], w.follow(follow, synced)))
	}()
	select {
	case <-synced:
		return w, nil
	case <-w.ended:
	case <-time.After(f.timeout):
		w.fail(fmt.Errorf("%s: app %s is not synced after %v", routers[0].name, f.app, f.timeout))
	case <-ctx.Done():
	}
	stop()
	<-w.ended
	return nil, errors.Join(w.failure(), p.nodes.close(), routers.close(), ctx.Err())
}

func (w *watcher) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

func (w *watcher) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// follow tells who waits of each event.
func (w *watcher) follow(ctx context.Context, synced chan<- struct{}) error {
	stream, err := routerv1.NewRouterServiceClient(w.routers[0].conn).Watch(ctx)
	if err != nil {
		return err
	}
	for _, req := range []*routerv1.WatchRequest{
		{Part: &routerv1.WatchRequest_Hello{Hello: &routerv1.WatchHello{Client: w.run}}},
		{Part: &routerv1.WatchRequest_AddApp{AddApp: w.app}},
	} {
		if err := stream.Send(req); err != nil {
			return err
		}
	}
	for {
		ev, err := stream.Recv()
		if err != nil {
			return err
		}
		if len(ev.GetPosition()) > 0 {
			ack := &routerv1.WatchAck{Position: ev.GetPosition()}
			if err := stream.Send(&routerv1.WatchRequest{Part: &routerv1.WatchRequest_Ack{Ack: ack}}); err != nil {
				return err
			}
		}
		if ev.GetAppSynced() != nil && synced != nil {
			close(synced)
			synced = nil
		}
		if m := ev.GetMachine(); m != nil {
			w.mu.Lock()
			if ch := w.wait[m.GetImage()]; ch != nil {
				close(ch)
				delete(w.wait, m.GetImage())
			}
			w.mu.Unlock()
		}
	}
}

func (w *watcher) do(ctx context.Context, i uint64, _ time.Time) error {
	image := fmt.Sprintf("%s@%d", w.run, i) // as publish makes it
	seen := make(chan struct{})
	w.mu.Lock()
	w.wait[image] = seen
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.wait, image)
		w.mu.Unlock()
	}()
	if _, err := w.publish(ctx, i); err != nil {
		return err
	}
	select {
	case <-seen:
		return nil
	case <-w.ended:
		return fmt.Errorf("the watch ended: %w", w.failure())
	case <-ctx.Done():
		return fmt.Errorf("%s: written, and not seen by the watch: %w", w.nodes.turn(i).name, ctx.Err())
	}
}

func (w *watcher) close(ctx context.Context) error {
	w.stop()
	<-w.ended
	return errors.Join(w.publisher.close(ctx), w.routers.close())
}
