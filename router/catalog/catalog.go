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
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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

// Endpoint is one machine to send traffic to. Its slices are shared and must
// not be written to.
type Endpoint struct {
	Region, Worker, Machine, App string
	Locality                     string
	Addresses                    []string // IP literals that no earlier endpoint of the app has
	Services                     []Service
	Suspect                      bool // its node is dead or restarting: it comes last
	Contested                    bool // another place claims this machine too
	Moving                       bool // being handed over: it may be in two places
}

// Service is one port of a machine.
type Service struct {
	Name, Protocol string
	Port           uint32
}

// View is an answer about one app.
type View struct {
	Endpoints []Endpoint    // in the order in which to try them; shared, not to be written to
	Age       time.Duration // zero while a router keeps it current, else how old it is
	Complete  bool          // every region that matters is accounted for
}
