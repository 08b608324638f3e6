package catalog

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/firebreak-dev/firebreak/router/catalog/core"
)

// Apps that come, change and go in any order are what a map says of them.
func TestTableIsAMap(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		table, want := newTable(), make(map[string]*core.App)
		names := 1 + r.IntN(1000)
		for range 3000 {
			apps := make(map[string]*core.App)
			for range r.IntN(4) {
				name := fmt.Sprint("app-", r.IntN(names))
				if r.IntN(3) == 0 {
					apps[name] = nil
					delete(want, name)
				} else {
					apps[name] = &core.App{Complete: r.IntN(2) == 0, Endpoints: make([]Endpoint, r.IntN(3))}
					want[name] = apps[name]
				}
			}
			table.put(apps)
		}
		for i := range names {
			name := fmt.Sprint("app-", i)
			got, app := table.get(name), want[name]
			if (got != nil) != (app != nil) || app != nil && (got.view.Complete != app.Complete || len(got.view.Endpoints) != len(app.Endpoints)) {
				t.Fatalf("seed %d: %s: %+v, want %+v", seed, name, got, app)
			}
		}
		if table.len() != len(want) {
			t.Errorf("seed %d: %d apps, want %d", seed, table.len(), len(want))
		}
	}
}

// Memory goes with the apps there are, not with those there were.
func TestTableForgetsAppsThatAreGone(t *testing.T) {
	table := newTable()
	for i := range 100_000 {
		table.put(map[string]*core.App{fmt.Sprint(i): {}})
		table.put(map[string]*core.App{fmt.Sprint(i - 10): nil})
	}
	if n := len(*table.pages.Load()); n != minPages {
		t.Errorf("%d pages for %d apps", n, table.len())
	}
}

// Whoever looks while others are put in and taken out sees an app that stays.
func TestLookupsWhileTheTableGrows(t *testing.T) {
	table := newTable()
	table.put(map[string]*core.App{"stays": {Complete: true}})
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if e := table.get("stays"); e == nil || !e.view.Complete {
					t.Error("it was gone")
					return
				}
				if e := table.get("none"); e != nil {
					t.Error("there is one")
					return
				}
			}
		})
	}
	for i := range 20_000 {
		table.put(map[string]*core.App{fmt.Sprint(i): {}, "stays": {Complete: true}, fmt.Sprint(i - 100): nil})
	}
	close(done)
	readers.Wait()
}
