package router

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
	"github.com/firebreak-dev/firebreak/router/directory"
)

// listener is a client's stream. It reads what the test asks for.
type listener struct {
	grpc.ServerStream
	ctx context.Context
	in  chan *routerv1.WatchRequest
	out chan *routerv1.WatchResponse
}

func (l *listener) Context() context.Context { return l.ctx }

func (l *listener) Recv() (*routerv1.WatchRequest, error) {
	select {
	case req := <-l.in:
		return req, nil
	case <-l.ctx.Done():
		return nil, io.EOF
	}
}

func (l *listener) Send(resp *routerv1.WatchResponse) error {
	select {
	case l.out <- resp:
		return nil
	case <-l.ctx.Done():
		return l.ctx.Err()
	}
}

// next reads up to the next answer that wants takes.
func (l *listener) next(t *testing.T, want func(*routerv1.WatchResponse) bool) *routerv1.WatchResponse {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case resp := <-l.out:
			if want(resp) {
				return resp
			}
		case <-deadline:
			t.Fatal("no such answer in time")
		}
	}
}

// A watch that nobody changes stops being complete when no global node has
// confirmed the list of regions for 15 s, and is so again when one has.
func TestWatchSaysWhenTheListOfRegionsIsOld(t *testing.T) {
	var passed atomic.Int64
	now := func() directory.Instant {
		d := time.Duration(passed.Load())
		return directory.Instant{Wall: int64(time.Hour) + int64(d), Mono: d}
	}
	m := newMetrics(nil)
	c := newCopy("test", 1, now)
	c.merge(directory.Entry{Region: "iad", Rank: "1", Record: &presence.Region{Name: "iad"}})
	c.hear("g1", now())
	s := &service{copy: c, watchers: newWatchers(), metrics: m}
	s.clients = newRegions(&regions{
		now: now, log: slog.New(slog.DiscardHandler), metrics: m,
		record: func(fleet.Region) presence.Region { return presence.Region{} },
		dial:   func(string, fleet.Region) (*grpc.ClientConn, error) { return nil, errNoGateway },
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- s.clients.run(ctx) }()
	l := &listener{ctx: ctx, in: make(chan *routerv1.WatchRequest, 1), out: make(chan *routerv1.WatchResponse)}
	go func() { _ = s.Watch(l); ended <- nil }()
	defer func() { cancel(); <-ended; <-ended }()
	l.in <- &routerv1.WatchRequest{Part: &routerv1.WatchRequest_Hello{Hello: &routerv1.WatchHello{}}}
	isList := func(resp *routerv1.WatchResponse) bool { return resp.GetList() != nil }
	passed.Store(int64(16 * time.Second))
	if got := l.next(t, isList).GetList(); got.GetCurrent() || got.GetAgeMs() != 16_000 {
		t.Errorf("after 16 s: %v", got)
	}
	c.hear("g1", now())
	if got := l.next(t, isList).GetList(); !got.GetCurrent() {
		t.Errorf("confirmed again: %v", got)
	}
}
