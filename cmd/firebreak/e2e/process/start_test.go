package process

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/router/catalog"
)

// quoted gives strings as a TOML list.
func quoted(list []string) string {
	b, err := json.Marshal(list)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}

// others returns list without its i-th.
func others(list []string, i int) []string { return slices.Delete(slices.Clone(list), i, i+1) }

func (f *federation) startGlobals(n int) {
	f.t.Helper()
	var gossip []string
	for range n {
		gossip = append(gossip, f.address())
		f.globals = append(f.globals, f.address())
	}
	for i := range n {
		name := fmt.Sprintf("g%d", i+1)
		f.issue("global", "", name)
		f.add("global", "", name, fmt.Sprintf("[gossip]\nlisten = %q\nseeds = %s\n[grpc]\nlisten = %q\n",
			gossip[i], quoted(others(gossip, i)), f.globals[i])).start()
	}
}

// startRegion makes a region known and starts its nodes with the generation
// that the command printed. The first two are gateways.
func (f *federation) startRegion(region string, n int) {
	f.t.Helper()
	var generation string
	f.step("region "+region+" is added", healed, func() error {
		r := f.run(append([]string{"region", "add", region, "--node", f.globals[0]}, f.as("ops")...)...)
		if r.code != 0 {
			return fmt.Errorf("%v", r)
		}
		generation = r.out
		return nil
	})
	var gossip []string
	for range n {
		gossip = append(gossip, f.address())
	}
	for i := range n {
		name, role, grpc := fmt.Sprintf("w%d", i+1), "node", f.address()
		if i < 2 {
			role = "gateway"
		}
		f.issue(role, region, name)
		f.workers[region+"/"+name] = grpc
		f.add("region", region, name, fmt.Sprintf("region = %q\n%sglobals = %s\n[gossip]\nlisten = %q\nseeds = %s\n[grpc]\nlisten = %q\n",
			region, generation, quoted(f.globals), gossip[i], quoted(others(gossip, i)), grpc)).start()
	}
}

func (f *federation) startRouters(n int) {
	f.t.Helper()
	for i := range n {
		name, grpc := fmt.Sprintf("r%d", i+1), f.address()
		f.issue("router", "", name)
		f.routers = append(f.routers, grpc)
		f.add("router", "", name, fmt.Sprintf("globals = %s\n[grpc]\nlisten = %q\n", quoted(f.globals), grpc)).start()
	}
}

// publish writes a machine at its worker and waits until its region has it.
func (f *federation) publish(worker, app, id string) {
	f.t.Helper()
	flags := append([]string{"--node", f.workers[worker], "-o", "json"}, f.as("ops")...)
	var points []string
	f.step("publish "+id+" of "+app+" at "+worker, healed, func() error {
		r := f.run(append([]string{"machine", "publish", id, "--app", app, "--address", fmt.Sprintf("192.0.2.%d", len(f.truth)+1), "--port", "8080"}, flags...)...)
		var w struct{ Points, Standing []string }
		if err := json.Unmarshal([]byte(r.out), &w); r.code != 0 || err != nil {
			return fmt.Errorf("%v", r)
		}
		points = append(w.Points, w.Standing...)
		return nil
	})
	f.step("all live nodes of the region have "+id, soon, func() error {
		if r := f.run(append(append([]string{"wait", "--scope", "region"}, points...), flags...)...); r.code != 0 {
			return fmt.Errorf("%v", r)
		}
		return nil
	})
	region, _, _ := strings.Cut(worker, "/")
	f.truth = append(f.truth, machine{region, app, id})
}

// startCatalog runs an edge in this process.
func (f *federation) startCatalog(apps ...string) {
	f.t.Helper()
	files := f.as("edge")
	id, err := identity.Load(identity.Files{Cert: files[1], Key: files[3], CA: files[5]})
	if err != nil {
		f.t.Fatal(err)
	}
	c, err := catalog.New(catalog.Config{
		Routers: f.routers, Client: "edge", Fleet: "acme", TLS: id.Client(identity.HasRole("acme", identity.Router)),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, a := range apps {
		c.Watch(a)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	f.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("catalog: %v", err)
		}
	})
	f.edge = c
}
