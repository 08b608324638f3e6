// Package config is the configuration file of each role: its keys, defaults,
// example and checks. A file is read strictly, and everything wrong with it is
// said at once, each with its line.
package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/configfile"
)

// Role is what `firebreak run` plays.
type Role string

// The roles.
const (
	RoleRegion Role = "region"
	RoleGlobal Role = "global"
	RoleRouter Role = "router"
)

// Roles lists them.
func Roles() []Role { return []Role{RoleRegion, RoleGlobal, RoleRouter} }

// ParseRole reads a role's word.
func ParseRole(s string) (Role, error) {
	if r := Role(s); slices.Contains(Roles(), r) {
		return r, nil
	}
	return "", fmt.Errorf("role %q: want region, global or router", s)
}

// Common is what every role's file has.
type Common struct {
	Fleet    string `toml:"fleet" doc:"name of the fleet, as in every certificate"`
	Node     string `toml:"node" doc:"name of this node, as in its certificate; a region node has its worker's name"`
	Locality string `toml:"locality" doc:"label that groups what is near; empty for none"`
	Data     string `toml:"data" doc:"directory of this process alone"`
	Admin    string `toml:"admin" doc:"host:port of loopback for /metrics, /livez, /readyz and /debug/pprof; empty for none"`
	Control  string `toml:"control" doc:"file with the kill switches, read again when it changes; it need not exist; empty for none"`
	TLS      TLS    `toml:"tls"`
	Log      Log    `toml:"log"`
}

// TLS is the process's certificate.
type TLS struct {
	Cert string `toml:"cert" doc:"certificate, PEM; read again when it changes"`
	Key  string `toml:"key" doc:"its key, PEM"`
	CA   string `toml:"ca" doc:"authorities of the fleet, PEM"`
}

// Log says what is logged; it goes to standard error.
type Log struct {
	Level  string `toml:"level" doc:"debug, info, warn or error"`
	Format string `toml:"format" doc:"text or json"`
}

// Gossip is the UDP port between the nodes of a cluster.
type Gossip struct {
	Listen    string   `toml:"listen" doc:"host:port of UDP to bind"`
	Advertise string   `toml:"advertise" doc:"host:port that the other nodes dial; empty means what is bound"`
	Seeds     []string `toml:"seeds" doc:"host:port of some other nodes of this cluster; several, so that one may be down; empty for the first node"`
}

// GRPC is the TCP port of the role's API.
type GRPC struct {
	Listen    string `toml:"listen" doc:"host:port of TCP to bind"`
	Advertise string `toml:"advertise" doc:"host:port that others dial; empty means what is bound"`
}

// Region is the file of a region node.
type Region struct {
	Common
	Region     string     `toml:"region" doc:"name of the region, as in the certificate"`
	Generation string     `toml:"generation" doc:"the region's incarnation, as 'firebreak region add' printed it; equal on all its nodes"`
	Durability string     `toml:"durability" doc:"fsync: an acknowledged write survives power loss; os: it survives kill -9"`
	Socket     string     `toml:"socket" doc:"unix socket for the worker's daemon; empty for none"`
	Globals    []string   `toml:"globals" doc:"host:port of the global nodes' gRPC; used by gateways"`
	Schema     string     `toml:"schema" doc:"schema files: a directory of *.sql, or one file; loaded at the start and again when they change; empty for none"`
	Gossip     Gossip     `toml:"gossip"`
	GRPC       GRPC       `toml:"grpc"`
	HTTP       HTTP       `toml:"http"`
	Checkpoint Checkpoint `toml:"checkpoint"`
}

// Checkpoint says where copies of the database go.
type Checkpoint struct {
	Dir string `toml:"dir" doc:"directory, of several nodes if you like, for copies of the database, best on another disk; empty makes none"`
}

// HTTP is the listener of the HTTP API: /v1, as Corrosion has it, and /api/v1.
type HTTP struct {
	Listen    string `toml:"listen" doc:"host:port of loopback; empty for none"`
	TokenFile string `toml:"token_file" doc:"file with the bearer token that every request must carry; empty asks for none"`
}

// Global is the file of a global node.
type Global struct {
	Common
	Durability string `toml:"durability" doc:"fsync: an acknowledged write survives power loss; os: it survives kill -9"`
	Brake      string `toml:"brake" doc:"enforce: hold mass withdrawals of a region; observe: only show them"`
	Gossip     Gossip `toml:"gossip"`
	GRPC       GRPC   `toml:"grpc"`
}

// Router is the file of a router.
type Router struct {
	Common
	Globals []string `toml:"globals" doc:"host:port of the global nodes' gRPC; one is followed at a time"`
	GRPC    GRPC     `toml:"grpc"`
}

// File is one role's configuration.
type File interface {
	// check returns everything wrong with the values.
	check() []configfile.Problem
	// Shared returns what every role has.
	Shared() *Common
}

// Shared makes Common part of a File.
func (c *Common) Shared() *Common { return c }

// defaults returns a role's file as it is before anything is read.
func defaults(role Role) File {
	common := Common{Log: Log{Level: "info", Format: "text"}}
	switch role {
	case RoleRegion:
		return &Region{Common: common, Durability: "fsync"}
	case RoleGlobal:
		return &Global{Common: common, Durability: "fsync", Brake: "enforce"}
	}
	return &Router{Common: common}
}

// Load reads and checks a role's file. What is wrong with its text is
// configfile.Problems.
func Load(role Role, file string) (File, error) {
	f := defaults(role)
	data, err := configfile.Read(file, f)
	if err != nil {
		return nil, err
	}
	return f, judge(f, file, data)
}

// Parse is Load of a text that is called file in errors.
func Parse(role Role, file string, data []byte) (File, error) {
	f := defaults(role)
	if err := configfile.Decode(file, data, f); err != nil {
		return nil, err
	}
	return f, judge(f, file, data)
}

func judge(f File, file string, data []byte) error {
	if problems := f.check(); len(problems) > 0 {
		return configfile.Locate(file, data, problems)
	}
	return nil
}

// Keys lists a role's keys with their defaults, top-level ones first.
func Keys(role Role) []configfile.Field {
	fields := configfile.Fields(defaults(role))
	slices.SortStableFunc(fields, func(a, b configfile.Field) int {
		return strings.Compare(tableOf(a.Key), tableOf(b.Key))
	})
	return fields
}

func tableOf(key string) string {
	table, _, ok := strings.Cut(key, ".")
	if !ok {
		return ""
	}
	return table
}
