// Package access is the one table of who may call what: which roles a listener
// lets through its handshake, and which of them may call each gRPC method. What
// no rule names is refused. docs/reference/access.md is made from it.
package access

import (
	"fmt"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/identity"
)

// Local stands in the table beside the roles of certificates: whoever the mode
// of the unix socket's file lets in. No certificate can carry it.
const Local identity.Role = 0xff

// Rule lets roles call one method, or all methods of one service that have no
// rule of their own.
type Rule struct {
	Service string // full name
	Method  string // empty: every other method of the service
	Roles   []identity.Role
	Why     string
}

// Listener lets roles through the handshake of one kind of listener.
type Listener struct {
	Name  string // whose listener it is
	Roles []identity.Role
	// OwnRegion: a node or gateway must be of the listener's own region.
	OwnRegion bool
	Why       string
}

// Names of services that are not ours.
const (
	health     = "grpc.health.v1.Health"
	reflection = "grpc.reflection.v1.ServerReflection"
	reflectOld = "grpc.reflection.v1alpha.ServerReflection"
)

// rules never changes after it is made.
var rules = makeRules()

// Table returns the rules, in the order of the document.
func Table() []Rule { return slices.Clone(rules) }

func makeRules() []Rule {
	const (
		region = "firebreak.region.v1.RegionService"
		global = "firebreak.global.v1."
		router = "firebreak.router.v1.RouterService"
	)
	const write = "writes in the name of the node's own worker: its daemon on the host, or an operator"
	writers := []identity.Role{identity.Operator, Local}
	readers := []identity.Role{identity.Node, identity.Gateway, identity.Router, identity.Operator, identity.Client, Local}
	edges := []identity.Role{identity.Node, identity.Gateway, identity.Router, identity.Operator, identity.Client}
	directory := []identity.Role{identity.Router, identity.Operator, identity.Client}
	everyone := []identity.Role{identity.Node, identity.Gateway, identity.Global, identity.Router, identity.Operator, identity.Client, Local}
	return []Rule{
		{region, "Publish", writers, write},
		{region, "PublishStream", writers, write},
		{region, "Withdraw", writers, write},
		{region, "Reconcile", writers, write},
		{region, "SetHealth", writers, write},
		{region, "SetWorker", writers, write},
		{region, "Exec", writers, write},
		{region, "PlanSchema", writers, write},
		{region, "ApplySchema", writers, "changes the tables of a whole region"},
		{region, "", readers, "reads of one region"},
		{global + "ReportService", "", []identity.Role{identity.Gateway}, "a gateway reports for the region in its certificate, and for no other"},
		{global + "DirectoryService", "", directory, "the directory"},
		{global + "OperatorService", "", []identity.Role{identity.Operator}, "the list of regions"},
		{router, "", edges, "answers that span regions"},
		{"firebreak.admin.v1.AdminService", "", writers, "what this process is, which switches are set, what it withholds, whether its rows are sound, and its clock of shared tables"},
		{health, "", everyone, "load balancers and supervisors"},
		{reflection, "", everyone, "tools that know no schema"},
		{reflectOld, "", everyone, "tools that know no schema, older protocol"},
	}
}

// Listeners returns who gets through which handshake.
func Listeners() []Listener {
	return []Listener{
		{"region", []identity.Role{identity.Node, identity.Gateway, identity.Router, identity.Operator, identity.Client}, true,
			"another region's node is refused before it is read"},
		{"global", []identity.Role{identity.Gateway, identity.Router, identity.Operator, identity.Client}, false,
			"regions come in through their gateways only"},
		{"router", []identity.Role{identity.Node, identity.Gateway, identity.Router, identity.Operator, identity.Client}, false,
			"anything at the edge of any region may ask"},
		{"socket", []identity.Role{Local}, false,
			"the host's own processes, by the mode of the socket's file"},
	}
}

// Allowed reports whether a role may call a method, "/service/Method".
func Allowed(role identity.Role, fullMethod string) bool {
	r, ok := find(fullMethod)
	return ok && slices.Contains(r.Roles, role)
}

// find returns the rule of a method: its own, else its service's.
func find(fullMethod string) (Rule, bool) {
	service, method, ok := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	if !ok || method == "" {
		return Rule{}, false
	}
	var rest Rule
	for _, r := range rules {
		switch {
		case r.Service != service:
		case r.Method == method:
			return r, true
		case r.Method == "":
			rest = r
		}
	}
	return rest, rest.Service != ""
}

// Accept returns what a server of identity self asks of its callers in the
// handshake.
func Accept(self identity.ID) func(identity.ID) error {
	l := listenerOf(self)
	return func(caller identity.ID) error {
		switch {
		case caller.Fleet != self.Fleet:
			return fmt.Errorf("fleet %q, want %q", caller.Fleet, self.Fleet)
		case !slices.Contains(l.Roles, caller.Role):
			return fmt.Errorf("role %v has no business at a %s listener", caller.Role, l.Name)
		case l.OwnRegion && caller.Region != "" && caller.Region != self.Region:
			return fmt.Errorf("region %q, want %q", caller.Region, self.Region)
		}
		return nil
	}
}

// listenerOf returns the rule for a server of identity self; one of a role
// that serves nothing lets nobody in.
func listenerOf(self identity.ID) Listener {
	name := ""
	switch self.Role {
	case identity.Node, identity.Gateway:
		name = "region"
	case identity.Global:
		name = "global"
	case identity.Router:
		name = "router"
	}
	for _, l := range Listeners() {
		if l.Name == name {
			return l
		}
	}
	return Listener{Name: self.Role.String()}
}

// RoleName is the word for a role in the table, Local included.
func RoleName(r identity.Role) string {
	if r == Local {
		return "local"
	}
	return r.String()
}
