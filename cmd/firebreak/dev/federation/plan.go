package federation

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/identity"
)

// Fleet is the name of every federation that dev makes: each has a certificate
// authority of its own, which keeps two of them apart.
const Fleet = "dev"

// gateways of each region: its first nodes.
const gatewaysPerRegion = 2

// The limits of one machine.
const (
	maxRegions = 64
	maxWorkers = 256
	maxGlobals = 16
	maxRouters = 16
	maxNodes   = 300
)

// Role is what a node is run as.
type Role string

// The roles.
const (
	Region Role = "region"
	Global Role = "global"
	Router Role = "router"
)

// Spec says how large a federation is.
type Spec struct {
	Regions []fleet.Region `json:"regions"`
	Workers int            `json:"workers"` // of each region
	Globals int            `json:"globals"`
	Routers int            `json:"routers"`

	// Sites are set in a flat federation only: its one region has the workers
	// of all of them, named as they would be in regions of their own.
	Sites []fleet.Region `json:"sites,omitempty"`
}

// FlatRegion is the name of the one region of a flat federation.
const FlatRegion fleet.Region = "flat"

// Flat returns the same federation as one region.
func (s Spec) Flat() Spec {
	s.Sites, s.Regions = s.Regions, []fleet.Region{FlatRegion}
	s.Workers *= len(s.Sites)
	return s
}

// Where lists the sites of workers: the regions, or what they would be in a
// flat federation.
func (s Spec) Where() []fleet.Region {
	if len(s.Sites) > 0 {
		return s.Sites
	}
	return s.Regions
}

// Check reports every problem at once.
func (s Spec) Check() error {
	var errs []error
	if len(s.Regions) == 0 {
		errs = append(errs, errors.New("regions: want at least one"))
	}
	for i, r := range s.Regions {
		if err := r.Check(); err != nil {
			errs = append(errs, fmt.Errorf("regions: %w", err))
		} else if slices.Contains(s.Regions[:i], r) {
			errs = append(errs, fmt.Errorf("regions: %s is named twice", r))
		}
	}
	within := func(what string, n, lo, hi int) {
		if n < lo || n > hi {
			errs = append(errs, fmt.Errorf("%s: %d is not in %d..%d", what, n, lo, hi))
		}
	}
	within("regions", len(s.Regions), 0, maxRegions)
	within("workers", s.Workers, 1, maxWorkers)
	within("globals", s.Globals, 1, maxGlobals)
	within("routers", s.Routers, 1, maxRouters)
	if n := len(s.Regions)*s.Workers + s.Globals + s.Routers; len(errs) == 0 && n > maxNodes {
		errs = append(errs, fmt.Errorf("%d nodes are over the limit of %d on one machine", n, maxNodes))
	}
	return errors.Join(errs...)
}

// Node is one node of a plan. Its addresses are host:port.
type Node struct {
	Role    Role         `json:"role"`
	Region  fleet.Region `json:"region,omitempty"` // of region nodes only
	Name    fleet.Worker `json:"name"`
	Site    fleet.Region `json:"site,omitempty"` // of the nodes of a flat region
	Gateway bool         `json:"gateway,omitempty"`
	Gossip  string       `json:"gossip,omitempty"` // UDP; routers have none
	GRPC    string       `json:"grpc"`
	Admin   string       `json:"admin"`
	HTTP    string       `json:"http,omitempty"` // of region nodes only
}

// String gives region/name, global/name or router/name: also the node's
// directory below that of the federation.
func (n Node) String() string {
	if n.Role == Region {
		return string(n.Region) + "/" + string(n.Name)
	}
	return string(n.Role) + "/" + string(n.Name)
}

// Where is the node's site: its region, but in a flat federation.
func (n Node) Where() fleet.Region {
	if n.Site != "" {
		return n.Site
	}
	return n.Region
}

// Place is where a region node's machines are.
func (n Node) Place() truth.Place { return truth.Place{Region: n.Region, Worker: n.Name} }

// ID is what the node's certificate says.
func (n Node) ID() identity.ID {
	id := identity.ID{Fleet: Fleet, Name: string(n.Name)}
	switch {
	case n.Role == Global:
		id.Role = identity.Global
	case n.Role == Router:
		id.Role = identity.Router
	case n.Gateway:
		id.Role, id.Region = identity.Gateway, string(n.Region)
	default:
		id.Role, id.Region = identity.Node, string(n.Region)
	}
	return id
}

// Plan is a federation as it lies on disk: what --resume goes on with.
type Plan struct {
	Spec        Spec                                 `json:"spec"`
	Generations map[fleet.Region]presence.Generation `json:"generations"`
	Nodes       []Node                               `json:"nodes"` // globals, region nodes by place, routers
}

// NewPlan names the nodes and gives the regions generations. Ports come later.
func NewPlan(s Spec) (Plan, error) {
	p := Plan{Spec: s, Generations: map[fleet.Region]presence.Generation{}}
	for i := range s.Globals {
		p.Nodes = append(p.Nodes, Node{Role: Global, Name: name("global", i)})
	}
	var workers []Node
	for _, r := range s.Regions {
		var bits [8]byte
		if _, err := rand.Read(bits[:]); err != nil {
			return Plan{}, fmt.Errorf("generation of region %s: %w", r, err)
		}
		p.Generations[r] = presence.Generation{Number: 1, Bits: binary.BigEndian.Uint64(bits[:])}
		workers = append(workers, s.workers(r)...)
	}
	slices.SortFunc(workers, func(a, b Node) int { return a.Place().Compare(b.Place()) })
	p.Nodes = append(p.Nodes, workers...)
	for i := range s.Routers {
		p.Nodes = append(p.Nodes, Node{Role: Router, Name: name("router", i)})
	}
	return p, nil
}

// workers names the nodes of a region.
func (s Spec) workers(r fleet.Region) []Node {
	var out []Node
	if len(s.Sites) == 0 {
		for i := range s.Workers {
			out = append(out, Node{Role: Region, Region: r, Name: name(string(r), i), Gateway: i < gatewaysPerRegion})
		}
		return out
	}
	for _, site := range s.Sites {
		for i := range s.Workers / len(s.Sites) {
			out = append(out, Node{Role: Region, Region: r, Site: site, Name: name(string(site), i), Gateway: len(out) < gatewaysPerRegion})
		}
	}
	return out
}

func name(prefix string, i int) fleet.Worker { return fleet.Worker(fmt.Sprintf("%s-%d", prefix, i+1)) }

// Of returns the nodes of a role, in the order of the plan.
func (p Plan) Of(role Role) []Node {
	return slices.DeleteFunc(slices.Clone(p.Nodes), func(n Node) bool { return n.Role != role })
}

// In returns the nodes of a region.
func (p Plan) In(r fleet.Region) []Node {
	return slices.DeleteFunc(p.Of(Region), func(n Node) bool { return n.Region != r })
}

// At returns the nodes of a site.
func (p Plan) At(site fleet.Region) []Node {
	return slices.DeleteFunc(p.Of(Region), func(n Node) bool { return n.Where() != site })
}

// Places returns the workers in the order of placement.
func (p Plan) Places() []truth.Place {
	var out []truth.Place
	for _, n := range p.Of(Region) {
		out = append(out, n.Place())
	}
	slices.SortFunc(out, truth.Place.Compare)
	return out
}

// maxSeeds bounds how many peers a node is told of at its start.
const maxSeeds = 5

// Seeds returns the gossip addresses of some peers of n: those that come after
// it, around the end, so that nobody is everybody's seed.
func (p Plan) Seeds(n Node) []string {
	peers := p.Of(n.Role)
	if n.Role == Region {
		peers = p.In(n.Region)
	}
	at := slices.Index(peers, n)
	var out []string
	for i := 1; i < len(peers) && len(out) < maxSeeds; i++ {
		out = append(out, peers[(at+i)%len(peers)].Gossip)
	}
	return out
}

// GlobalAddresses returns where the global nodes answer.
func (p Plan) GlobalAddresses() []string {
	var out []string
	for _, n := range p.Of(Global) {
		out = append(out, n.GRPC)
	}
	return out
}

// paths says where things lie below the directory of a federation.
type paths struct {
	dir    string
	socket string // directory of the unix sockets
}

func (p paths) node(n Node) string { return filepath.Join(p.dir, filepath.FromSlash(n.String())) }

func (p paths) authority() string { return filepath.Join(p.dir, "ca") }

// db is the database: the file of a region node, the directory of a global
// node with its file per lane, the directory of a router with its last good.
func (p paths) db(n Node) string {
	if n.Role == Region {
		return filepath.Join(p.node(n), "node.db")
	}
	return p.node(n)
}

// maxSocketPath is what a unix socket's path may take on Linux, less its end.
const maxSocketPath = 100

func (p paths) socketOf(n Node) string {
	if n.Role != Region {
		return ""
	}
	if p.socket == "" {
		return filepath.Join(p.node(n), "socket")
	}
	return filepath.Join(p.socket, strings.ReplaceAll(n.String(), "/", "."))
}

func (p paths) identity(id identity.ID) identity.Files {
	var dir string
	switch id.Role {
	case identity.Node, identity.Gateway:
		dir = filepath.Join(p.dir, id.Region, id.Name)
	case identity.Global:
		dir = filepath.Join(p.dir, string(Global), id.Name)
	case identity.Router:
		dir = filepath.Join(p.dir, string(Router), id.Name)
	default:
		dir = filepath.Join(p.dir, "ca", id.Role.String())
	}
	return identity.Files{
		Cert: filepath.Join(dir, "cert.pem"),
		Key:  filepath.Join(dir, "key.pem"),
		CA:   filepath.Join(p.authority(), identity.AuthorityCert),
	}
}
