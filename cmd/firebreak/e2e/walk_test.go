package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
	"github.com/firebreak-dev/firebreak/router/catalog"
)

// startCatalog runs an edge's catalog that follows app.
func (w *world) startCatalog(app string) *catalog.Client {
	w.t.Helper()
	edge := w.issue(identity.ID{Fleet: fleetName, Role: identity.Client, Name: "edge"}, nil)
	c, err := catalog.New(catalog.Config{
		Routers: []string{w.router.Addresses().GRPC}, Client: "edge", Fleet: fleetName,
		TLS: edge.Client(identity.HasRole(fleetName, identity.Router)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	c.Watch(app)
	w.run("catalog", c.Run)
	return c
}

// TestWalkOfOneUpdate takes one machine from a worker's daemon to an edge's
// catalog, and off again; its failure names the step.
func TestWalkOfOneUpdate(t *testing.T) {
	w := newWorld(t, map[string]int{"iad": 3})
	edge := w.startCatalog("web")
	daemon := w.daemon("iad/w3")

	machine := &regionv1.Machine{Id: "m-1", App: "web", State: regionv1.MachineState_MACHINE_STATE_STARTED,
		Addresses: []string{"192.0.2.1"}, Services: []*regionv1.Service{{Name: "http", Port: 8080}}}
	var written *regionv1.Written
	w.until("1 publish, 2 commit at the worker", func(ctx context.Context) error {
		answer, err := daemon.Publish(ctx, &regionv1.PublishRequest{Machines: []*regionv1.Machine{machine}})
		if err == nil {
			written = answer.GetWritten()
		}
		return err
	})
	if len(written.GetPoints()) != 1 || written.GetChanged() != 1 {
		t.Fatalf("step failed: 2 commit at the worker: answer %v", written)
	}
	w.until("3 push and 4 apply at every node of the region", func(ctx context.Context) error {
		answer, err := daemon.Wait(ctx, &regionv1.WaitRequest{Points: written.GetPoints(), Scope: regionv1.WaitScope_WAIT_SCOPE_REGION, TimeoutMs: 5000})
		if err == nil && !answer.GetReached() {
			err = fmt.Errorf("lacks %v", answer.GetLacks())
		}
		return err
	})
	for name := range w.workers {
		w.until("4 visible at "+name, func(ctx context.Context) error {
			answer, err := w.daemon(name).GetMachine(ctx, &regionv1.GetMachineRequest{Id: "m-1"})
			if err == nil && (len(answer.GetClaims()) != 1 || !answer.GetClaims()[0].GetRoutable()) {
				err = fmt.Errorf("claims %v", answer.GetClaims())
			}
			return err
		})
	}
	directory := globalv1.NewDirectoryServiceClient(w.dial(w.global.Addresses().GRPC))
	w.until("7 report and 8 directory", func(ctx context.Context) error {
		answer, err := directory.Lookup(ctx, &globalv1.LookupRequest{App: "web"})
		if err == nil && (len(answer.GetRegions()) != 1 || answer.GetRegions()[0].GetClass() != 1) {
			err = fmt.Errorf("regions %v", answer.GetRegions())
		}
		return err
	})
	routes := routerv1.NewRouterServiceClient(w.dial(w.router.Addresses().GRPC))
	w.until("9 router, complete", func(ctx context.Context) error { return lookup(ctx, routes, "web", "iad") })
	w.until("10 catalog", func(context.Context) error {
		view, ok := edge.Lookup("web")
		if !ok || len(view.Endpoints) != 1 || view.Endpoints[0].Machine != "m-1" || !view.Complete {
			return fmt.Errorf("view %+v, %v", view, ok)
		}
		return nil
	})

	w.until("back: withdraw", func(ctx context.Context) error {
		_, err := daemon.Withdraw(ctx, &regionv1.WithdrawRequest{Ids: []string{"m-1"}})
		return err
	})
	w.until("back: gone from the catalog", func(context.Context) error {
		if view, _ := edge.Lookup("web"); len(view.Endpoints) > 0 {
			return fmt.Errorf("view %+v", view)
		}
		return nil
	})
	w.until("back: gone from the directory after the hold", func(ctx context.Context) error { return lookup(ctx, routes, "web") })
	w.until("back: the ended row is deleted once settled", func(ctx context.Context) error {
		answer, err := daemon.GetMachine(ctx, &regionv1.GetMachineRequest{Id: "m-1"})
		if err == nil && len(answer.GetClaims()) > 0 {
			err = fmt.Errorf("claims %v", answer.GetClaims())
		}
		return err
	})
}

// lookup asks a router and reports an answer that is not complete or names
// other regions.
func lookup(ctx context.Context, c routerv1.RouterServiceClient, app string, want ...string) error {
	answer, err := c.Lookup(ctx, &routerv1.LookupRequest{App: app})
	if err != nil {
		return err
	}
	var got []string
	for _, r := range answer.GetRegions() {
		got = append(got, r.GetRegion())
	}
	if !answer.GetComplete() || strings.Join(got, " ") != strings.Join(want, " ") {
		return fmt.Errorf("regions %v, complete %v, coverage %v", got, answer.GetComplete(), answer.GetCoverage())
	}
	return nil
}

// daemon connects to a node as a daemon on its host does.
func (w *world) daemon(name string) regionv1.RegionServiceClient {
	w.t.Helper()
	conn, err := rpc.DialSocket(w.workers[name].Addresses().Socket)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return regionv1.NewRegionServiceClient(conn)
}

// TestWorkerDaemonOfTheGuide runs the guide's program against a node: what it
// is told, and what it remembers over its own restart, is what is published.
func TestWorkerDaemonOfTheGuide(t *testing.T) {
	w := newWorld(t, map[string]int{"iad": 1})
	program := filepath.Join(w.dir, "workerd")
	if out, err := exec.Command("go", "build", "-o", program, "../../../deploy/examples/workerd").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	socket, db := w.workers["iad/w1"].Addresses().Socket, filepath.Join(w.dir, "workerd.db")
	talk := func(lines ...string) []string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, "--socket", socket, "--db", db)
		cmd.Stderr = os.Stderr
		cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("workerd: %v", err)
		}
		return strings.Split(strings.TrimSpace(string(out)), "\n")
	}
	got := talk(`{"id": "a", "app": "web", "addresses": ["192.0.2.1"], "services": [{"name": "main", "port": 80}]}`,
		`{"id": "b", "app": "web", "addresses": ["192.0.2.2"]}`)
	if want := "changed 1, unchanged 1, ended 0"; got[len(got)-1] != want {
		t.Errorf("second machine: %q, want %q", got[len(got)-1], want)
	}
	if got, want := talk()[0], "changed 0, unchanged 2, ended 0"; got != want {
		t.Errorf("after a restart: %q, want %q: an unchanged list writes nothing", got, want)
	}
	if got, want := talk("-a")[1], "ended 1"; !strings.Contains(got, want) {
		t.Errorf("after a stop: %q, want %q", got, want)
	}
	w.until("only b is left", func(ctx context.Context) error {
		ids, err := machines(ctx, w.daemon("iad/w1"), "web")
		if err == nil && strings.Join(ids, " ") != "b" {
			err = fmt.Errorf("machines %v", ids)
		}
		return err
	})
}

func machines(ctx context.Context, c regionv1.RegionServiceClient, app string) ([]string, error) {
	stream, err := c.ListMachines(ctx, &regionv1.ListMachinesRequest{App: app})
	if err != nil {
		return nil, err
	}
	var ids []string
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return ids, nil
		}
		if err != nil {
			return nil, err
		}
		for _, m := range answer.GetMachines() {
			ids = append(ids, m.GetId())
		}
	}
}

// TestMetricsAreDocumented holds docs/reference/metrics.md to what the roles
// register.
func TestMetricsAreDocumented(t *testing.T) {
	w := newWorld(t, map[string]int{"iad": 1})
	f, err := os.Open("../../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	documented := map[string]string{} // metric → roles
	for in := bufio.NewScanner(f); in.Scan(); {
		cells := strings.Split(in.Text(), "|")
		if len(cells) == 5 && strings.HasPrefix(strings.TrimSpace(cells[1]), "`firebreak_") {
			documented[strings.Trim(strings.TrimSpace(cells[1]), "`")] = strings.TrimSpace(cells[2])
		}
	}
	seen := map[string]bool{}
	for _, role := range []string{"region", "global", "router"} {
		for name, help := range described(w.registries[role]) {
			seen[name] = true
			if !strings.Contains(documented[name], role) {
				t.Errorf("| `%s` | %s | %s | is not documented", name, role, help)
			}
		}
	}
	for name := range documented {
		if !seen[name] {
			t.Errorf("%s is documented and no role registers it", name)
		}
	}
}
