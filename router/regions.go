package router

import (
	"context"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/router/directory"
)

// regions holds what the router has of each region: its client and its watch.
// Safe for concurrent use.
type regions struct {
	// Set by New, then constant.
	self    fleet.Worker
	dial    func(addr string, region fleet.Region) (*grpc.ClientConn, error)
	record  func(fleet.Region) presence.Region
	now     func() directory.Instant
	log     *slog.Logger
	metrics *metrics
	begin   chan *hub     // to run; unbuffered: run takes it at once
	over    chan struct{} // closed when run ends

	mu      sync.Mutex // guards what follows; held for a few instructions
	clients map[fleet.Region]*regionClient
	hubs    map[fleet.Region]*hub
}

// newRegions completes r, whose constant fields are set.
func newRegions(r *regions) *regions {
	r.begin, r.over = make(chan *hub), make(chan struct{})
	r.clients, r.hubs = map[fleet.Region]*regionClient{}, map[fleet.Region]*hub{}
	return r
}

// run runs the watches of regions as they are needed, until ctx ends. One that
// fails is its region's trouble alone.
func (r *regions) run(ctx context.Context) error {
	defer r.closeAll()
	g, ctx := errgroup.WithContext(ctx)
	defer close(r.over)
	for {
		select {
		case h := <-r.begin:
			g.Go(func() error { return h.run(ctx) })
		case <-ctx.Done():
			return g.Wait()
		}
	}
}

// get returns the client of a region.
func (r *regions) get(name fleet.Region) *regionClient {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.getLocked(name)
}

func (r *regions) getLocked(name fleet.Region) *regionClient {
	c := r.clients[name]
	if c == nil {
		c = newRegionClient(&regionClient{
			name: name, self: string(r.self), now: r.now, log: r.log, metrics: r.metrics,
			dial:   func(addr string) (*grpc.ClientConn, error) { return r.dial(addr, name) },
			record: func() presence.Region { return r.record(name) },
		})
		r.clients[name] = c
	}
	return c
}

// hub returns the watch of a region, which runs from then on.
func (r *regions) hub(name fleet.Region) *hub {
	r.mu.Lock()
	h, ok := r.hubs[name]
	if !ok {
		h = newHub(name, r.getLocked(name), string(r.self))
		r.hubs[name] = h
	}
	r.mu.Unlock()
	if !ok {
		select {
		case r.begin <- h:
		case <-r.over:
		}
	}
	return h
}

func (r *regions) closeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.clients {
		c.close()
	}
}
