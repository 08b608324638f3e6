package access_test

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/firebreak-dev/firebreak/internal/access"
	"github.com/firebreak-dev/firebreak/internal/identity"

	_ "google.golang.org/grpc/health/grpc_health_v1"
	_ "google.golang.org/grpc/reflection/grpc_reflection_v1"
	_ "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"

	_ "github.com/firebreak-dev/firebreak/proto/firebreak/admin/v1"
	_ "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
	_ "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	_ "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

var everyRole = []identity.Role{
	identity.Node, identity.Gateway, identity.Global, identity.Router, identity.Operator, identity.Client, access.Local,
}

// methods lists every method that some server of ours can have.
func methods() map[string]bool {
	out := map[string]bool{}
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				out["/"+string(s.FullName())+"/"+string(s.Methods().Get(j).Name())] = true
			}
		}
		return true
	})
	return out
}

// want is written out, method by method, by hand: a new method fails until
// somebody has decided who may call it.
var want = map[string]string{
	"/firebreak.region.v1.RegionService/Publish":       "operator local",
	"/firebreak.region.v1.RegionService/PublishStream": "operator local",
	"/firebreak.region.v1.RegionService/Withdraw":      "operator local",
	"/firebreak.region.v1.RegionService/Reconcile":     "operator local",
	"/firebreak.region.v1.RegionService/SetHealth":     "operator local",
	"/firebreak.region.v1.RegionService/SetWorker":     "operator local",
	"/firebreak.region.v1.RegionService/GetMachine":    "node gateway router operator client local",
	"/firebreak.region.v1.RegionService/ListMachines":  "node gateway router operator client local",
	"/firebreak.region.v1.RegionService/Query":         "node gateway router operator client local",
	"/firebreak.region.v1.RegionService/WatchQuery":    "node gateway router operator client local",
	"/firebreak.region.v1.RegionService/Exec":          "operator local",
	"/firebreak.region.v1.RegionService/Wait":          "node gateway router operator client local",
	"/firebreak.region.v1.RegionService/Watch":         "node gateway router operator client local",
	"/firebreak.region.v1.RegionService/Status":        "node gateway router operator client local",
	"/firebreak.region.v1.RegionService/PlanSchema":    "operator local",
	"/firebreak.region.v1.RegionService/ApplySchema":   "operator local",
	"/firebreak.region.v1.RegionService/SchemaStatus":  "node gateway router operator client local",
	"/firebreak.region.v1.RegionService/SchemaHistory": "node gateway router operator client local",

	"/firebreak.global.v1.ReportService/Report":         "gateway",
	"/firebreak.global.v1.DirectoryService/Watch":       "router operator client",
	"/firebreak.global.v1.DirectoryService/Lookup":      "router operator client",
	"/firebreak.global.v1.DirectoryService/ListRegions": "router operator client",
	"/firebreak.global.v1.DirectoryService/Status":      "router operator client",
	"/firebreak.global.v1.OperatorService/AddRegion":    "operator",

	"/firebreak.router.v1.RouterService/Lookup":      "node gateway router operator client",
	"/firebreak.router.v1.RouterService/Query":       "node gateway router operator client",
	"/firebreak.router.v1.RouterService/Watch":       "node gateway router operator client",
	"/firebreak.router.v1.RouterService/ListRegions": "node gateway router operator client",
	"/firebreak.router.v1.RouterService/Status":      "node gateway router operator client",

	"/firebreak.admin.v1.AdminService/Info":     "operator local",
	"/firebreak.admin.v1.AdminService/Switches": "operator local",

	"/firebreak.admin.v1.AdminService/ListWithheld":    "operator local",
	"/firebreak.admin.v1.AdminService/ShowWithheld":    "operator local",
	"/firebreak.admin.v1.AdminService/ReleaseWithheld": "operator local",
	"/firebreak.admin.v1.AdminService/DiscardWithheld": "operator local",
	"/firebreak.admin.v1.AdminService/Verify":          "operator local",
	"/firebreak.admin.v1.AdminService/ResetClock":      "operator local",

	"/grpc.health.v1.Health/Check":                                   "node gateway global router operator client local",
	"/grpc.health.v1.Health/List":                                    "node gateway global router operator client local",
	"/grpc.health.v1.Health/Watch":                                   "node gateway global router operator client local",
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      "node gateway global router operator client local",
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": "node gateway global router operator client local",
}

func TestEveryMethodHasItsCallers(t *testing.T) {
	all := methods()
	for m := range all {
		if _, ok := want[m]; !ok {
			t.Errorf("%s: nobody has decided who may call it", m)
		}
	}
	for m, callers := range want {
		if !all[m] {
			t.Errorf("%s does not exist", m)
		}
		got := ""
		for _, r := range everyRole {
			if access.Allowed(r, m) {
				got += " " + access.RoleName(r)
			}
		}
		if got != " "+callers {
			t.Errorf("%s: callers%s, want %s", m, got, callers)
		}
	}
}

func TestWhatNoRuleNamesIsRefused(t *testing.T) {
	for _, m := range []string{
		"", "/", "//", "/x/Y", "Publish", "/firebreak.region.v1.RegionService", "/firebreak.region.v1.RegionService/",
		"/firebreak.region.v1.RegionServiceX/Publish", "/firebreak.global.v1.ReportServiceX/Report",
	} {
		for _, r := range everyRole {
			if access.Allowed(r, m) {
				t.Errorf("%q allowed to %s", m, access.RoleName(r))
			}
		}
	}
	for m := range methods() {
		if access.Allowed(0, m) || access.Allowed(99, m) {
			t.Errorf("%s allowed to a role that is none", m)
		}
	}
}

func TestNoCertificateIsLocal(t *testing.T) {
	id := identity.ID{Fleet: "f", Role: access.Local, Name: "local"}
	if id.Check() == nil {
		t.Error("the local role passes as one of a certificate")
	}
}

func TestHandshakeLetsInOnlyWhoHasBusinessThere(t *testing.T) {
	const fleet = "acme"
	servers := map[string]identity.ID{
		"region": {Fleet: fleet, Role: identity.Node, Region: "iad", Name: "s"},
		"global": {Fleet: fleet, Role: identity.Global, Name: "s"},
		"router": {Fleet: fleet, Role: identity.Router, Name: "s"},
		"client": {Fleet: fleet, Role: identity.Client, Name: "s"},
	}
	for _, c := range []struct {
		caller identity.ID
		at     []string
	}{
		{identity.ID{Fleet: fleet, Role: identity.Node, Region: "iad", Name: "c"}, []string{"region", "router"}},
		{identity.ID{Fleet: fleet, Role: identity.Node, Region: "ams", Name: "c"}, []string{"router"}},
		{identity.ID{Fleet: fleet, Role: identity.Gateway, Region: "iad", Name: "c"}, []string{"region", "global", "router"}},
		{identity.ID{Fleet: fleet, Role: identity.Gateway, Region: "ams", Name: "c"}, []string{"global", "router"}},
		{identity.ID{Fleet: fleet, Role: identity.Global, Name: "c"}, nil},
		{identity.ID{Fleet: fleet, Role: identity.Router, Name: "c"}, []string{"region", "global", "router"}},
		{identity.ID{Fleet: fleet, Role: identity.Operator, Name: "c"}, []string{"region", "global", "router"}},
		{identity.ID{Fleet: fleet, Role: identity.Client, Name: "c"}, []string{"region", "global", "router"}},
		{identity.ID{Fleet: fleet, Role: access.Local, Name: "c"}, nil},
		{identity.ID{Fleet: "other", Role: identity.Operator, Name: "c"}, nil},
	} {
		for name, self := range servers {
			err := access.Accept(self)(c.caller)
			if got := err == nil; got != slices.Contains(c.at, name) {
				t.Errorf("%v at %s: let in %v (%v)", c.caller, name, got, err)
			}
		}
	}
}
