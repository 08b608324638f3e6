package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/zeebo/xxh3"
	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/router/directory"
	"github.com/firebreak-dev/firebreak/router/plan"
)

// The share of each region. Nothing of it is shared with another.
const (
	maxAsks     = 64 // questions in hand; more are refused at once
	lookupRate  = 50 // questions a second on suspicion, where an app might be
	lookupBurst = 100
	watchRate   = 100 // apps a second that are watched on suspicion
	watchBurst  = 200
	hedgeRate   = 10 // questions a second that go to a second gateway too
	hedgeBurst  = 20
	avoidFor    = 3 * time.Second // a gateway that failed comes last
)

// regionClient talks to the gateways of one region. Safe for concurrent use.
type regionClient struct {
	// Set by newRegionClient, then constant.
	name    fleet.Region
	self    string // the router's name, by which gateways are shared out
	dial    func(addr string) (*grpc.ClientConn, error)
	record  func() presence.Region // what the region says of itself now
	now     func() directory.Instant
	log     *slog.Logger
	metrics *metrics
	slots   chan struct{} // the bulkhead

	mu      sync.Mutex // guards what follows; never held over I/O
	conns   map[string]*grpc.ClientConn
	failed  map[string]directory.Instant // address: when it failed last
	breaker plan.Breaker
	latency plan.Latency
	hedges  plan.Budget
	budget  plan.Budget
	watches plan.Budget
	answers plan.Answers
	closed  bool
}

// newRegionClient completes c, whose constant fields are set.
func newRegionClient(c *regionClient) *regionClient {
	c.slots = make(chan struct{}, maxAsks)
	c.conns = map[string]*grpc.ClientConn{}
	c.failed = map[string]directory.Instant{}
	c.hedges = plan.Budget{Rate: hedgeRate, Burst: hedgeBurst}
	c.budget = plan.Budget{Rate: lookupRate, Burst: lookupBurst}
	c.watches = plan.Budget{Rate: watchRate, Burst: watchBurst}
	return c
}

// gateway is one way into the region.
type gateway struct {
	node    fleet.Worker
	address string
	conn    *grpc.ClientConn
}

var errNoGateway = errors.New("the directory names no gateway of the region")

// gateways returns the ways into the region in the order in which to try them:
// shared out over the routers, those that failed a moment ago last. It opens
// and closes connections as the region's record says.
func (c *regionClient) gateways() ([]gateway, error) {
	list := slices.Clone(c.record().Gateways)
	if len(list) == 0 {
		return nil, errNoGateway
	}
	slices.SortFunc(list, func(a, b presence.Gateway) int {
		return cmp.Compare(xxh3.HashString(c.self+"\x00"+string(a.Node)), xxh3.HashString(c.self+"\x00"+string(b.Node)))
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.New("the router is stopping")
	}
	c.closeUnlisted(list)
	var out, avoided []gateway
	var errs []error
	for _, g := range list {
		conn, ok := c.conns[g.Address]
		if !ok {
			var err error
			if conn, err = c.dial(g.Address); err != nil { // does not connect yet
				errs = append(errs, err)
				continue
			}
			c.conns[g.Address] = conn
		}
		if at, ok := c.failed[g.Address]; ok && c.now().Since(at) < avoidFor {
			avoided = append(avoided, gateway{g.Node, g.Address, conn})
		} else {
			out = append(out, gateway{g.Node, g.Address, conn})
		}
	}
	if out = append(out, avoided...); len(out) == 0 {
		return nil, errors.Join(errs...)
	}
	return out, nil
}

// closeUnlisted closes connections to former gateways. Closing a connection
// of gRPC waits for nobody.
func (c *regionClient) closeUnlisted(list []presence.Gateway) {
	for addr, conn := range c.conns {
		if !slices.ContainsFunc(list, func(g presence.Gateway) bool { return g.Address == addr }) {
			_ = conn.Close()
			delete(c.conns, addr)
			delete(c.failed, addr)
		}
	}
}

// close ends all connections.
func (c *regionClient) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.closeUnlisted(nil)
}

// allow asks the breaker.
func (c *regionClient) allow() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.breaker.Allow(c.now())
}

// done tells the breaker the outcome.
func (c *regionClient) done(ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.breaker.Done(ok, c.now(), rand.Float64())
}

// told notes what became of one attempt at a gateway.
func (c *regionClient) told(address string, took time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.latency.Add(took)
		delete(c.failed, address)
	case !errors.Is(err, context.Canceled):
		c.failed[address] = c.now()
	}
}

// hedgeAfter returns when to try a second gateway.
func (c *regionClient) hedgeAfter() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latency.P95()
}

func (c *regionClient) mayHedge() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hedges.Take(c.now())
}

// maySuspect takes a share of what may be asked where an app only might be.
func (c *regionClient) maySuspect() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.budget.Take(c.now())
}

// mayWatch is the same for watches.
func (c *regionClient) mayWatch() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watches.Take(c.now())
}

func (c *regionClient) remembered(app fleet.App) (plan.Answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answers.Get(app, c.now())
}

func (c *regionClient) remember(app fleet.App, a plan.Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a.At = c.now()
	c.answers.Put(app, a)
}

// guard turns a panic while reading what a region sent into an error of that
// region alone.
func (c *regionClient) guard(err *error) {
	if p := recover(); p != nil {
		c.log.Error("reading a region's answer panicked", "region", c.name, "panic", p)
		*err = fmt.Errorf("region %s: its answer could not be read: %v", c.name, p)
	}
}
