package dev

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/edge"
	"github.com/firebreak-dev/firebreak/router/catalog"
)

func TestEveryRequestIsAnsweredByARightMachineWhileNodesAreUpgraded(t *testing.T) {
	t.Parallel()
	s := small(t, filepath.Join(t.TempDir(), "dev"))
	s.version, s.rate, s.requests, s.upgrades, s.exitAfter = "test", 40, 100, 2*time.Second, 8*time.Second
	if err := s.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole := readReport(t, s.report)
	if whole.Versions["test"] != 4 || whole.Bytes["push"] == 0 || whole.Goroutines < 10 {
		t.Errorf("versions %v, bytes %v, %d goroutines", whole.Versions, whole.Bytes, whole.Goroutines)
	}
	ends := 0
	for _, n := range s.federation.Plan().Nodes {
		ends += s.federation.Ends(n)
	}
	r := whole.Edges
	if ends == 0 || r.Requests < 50 || r.Errors != 0 || r.WrongMachine != 0 || r.StoppedMachine != 0 || r.Regions["iad"].Requests != r.Requests {
		t.Errorf("%d upgrades, counted %+v", ends, r)
	}
}

// forgetful is a catalog that ignores removals: what an edge must not be.
type forgetful struct {
	edge.Catalog

	mu   sync.Mutex
	seen map[string]catalog.Endpoint // by machine
}

func (f *forgetful) Lookup(app string) (catalog.View, bool) {
	view, ok := f.Catalog.Lookup(app)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range view.Endpoints {
		f.seen[e.Machine] = e
	}
	view.Endpoints = nil
	for _, e := range f.seen {
		if e.App == app {
			view.Endpoints = append(view.Endpoints, e)
		}
	}
	return view, ok
}

func TestAnEdgeThatIgnoresRemovalsIsFound(t *testing.T) {
	t.Parallel()
	s := small(t, filepath.Join(t.TempDir(), "dev"))
	s.rate, s.requests, s.exitAfter, s.checkWithin = 60, 100, 6*time.Second, time.Second
	s.edgeCatalog = func(c edge.Catalog) edge.Catalog { return &forgetful{Catalog: c, seen: map[string]catalog.Endpoint{}} }
	err := s.run(t.Context())
	if err == nil {
		t.Fatal("nothing was found")
	}
	for _, want := range []string{"edge requests: ", "stopped machine: the edge in iad chose iad/", "edge iad catalog: ", "extra iad/"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	r := readReport(t, s.report)
	if r.OK || r.Edges.StoppedMachine == 0 || r.Edges.WrongMachine != 0 || r.Edges.Regions["iad"].StoppedMachine != r.Edges.StoppedMachine {
		t.Errorf("counted %+v", r.Edges)
	}
}
