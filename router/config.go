package router

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/network"
)

// Config says what one router is.
type Config struct {
	Fleet         string           // name of the fleet
	Node          fleet.Worker     // its name, as in its certificate
	Locality      string           // regions of this locality are near; may be empty
	Data          string           // directory of the last-good file; it must exist
	Identity      *identity.Source // required
	GRPC          string           // host:port to listen on; port 0 takes any
	GRPCAdvertise string           // host:port that clients dial; empty means GRPC
	Admin         string           // host:port of the admin listener; empty means none
	Globals       []string         // host:port of global nodes' gRPC; one is followed at a time
	Network       network.Network  // nil is the host's
	Control       string           // control file; empty means none
	Version       string
	Logger        *slog.Logger         // nil discards
	Registry      *prometheus.Registry // nil leaves metrics unregistered
}

func (c Config) validate() error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	errs = append(errs, fleet.CheckFleet(c.Fleet), c.Node.Check())
	if c.Locality != "" {
		errs = append(errs, fleet.CheckLocality(c.Locality))
	}
	need(c.Data != "", "data directory is empty")
	need(c.Identity != nil, "identity is missing")
	need(c.GRPC != "", "gRPC address is empty")
	if c.Identity != nil {
		if id := c.Identity.ID(); id.Role != identity.Router || id.Fleet != c.Fleet || id.Name != string(c.Node) {
			errs = append(errs, fmt.Errorf("certificate is of %v, want router %q of fleet %q", id, c.Node, c.Fleet))
		}
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Network = network.Or(c.Network)
	return c
}

// Addresses is where a router listens.
type Addresses struct {
	GRPC  string
	Admin string // empty if there is none
}
