package edge_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/edge"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/host"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/pulse"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/router/catalog"
)

// table is a catalog that shows what it is given.
type table struct {
	mu      sync.Mutex
	list    []catalog.Endpoint
	watched []string
}

func (c *table) Watch(app string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watched = append(c.watched, app)
}

func (c *table) Lookup(app string) (catalog.View, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var v catalog.View
	for _, e := range c.list {
		if e.App == app {
			v.Endpoints = append(v.Endpoints, e)
		}
	}
	return v, len(v.Endpoints) > 0
}

// world is two hosts and an edge in iad.
type world struct {
	hosts   host.Hosts
	catalog *table
	tally   *edge.Tally
	url     string
}

var (
	iad = truth.Place{Region: "iad", Worker: "iad-1"}
	ams = truth.Place{Region: "ams", Worker: "ams-1"}
)

func newWorld(t *testing.T) *world {
	t.Helper()
	hosts, err := host.Open(t.Context(), []truth.Place{iad, ams})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{hosts: hosts, catalog: &table{}, tally: edge.NewTally([]fleet.Region{"iad", "ams"})}
	e, err := edge.Listen(t.Context(), edge.Config{Region: "iad", Catalog: w.catalog, Tally: w.tally, Pulse: &pulse.Pulse{}, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	w.url = e.URL()
	ctx, cancel := context.WithCancel(t.Context())
	var g sync.WaitGroup
	g.Go(func() { _ = hosts.Run(ctx) })
	g.Go(func() { _ = e.Run(ctx) })
	t.Cleanup(func() { cancel(); g.Wait() })
	return w
}

// start runs a machine and shows it in the catalog.
func (w *world) start(p truth.Place, id, app string) {
	at := w.hosts[p].Start(fleet.MachineID(id), fleet.App(app))
	w.show(p, id, app, at.Addr().String(), uint32(at.Port()))
}

func (w *world) show(p truth.Place, id, app, address string, port uint32) {
	w.catalog.mu.Lock()
	defer w.catalog.mu.Unlock()
	w.catalog.list = append(w.catalog.list, catalog.Endpoint{
		Region: string(p.Region), Worker: string(p.Worker), Machine: id, App: app, Locality: string(p.Region),
		Addresses: []string{address}, Services: []catalog.Service{{Name: "http", Port: port}},
	})
}

func (w *world) get(t *testing.T, app string) (status int, from, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = app
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get(host.MachineHeader), string(b)
}

func TestRequestsGoToMachinesOfTheirAppNearOnesFirst(t *testing.T) {
	w := newWorld(t)
	w.start(iad, "near-1", "web")
	w.start(iad, "near-2", "web")
	w.start(ams, "far", "web")
	w.start(iad, "other", "api")
	got := map[string]int{}
	for range 200 {
		status, from, body := w.get(t, "web")
		if status != 200 || !strings.Contains(body, `"app":"web"`) {
			t.Fatalf("status %d: %s", status, body)
		}
		got[from]++
	}
	if diff := cmp.Diff([]string{"far", "near-1", "near-2"}, slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got["far"] > 30 || got["near-1"] < 50 || got["near-2"] < 50 {
		t.Errorf("answers: %v", got)
	}
	if r := w.tally.Report(); r.Retries+r.WrongMachine+r.StoppedMachine > 0 || len(w.tally.Mistakes()) > 0 {
		t.Errorf("counted %+v", r)
	}
}

func TestAnEdgeTriesAnotherMachineWhereNothingAnswersOrItHasStopped(t *testing.T) {
	w := newWorld(t)
	w.show(ams, "dead", "web", "127.127.0.1", 1) // nothing listens there
	for i := range 10 {                          // more than may stay silent
		id := fmt.Sprintf("stopped-%d", i)
		w.start(ams, id, "web")
		w.hosts[ams].Stop(fleet.MachineID(id))
	}
	w.start(iad, "alive", "web")
	for range 50 {
		if status, from, body := w.get(t, "web"); status != 200 || from != "alive" {
			t.Fatalf("status %d from %q: %s", status, from, body)
		}
	}
	r := w.tally.Report()
	if r.Retries < 50 || r.StoppedMachine != 0 || r.WrongMachine != 0 {
		t.Errorf("counted %+v: a machine that stopped just now is no mistake", r)
	}
}

func TestMachinesThatStoppedLongAgoAreCountedWhereTheyWere(t *testing.T) {
	w := newWorld(t)
	w.start(ams, "over", "web")
	w.hosts[ams].Stop("over")
	w.hosts[ams].Told("over")
	stopped := time.Now()
	deadline := stopped.Add(5 * time.Second)
	for w.tally.Report().StoppedMachine == 0 && time.Now().Before(deadline) {
		if status, _, _ := w.get(t, "web"); status != http.StatusBadGateway {
			t.Fatalf("status %d", status)
		}
		if since := time.Since(stopped); w.tally.Report().StoppedMachine > 0 && since < time.Second {
			t.Fatalf("counted %v after the stop", since)
		}
	}
	r := w.tally.Report()
	if r.Regions["ams"].StoppedMachine != 1 || r.StoppedMachine != 1 || r.Regions["iad"] != (edge.Counts{}) {
		t.Errorf("counted %+v", r)
	}
	if m := w.tally.Mistakes(); len(m) != 1 || !strings.Contains(m[0], "ams/ams-1/over of app web") {
		t.Errorf("mistakes %q", m)
	}
}

func TestAnswersOfAnotherMachineAreCounted(t *testing.T) {
	w := newWorld(t)
	at := w.hosts[iad].Start("mine", "web")
	w.show(iad, "theirs", "web", at.Addr().String(), uint32(at.Port())) // the catalog mixes up two machines
	w.show(ams, "mine", "api", at.Addr().String(), uint32(at.Port()))   // and two regions
	for _, app := range []string{"web", "api"} {
		if status, _, body := w.get(t, app); status != http.StatusBadGateway || !strings.Contains(body, "wrong machine") {
			t.Errorf("%s: status %d: %s", app, status, body)
		}
	}
	r := w.tally.Report()
	if r.WrongMachine != 2 || r.Regions["iad"].WrongMachine != 1 || r.Regions["ams"].WrongMachine != 1 {
		t.Errorf("counted %+v", r)
	}
}

func TestAnAppThatIsNotKnownIsWatchedAndMachinesElsewhereAreNotAsked(t *testing.T) {
	w := newWorld(t)
	w.show(iad, "by-hand", "visitor", "127.0.0.1", 80)
	for _, app := range []string{"new", "visitor"} {
		if status, _, _ := w.get(t, app); status != http.StatusServiceUnavailable {
			t.Errorf("%s: status %d", app, status)
		}
	}
	if diff := cmp.Diff([]string{"new"}, w.catalog.watched); diff != "" {
		t.Errorf("watched (-want +got):\n%s", diff)
	}
}

func TestATallyCountsInSumAndByRegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tally := edge.NewTally([]fleet.Region{"iad", "ams"})
		for range 10 {
			go tally.Fail("why", "iad", "ams") // of both, and one request
			go tally.Add(edge.Counts{Requests: 1}, "iad")
			go tally.Add(edge.Counts{Retries: 1}, "unheard-of")
		}
		synctest.Wait()
		want := edge.Report{
			Counts:  edge.Counts{Requests: 20, Errors: 10, Retries: 10},
			Regions: map[fleet.Region]edge.Counts{"iad": {Requests: 20, Errors: 10}, "ams": {Requests: 10, Errors: 10}},
		}
		if diff := cmp.Diff(map[fleet.Region]int64{"iad": 10, "ams": 10}, tally.Errors()); diff != "" {
			t.Errorf("errors (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, tally.Report()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
