package federation

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/identity"
)

func spec() Spec {
	return Spec{Regions: []fleet.Region{"nrt", "ams"}, Workers: 3, Globals: 2, Routers: 1}
}

func plan(t *testing.T, s Spec) Plan {
	t.Helper()
	p, err := NewPlan(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlanPlacesWorkersByRegionAndName(t *testing.T) {
	want := []truth.Place{
		{Region: "ams", Worker: "ams-1"}, {Region: "ams", Worker: "ams-2"}, {Region: "ams", Worker: "ams-3"},
		{Region: "nrt", Worker: "nrt-1"}, {Region: "nrt", Worker: "nrt-2"}, {Region: "nrt", Worker: "nrt-3"},
	}
	if diff := cmp.Diff(want, plan(t, spec()).Places()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s := spec()
	s.Workers = 11
	places := plan(t, s).Places()
	if !slices.IsSortedFunc(places, truth.Place.Compare) || places[1].Worker != "ams-10" {
		t.Errorf("places are not in the order of their names: %v", places)
	}
}

func TestTheFirstTwoNodesOfARegionAreGateways(t *testing.T) {
	s := spec()
	s.Workers = 12 // by name, the tenth sorts before the second
	for _, n := range plan(t, s).Of(Region) {
		first := strings.HasSuffix(string(n.Name), "-1") || strings.HasSuffix(string(n.Name), "-2")
		if n.Gateway != first || (n.ID().Role == identity.Gateway) != first {
			t.Errorf("%v: gateway %v, certificate %v", n, n.Gateway, n.ID())
		}
	}
}

func TestSpecNamesEveryProblem(t *testing.T) {
	err := Spec{Regions: []fleet.Region{"global", "Iad", "ams", "ams"}, Workers: 0, Globals: 17, Routers: -1}.Check()
	if err == nil {
		t.Fatal("taken")
	}
	for _, want := range []string{`"global": the name is reserved`, `"Iad"`, "ams is named twice", "workers: 0", "globals: 17", "routers: -1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
	if err := (Spec{Workers: 1, Globals: 1, Routers: 1}).Check(); err == nil {
		t.Error("no region is taken")
	}
	if err := (Spec{Regions: []fleet.Region{"a", "b"}, Workers: 200, Globals: 1, Routers: 1}).Check(); err == nil {
		t.Error("400 nodes are taken")
	}
	if err := spec().Check(); err != nil {
		t.Error(err)
	}
}

func TestPortsAreHeldUntilTheirNodeTakesThemAndKeptWhenFree(t *testing.T) {
	p := plan(t, spec())
	held := newPorts()
	if err := held.assign(p.Nodes); err != nil {
		t.Fatal(err)
	}
	defer held.releaseAll()
	n := p.Of(Region)[0]
	if lis, err := net.Listen("tcp", n.GRPC); err == nil {
		lis.Close()
		t.Error("a port of a node that is not started yet is free")
	}
	held.release(n)
	lis, err := net.Listen("tcp", n.GRPC)
	if err != nil {
		t.Fatalf("a released port is not free: %v", err)
	}
	held.releaseAll()

	again := slices.Clone(p.Nodes)
	second := newPorts()
	if err := second.assign(again); err != nil {
		t.Fatal(err)
	}
	second.releaseAll()
	lis.Close()
	for i, was := range p.Nodes {
		if taken := was == n; (again[i].GRPC != was.GRPC) != taken || again[i].Admin != was.Admin {
			t.Errorf("%v: gRPC %s was %s", was, again[i].GRPC, was.GRPC)
		}
	}
}

func TestSeedsAreOtherNodesOfTheSameCluster(t *testing.T) {
	p := plan(t, spec())
	held := newPorts()
	if err := held.assign(p.Nodes); err != nil {
		t.Fatal(err)
	}
	held.releaseAll()
	for _, n := range p.Nodes {
		seeds := p.Seeds(n)
		want := map[Role]int{Region: 2, Global: 1, Router: 0}[n.Role]
		if len(seeds) != want || slices.Contains(seeds, n.Gossip) {
			t.Errorf("%v has seeds %v", n, seeds)
		}
		for _, other := range p.Nodes {
			if slices.Contains(seeds, other.Gossip) && (other.Role != n.Role || other.Region != n.Region) {
				t.Errorf("%v has a seed in %v", n, other)
			}
		}
	}
}

func TestCertificatesAreMadeOnceAndSayWhoTheNodeIs(t *testing.T) {
	p := plan(t, spec())
	at := paths{dir: t.TempDir()}
	if err := at.issue(p.Nodes); err != nil {
		t.Fatal(err)
	}
	first := map[string]string{}
	for round := range 2 {
		for _, n := range p.Nodes {
			files := at.identity(n.ID())
			id, err := identity.Load(files)
			if err != nil {
				t.Fatal(err)
			}
			if id.ID() != n.ID() || filepath.Dir(files.Cert) != at.node(n) {
				t.Errorf("%v has the certificate of %v in %s", n, id.ID(), files.Cert)
			}
			cert, err := os.ReadFile(files.Cert)
			if err != nil {
				t.Fatal(err)
			}
			if round == 0 {
				first[n.String()] = string(cert)
			} else if first[n.String()] != string(cert) {
				t.Errorf("%v got another certificate", n)
			}
		}
		if err := at.issue(p.Nodes); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLongDirectoriesGetShortSockets(t *testing.T) {
	n := plan(t, spec()).Of(Region)[0]
	deep := paths{dir: "/" + strings.Repeat("x", 100)}
	if len(deep.socketOf(n)) <= maxSocketPath {
		t.Fatal("the test's directory is not long")
	}
	deep.socket = "/tmp/firebreak-dev-1"
	if got := deep.socketOf(n); len(got) > maxSocketPath || got != "/tmp/firebreak-dev-1/ams.ams-1" {
		t.Errorf("socket %s", got)
	}
}
