package quic

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// Config configures a Mesh.
type Config struct {
	Identity   *identity.Source // who this node is; required
	Fleet      string           // must be the certificate's
	Cluster    string           // "global" or "region/<name>"; must be the certificate's
	Generation Generation       // nodes of different generations refuse each other
	Node       record.Node      // must be the certificate's name
	Boot, Bits uint64           // of this start's writer
	Locality   string           // may be empty
	Gateway    string           // host:port of this node's gRPC if it is a gateway, else empty

	Bind      string         // host:port of the UDP port; port 0 picks one
	Advertise string         // host:port that peers dial; empty means Bind, which must then name an address
	Conn      net.PacketConn // nil opens Bind; else it is used and closed

	Seeds     []string // host:port of nodes to join through
	PeersFile string   // where known peers are kept over restarts; empty means nowhere

	Denied  func(record.Node) bool  // nil means nobody; asked again every second
	Wrote   func(mesh.Flow, []byte) // called with each frame that has entered a stream, by many goroutines; nil for none
	Logger  *slog.Logger            // nil discards
	Metrics prometheus.Registerer   // nil leaves metrics unregistered
}

// Generation is a cluster's incarnation.
type Generation struct {
	Number, Bits uint64
}

// String is the configured form, "1-00000000deadbeef".
func (g Generation) String() string { return fmt.Sprintf("%d-%016x", g.Number, g.Bits) }

// ParseGeneration reads what String gives.
func ParseGeneration(s string) (Generation, error) {
	number, bits, ok := strings.Cut(s, "-")
	n, err1 := strconv.ParseUint(number, 10, 64)
	b, err2 := strconv.ParseUint(bits, 16, 64)
	g := Generation{n, b}
	if !ok || err1 != nil || err2 != nil || g.String() != s {
		return Generation{}, fmt.Errorf("generation %q: want a number, a dash and 16 lower-case hex digits", s)
	}
	return g, nil
}

func (c Config) validate() error {
	var errs []error
	if c.Identity == nil {
		return errors.New("no identity")
	}
	id := c.Identity.ID()
	if err := identity.SameCluster(c.Fleet, c.Cluster)(id); err != nil {
		errs = append(errs, fmt.Errorf("certificate %v does not fit: %w", id, err))
	}
	if id.Name != string(c.Node) {
		errs = append(errs, fmt.Errorf("certificate %v does not fit node %q", id, c.Node))
	}
	if c.Locality != "" {
		errs = append(errs, fleet.CheckLocality(c.Locality))
	}
	if c.Boot == 0 {
		errs = append(errs, errors.New("boot is zero"))
	}
	if len(c.Gateway) > maxHostPort {
		errs = append(errs, fmt.Errorf("gateway address of %d bytes is over the limit of %d", len(c.Gateway), maxHostPort))
	}
	return errors.Join(errs...)
}

// advertised is the address that peers dial, given where the port is bound.
func (c Config) advertised(local net.Addr) (netip.AddrPort, error) {
	at := local.String()
	if c.Advertise != "" {
		host, port, err := net.SplitHostPort(c.Advertise)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("advertise %q: %w", c.Advertise, err)
		}
		if port == "0" {
			_, port, _ = net.SplitHostPort(local.String())
		}
		udp, err := net.ResolveUDPAddr("udp", net.JoinHostPort(host, port))
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("advertise %q: %w", c.Advertise, err)
		}
		at = udp.String()
	}
	addr, err := parseAddress(at)
	if err != nil {
		return addr, fmt.Errorf("advertised address: %w (set an address that peers can reach)", err)
	}
	return addr, nil
}

// parseAddress reads an IP literal and port that can be dialed.
func parseAddress(s string) (netip.AddrPort, error) {
	addr, err := netip.ParseAddrPort(s)
	if err != nil {
		return addr, fmt.Errorf("address %q is no IP literal and port", s)
	}
	if addr.Addr().IsUnspecified() || addr.Addr().IsMulticast() || addr.Port() == 0 {
		return addr, fmt.Errorf("address %q cannot be dialed", s)
	}
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), nil
}

// Limits. Each bounds what one peer can make this node hold.
const (
	maxHostPort = 300 // a DNS name of 253 bytes and a port

	queueFrames = 4096    // per peer and flow; about 2 s of a region's 2,000 rows/s
	queueBytes  = 8 << 20 // per peer and flow: four of the largest frames
	packetQueue = 128     // membership packets per peer; they are small and repeat
	packetInbox = 512     // membership packets from all peers
	maxAnswers  = 16      // questions of one peer answered at once
	answerTime  = 30 * time.Second

	maxLanes       = 96 // a global cluster has a lane per region: 64, with room to replace some
	incomingBidi   = 16 + maxAnswers
	incomingUni    = 16 // of a region: two flows, and frames on streams of their own
	incomingGlobal = 2*maxLanes + 16

	maxPeers = 4096 // names that are remembered; a cell has at most 256 nodes
)

// tuning is what tests make faster.
type tuning struct {
	probeInterval  time.Duration // between two SWIM probes
	probeTimeout   time.Duration // until a probe is tried through others
	suspicionMult  int           // suspicion lasts at least this many intervals, times log10(nodes)
	gossipInterval time.Duration
	pushPull       time.Duration // between two full exchanges
	deadMemory     time.Duration // how long SWIM remembers the dead
	rejoin         time.Duration // between two tries to reach lost peers and seeds
	idle           time.Duration // a connection without any packet for so long is closed
	tend           time.Duration // between two looks at what is missing
	young          time.Duration // a name refused as taken so soon after the start ends Run
	twinPing       time.Duration // how long a name's holder has to answer
	verify         time.Duration // how long a peer that membership calls dead has to object
	rotateOver     time.Duration // connections under an old certificate close within this
}

// tuningOf gives the times of a cluster. A region's nodes are near each other;
// global nodes may be 300 ms apart.
func tuningOf(cluster string) tuning {
	t := tuning{
		probeInterval:  300 * time.Millisecond,
		probeTimeout:   150 * time.Millisecond,
		suspicionMult:  5,
		gossipInterval: 100 * time.Millisecond,
		pushPull:       10 * time.Second,
		deadMemory:     30 * time.Second,
		rejoin:         5 * time.Second,
		idle:           10 * time.Second,
		tend:           250 * time.Millisecond,
		young:          15 * time.Second,
		twinPing:       time.Second,
		verify:         1500 * time.Millisecond,
		rotateOver:     10 * time.Minute,
	}
	if cluster == "global" {
		t.probeInterval = time.Second
		t.probeTimeout = 500 * time.Millisecond
		t.suspicionMult = 4
		t.gossipInterval = 200 * time.Millisecond
	}
	return t
}
