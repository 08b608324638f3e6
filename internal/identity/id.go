// Package identity says who a process is and checks who its peers are. An
// identity is one SPIFFE-style URI in a certificate: the fleet, the role, the
// region if the role has one, and a name.
//
// What it keeps true: TLS is 1.3 and mutual; a peer's certificate is of our
// authority, in its time, has exactly one URI of a known form and both key
// usages, and is of our fleet; then the caller's accept function judges it.
// All of this happens inside the handshake, so nothing is read of a peer that
// is refused, and every refusal is logged with the peer's address, its URI and
// the reason.
//
// A Source holds one process's certificate and re-reads it from its files when
// they change; a bad file never replaces a good one. An Authority is a small
// certificate authority for development and tests.
package identity

import (
	"errors"
	"fmt"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Role is what a process may be.
type Role uint8

// The roles. Zero is none.
const (
	Node     Role = 1 // a region node
	Gateway  Role = 2 // a region node that also reports and answers routers
	Global   Role = 3 // a global node
	Router   Role = 4
	Operator Role = 5 // a person or its tool
	Client   Role = 6 // a consumer: a proxy, a worker's daemon
)

// String is the role's word in logs and configuration.
func (r Role) String() string {
	switch r {
	case Node:
		return "node"
	case Gateway:
		return "gateway"
	case Global:
		return "global"
	case Router:
		return "router"
	case Operator:
		return "operator"
	case Client:
		return "client"
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// ID is one identity. Region is set for Node and Gateway, and only for them.
type ID struct {
	Fleet  string
	Role   Role
	Region string
	Name   string
}

const scheme = "spiffe://"

// String gives the URI: spiffe://<fleet>/ and then region/<r>/node/<name>,
// region/<r>/gateway/<name>, global/node/<name>, router/<name>,
// operator/<name> or client/<name>.
func (id ID) String() string {
	switch id.Role {
	case Node, Gateway:
		return scheme + id.Fleet + "/region/" + id.Region + "/" + id.Role.String() + "/" + id.Name
	case Global:
		return scheme + id.Fleet + "/global/node/" + id.Name
	}
	return scheme + id.Fleet + "/" + id.Role.String() + "/" + id.Name
}

// Cluster is the cluster that id may be a member of, "region/<r>" or "global",
// and empty for roles that are in none.
func (id ID) Cluster() string {
	switch id.Role {
	case Node, Gateway:
		return "region/" + id.Region
	case Global:
		return "global"
	}
	return ""
}

// Check reports every part of id that breaks the rules of names.
func (id ID) Check() error {
	errs := []error{fleet.CheckFleet(id.Fleet), fleet.Worker(id.Name).Check()}
	switch id.Role {
	case Node, Gateway:
		errs = append(errs, fleet.Region(id.Region).Check())
	case Global, Router, Operator, Client:
		if id.Region != "" {
			errs = append(errs, fmt.Errorf("role %v has no region, got %q", id.Role, id.Region))
		}
	default:
		errs = append(errs, fmt.Errorf("unknown role %d", uint8(id.Role)))
	}
	return errors.Join(errs...)
}

// Parse reads a URI. Only the exact forms that String gives are identities:
// no port, user, query, escape, trailing slash or other spelling.
func Parse(uri string) (ID, error) {
	rest, ok := strings.CutPrefix(uri, scheme)
	if !ok {
		return ID{}, fmt.Errorf("identity %q: want %s", uri, scheme)
	}
	var id ID
	switch p := strings.Split(rest, "/"); {
	case len(p) == 5 && p[1] == "region" && p[3] == "node":
		id = ID{Fleet: p[0], Role: Node, Region: p[2], Name: p[4]}
	case len(p) == 5 && p[1] == "region" && p[3] == "gateway":
		id = ID{Fleet: p[0], Role: Gateway, Region: p[2], Name: p[4]}
	case len(p) == 4 && p[1] == "global" && p[2] == "node":
		id = ID{Fleet: p[0], Role: Global, Name: p[3]}
	case len(p) == 3 && p[1] == "router":
		id = ID{Fleet: p[0], Role: Router, Name: p[2]}
	case len(p) == 3 && p[1] == "operator":
		id = ID{Fleet: p[0], Role: Operator, Name: p[2]}
	case len(p) == 3 && p[1] == "client":
		id = ID{Fleet: p[0], Role: Client, Name: p[2]}
	default:
		return ID{}, fmt.Errorf("identity %q: its path is of no known form", uri)
	}
	if err := id.Check(); err != nil {
		return ID{}, fmt.Errorf("identity %q: %w", uri, err)
	}
	return id, nil
}
