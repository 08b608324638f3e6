package global

import (
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/network"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// Config of a Node.
type Config struct {
	Fleet    string
	Node     fleet.Worker
	Locality string           // empty for none
	Data     string           // directory of this node alone: a database per lane, and peers; made if missing
	Identity *identity.Source // a certificate of role global; required

	Gossip          string   // UDP host:port to bind; port 0 for any
	GossipAdvertise string   // what peers dial; empty means as bound
	Seeds           []string // UDP host:port of other global nodes; none means that this node starts alone
	GRPC            string   // TCP host:port to bind
	GRPCAdvertise   string   // empty means as bound
	Admin           string   // host:port of the admin listener; empty for none

	Network      network.Network // nil is the host's
	Control      string          // the switches' file; empty for none
	Durability   sqlite.Durability
	BrakeObserve bool                 // mass withdrawals are shown as held and let through
	Logger       *slog.Logger         // nil discards
	Registry     *prometheus.Registry // nil makes one
	Version      string
}

func (c Config) validate() error {
	errs := []error{fleet.CheckFleet(c.Fleet), c.Node.Check()}
	if c.Locality != "" {
		errs = append(errs, fleet.CheckLocality(c.Locality))
	}
	for _, need := range []struct {
		ok   bool
		what string
	}{
		{c.Data != "", "data directory"},
		{c.Identity != nil, "identity"},
		{c.Gossip != "", "gossip address"},
		{c.GRPC != "", "gRPC address"},
	} {
		if !need.ok {
			errs = append(errs, errors.New(need.what+" is missing"))
		}
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	c.Network = network.Or(c.Network)
	return c
}
