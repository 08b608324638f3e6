// Package catalog keeps the machines of the apps that an edge serves, in
// memory: which endpoints an app has, in the order in which to try them. It is
// made to be embedded; a proxy asks it for every request.
//
//	c, err := catalog.New(catalog.Config{Routers: routers, TLS: tlsConfig, Dir: "/var/lib/edge"})
//	go c.Run(ctx)
//	c.Watch("web")
//	view, ok := c.Lookup("web")
//
// What it keeps true:
//
//   - A lookup takes no lock and allocates nothing.
//   - What is known stays served: with every router and region down, and over a
//     restart of the process (from its own last-good file). Age then says how
//     old the answer is.
//   - A machine is taken out only on its region's word. That a region cannot
//     be reached, or answers from old state, never empties an app.
package catalog

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-dev/firebreak/router/catalog/core"
)

// Config configures a Client.
type Config struct {
	Routers  []string              // host:port, tried in random order; required
	TLS      *tls.Config           // with the edge's certificate; required
	Client   string                // name of this edge, for the router's listings
	Ring     string                // delivery ring; empty for none
	Locality string                // regions of this locality come first
	Dir      string                // directory of the last-good file; empty means none is kept
	Fleet    string                // empty means the fleet of TLS's certificate
	Logger   *slog.Logger          // nil discards
	Metrics  prometheus.Registerer // nil leaves metrics unregistered
}

func (c Config) validate() error {
	var errs []error
	if len(c.Routers) == 0 {
		errs = append(errs, errors.New("no routers"))
	}
	if c.TLS == nil {
		errs = append(errs, errors.New("TLS is missing"))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Fleet == "" {
		c.Fleet = fleetOf(c.TLS)
	}
	return c
}

// Endpoint is one machine to send traffic to.
type Endpoint = core.Endpoint

// Service is one port of a machine.
type Service = core.Service

// View is an answer about one app.
type View struct {
	Endpoints []Endpoint    // in the order in which to try them; shared, not to be written to
	Age       time.Duration // zero while everything is current, else how old the oldest part is
	Complete  bool          // every region that matters is accounted for
}

// Client keeps the catalog. Safe for concurrent use.
type Client struct {
	// Set by New, then constant.
	cfg     Config
	metrics *metrics
	table   *table
	kick    chan struct{} // of size 1: what is wanted has changed

	mu     sync.Mutex // guards wanted
	wanted map[string]struct{}

	changed atomic.Pointer[chan struct{}] // closed at the next change

	// Owned by Run, and by New before it.
	core    *core.Core
	current time.Time // when what is known was current last; zero while it is
	heard   bool      // a router said something in this process
}

// New reads the last-good file, if there is one: what it holds is served from
// now on. Run keeps it current.
func New(cfg Config) (*Client, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("catalog config: %w", err)
	}
	cfg = cfg.withDefaults()
	c := &Client{
		cfg: cfg, metrics: newMetrics(cfg.Metrics), table: newTable(), kick: make(chan struct{}, 1),
		wanted: map[string]struct{}{}, core: core.New(cfg.Locality), current: time.Now(),
	}
	first := make(chan struct{})
	c.changed.Store(&first)
	c.table.stale.Store(c.current.UnixNano())
	c.load()
	return c, nil
}

// Watch begins to keep an app. Apps of the last-good file are served before
// that, as they were.
func (c *Client) Watch(app string) {
	c.want(func() { c.wanted[app] = struct{}{} })
}

// Unwatch drops an app.
func (c *Client) Unwatch(app string) {
	c.want(func() { delete(c.wanted, app) })
}

func (c *Client) want(change func()) {
	c.mu.Lock()
	change()
	c.mu.Unlock()
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

func (c *Client) wants() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.wanted))
}

// Lookup returns what is known of an app; false if nothing ever was. It takes
// no lock and allocates nothing.
func (c *Client) Lookup(app string) (View, bool) {
	e, stale := c.table.get(app), c.table.stale.Load()
	switch {
	case e == nil && stale == 0:
		return View{}, false
	case e == nil:
		return View{Age: age(stale)}, false
	case stale != 0 || e.stale != 0:
		return View{Endpoints: e.view.Endpoints, Complete: e.view.Complete && stale == 0, Age: oldest(stale, e.stale)}, true
	}
	return e.view, true
}

// oldest is apart so that the common case reads no clock.
func oldest(all, part int64) time.Duration {
	if all == 0 || part != 0 && part < all {
		return age(part)
	}
	return age(all)
}

// Changed returns a channel that is closed when anything changed after the
// call. Take a new one before looking again.
func (c *Client) Changed() <-chan struct{} { return *c.changed.Load() }

// install shows what the core has made anew.
func (c *Client) install() {
	ready := c.core.Ready()
	if ready == nil {
		return
	}
	c.table.put(ready)
	c.metrics.installs.Inc()
	c.metrics.apps.Set(float64(c.table.len()))
	c.notify()
}

func (c *Client) notify() {
	next := make(chan struct{})
	close(*c.changed.Swap(&next))
}

// setStale says since when nothing is current; zero says that it is.
func (c *Client) setStale(since time.Time) {
	c.current = since
	if since.IsZero() {
		c.table.stale.Store(0)
	} else {
		c.table.stale.Store(since.UnixNano())
	}
	c.notify()
}
