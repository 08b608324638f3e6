package region

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/mesh/quic"
	"github.com/firebreak-dev/firebreak/internal/network"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// Config of a region node.
type Config struct {
	Fleet      string           // name of the fleet; the certificate's
	Region     fleet.Region     // the certificate's
	Node       fleet.Worker     // the certificate's; also the worker whose machines this node speaks for
	Locality   string           // may be empty
	Generation quic.Generation  // of the region; nodes of another are refused
	Data       string           // directory of the database and the known peers; made if missing
	Identity   *identity.Source // required
	Seeds      []string         // host:port of nodes to join through; none: this node may be alone

	Gossip          string // host:port of the UDP port
	GossipAdvertise string // host:port that peers dial; empty means Gossip
	GRPC            string // host:port of the gRPC listener
	GRPCAdvertise   string // host:port that clients dial; empty means where GRPC listens
	Socket          string // path of the unix socket; empty means none
	Admin           string // host:port of the admin listener, loopback; empty means none
	HTTP            string // host:port of the HTTP API, loopback unless there is TLS; empty means none
	HTTPToken       string // bearer token that the HTTP API asks for; empty asks for none

	Gateway bool     // answers routers and reports to global; as the certificate says
	Globals []string // host:port of global nodes, for gateways

	CheckpointDir   string   // where copies of the database go; empty makes none
	CheckpointChild []string // command that runs a checkpoint child

	Schema     string               // directory of schema files, loaded at the start and when they change; empty means none
	Network    network.Network      // nil is the host's
	Durability sqlite.Durability    // of local writes; zero is fsync
	Control    string               // path of control.toml; empty means none
	Logger     *slog.Logger         // nil discards
	Registry   *prometheus.Registry // nil means one of its own
	Version    string               // of the program, for status

	// Now is the host's clock, as far as boots and shared tables go by it. Nil is
	// time.Now; tests give wrong ones.
	Now func() time.Time

	// Trip breaks the program on purpose: see the store's. Nil in production.
	Trip func(table string, row store.Row)
}

func (c Config) validate() error {
	errs := []error{fleet.CheckFleet(c.Fleet), c.Region.Check(), c.Node.Check()}
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	if c.Locality != "" {
		errs = append(errs, fleet.CheckLocality(c.Locality))
	}
	need(c.Data != "", "data directory is empty")
	need(c.Gossip != "", "gossip address is empty")
	need(c.GRPC != "", "gRPC address is empty")
	if c.Identity == nil {
		return errors.Join(append(errs, errors.New("identity is missing"))...)
	}
	id := c.Identity.ID()
	need(id.Fleet == c.Fleet && id.Region == string(c.Region) && id.Name == string(c.Node),
		"certificate %v is not that of node %q of region %q in fleet %q", id, c.Node, c.Region, c.Fleet)
	switch id.Role {
	case identity.Gateway:
		need(c.Gateway, "certificate %v is a gateway's, and the node is not configured as one", id)
	case identity.Node:
		need(!c.Gateway, "a gateway needs a gateway's certificate, and this is %v", id)
	default:
		need(false, "certificate %v is no region node's", id)
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
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Network = network.Or(c.Network)
	c.Logger = c.Logger.With("region", string(c.Region), "node", string(c.Node))
	return c
}

// cluster is the name of the node's cluster.
func (c Config) cluster() string { return "region/" + string(c.Region) }
