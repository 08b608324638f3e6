package router_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
	"github.com/firebreak-dev/firebreak/router/catalog"
)

func TestCatalogKeepsEveryEndpointWhileARegionIsDeadAndItsRouterRestarts(t *testing.T) {
	w := newWorld(t, "ams", "iad")
	for name, r := range w.regions {
		r.set("web", 1)
		w.global.report(name, "web")
	}
	data := t.TempDir()
	router, r, stop := w.router(data, w.global.addr)
	ready(t, router, 2)
	edge := w.source(identity.ID{Fleet: testFleet, Role: identity.Client, Name: "edge"})
	start := func(addr, dir string) (*catalog.Client, func()) {
		c, err := catalog.New(catalog.Config{Routers: []string{addr}, TLS: edge.Client(identity.HasRole(testFleet, identity.Router)), Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		c.Watch("web")
		return c, run(t, c.Run)
	}
	dir := t.TempDir()
	c, stopCatalog := start(r.Addresses().GRPC, dir)
	endpoints := func() []string {
		v, _ := c.Lookup("web")
		var out []string
		for _, e := range v.Endpoints {
			out = append(out, e.Region)
		}
		return out
	}
	both := []string{"ams", "iad"}
	eventually(t, "complete", func() bool { v, _ := c.Lookup("web"); return v.Complete && v.Age == 0 })
	if diff := cmp.Diff(both, endpoints()); diff != "" {
		t.Fatal(diff)
	}

	w.regions["iad"].stop()
	eventually(t, "old, in part", func() bool { v, _ := c.Lookup("web"); return !v.Complete && v.Age > 0 })
	if diff := cmp.Diff(both, endpoints()); diff != "" {
		t.Errorf("a dead region's endpoints: %s", diff)
	}

	stop() // the router, and then everything
	w.global.stop()
	stopCatalog()
	_, r, _ = w.router(data, w.global.addr) // from its last-good file
	c, _ = start(r.Addresses().GRPC, dir)   // from its own
	if diff := cmp.Diff(both, endpoints()); diff != "" {
		t.Errorf("at a cold start: %s", diff)
	}
	w.regions["ams"].set("web", 2)
	eventually(t, "the living region's news", func() bool { return len(endpoints()) == 3 })
	if diff := cmp.Diff([]string{"ams", "ams", "iad"}, endpoints()); diff != "" {
		t.Errorf("after restarts, with a region and global dead: %s", diff)
	}
}

func TestForeignCertificateIsNoGateway(t *testing.T) {
	w := newWorld(t, "ams", "iad")
	w.regions["iad"].gateways = w.regions["ams"].gateways // iad's record names a gateway of ams
	c, _, _ := w.router(t.TempDir(), w.global.addr)
	ready(t, c, 2)
	got, err := query(t.Context(), c, &routerv1.QueryRequest{Sql: "SELECT", TimeoutMs: 2000})
	if err != nil {
		t.Fatal(err)
	}
	if s := states(got.end.GetCoverage()); s["iad"] != "unreachable" || s["ams"] != "live" {
		t.Errorf("%v", s)
	}
}

func BenchmarkUnary(b *testing.B) {
	w := newWorld(b, "iad")
	w.regions["iad"].set("web", 3)
	w.global.report("iad", "web")
	c, _, _ := w.router(b.TempDir(), w.global.addr)
	ready(b, c, 1)
	conn, err := rpc.Dial(w.regions["iad"].addr, w.source(identity.ID{Fleet: testFleet, Role: identity.Client, Name: "direct"}), identity.InRegion(testFleet, "iad", identity.Gateway))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	b.Run("direct", func(b *testing.B) {
		for b.Loop() {
			stream, err := regionv1.NewRegionServiceClient(conn).Query(b.Context(), &regionv1.QueryRequest{Sql: "SELECT"})
			if err != nil {
				b.Fatal(err)
			}
			for done := false; !done; {
				resp, err := stream.Recv()
				if err != nil {
					b.Fatal(err)
				}
				done = resp.GetEnd() != nil
			}
			_, _ = stream.Recv()
		}
	})
	b.Run("router", func(b *testing.B) {
		for b.Loop() {
			if _, err := query(b.Context(), c, &routerv1.QueryRequest{Sql: "SELECT", Where: &routerv1.QueryRequest_Region{Region: "iad"}}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("lookup", func(b *testing.B) {
		for b.Loop() {
			lookup(b, c, "web")
		}
	})
}
