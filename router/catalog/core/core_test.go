package core_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
	"github.com/firebreak-dev/firebreak/router/catalog/core"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	live        = clusterv1.CoverageState_COVERAGE_STATE_LIVE
	pruned      = clusterv1.CoverageState_COVERAGE_STATE_PRUNED
	stale       = clusterv1.CoverageState_COVERAGE_STATE_STALE
	prunedStale = clusterv1.CoverageState_COVERAGE_STATE_PRUNED_STALE
)

// in is one message about an app in a region.
func in(region string, event any) *routerv1.WatchResponse {
	resp := &routerv1.WatchResponse{App: "web", Region: region}
	switch e := event.(type) {
	case *regionv1.Machine:
		resp.Event = &routerv1.WatchResponse_Machine{Machine: e}
	case *regionv1.MachineGone:
		resp.Event = &routerv1.WatchResponse_Gone{Gone: e}
	case *routerv1.RegionReset:
		resp.Event = &routerv1.WatchResponse_Reset_{Reset_: e}
	case *routerv1.RegionSynced:
		resp.Event = &routerv1.WatchResponse_Synced{Synced: e}
	case *routerv1.AppSynced:
		resp.Event = &routerv1.WatchResponse_AppSynced{AppSynced: e}
	case clusterv1.CoverageState:
		resp.Event = &routerv1.WatchResponse_Status{Status: &routerv1.RegionStatus{Coverage: &clusterv1.Coverage{Region: region, State: e}}}
	default:
		panic(fmt.Sprintf("no message for %T", e))
	}
	return resp
}

func machine(id, addr string, change ...func(*regionv1.Machine)) *regionv1.Machine {
	m := &regionv1.Machine{Worker: "w1", Id: id, Addresses: []string{addr}, Current: true, Routable: true}
	for _, c := range change {
		c(m)
	}
	return m
}

func announced(complete bool, states map[string]clusterv1.CoverageState) *routerv1.AppSynced {
	out := &routerv1.AppSynced{Complete: complete}
	for _, r := range []string{"ams", "iad", "nrt"} {
		if s, ok := states[r]; ok {
			out.Coverage = append(out.Coverage, &clusterv1.Coverage{Region: r, State: s})
		}
	}
	return out
}

type catalog struct {
	*core.Core
	app *core.App
}

func (c *catalog) feed(msgs ...*routerv1.WatchResponse) {
	for _, m := range msgs {
		c.Step(m, now)
	}
	if a, ok := c.Ready()["web"]; ok {
		c.app = a
	}
}

func (c *catalog) ids() []string {
	out := []string{}
	if c.app != nil {
		for _, e := range c.app.Endpoints {
			out = append(out, e.Region+"/"+e.Machine)
		}
	}
	return out
}

// served is a catalog with a machine in ams and one in iad, both live.
func served() *catalog {
	c := &catalog{Core: core.New("")}
	c.Connected()
	c.feed(
		in("ams", &routerv1.RegionReset{}), in("ams", machine("a", "10.0.0.1")), in("ams", live), in("ams", &routerv1.RegionSynced{}),
		in("iad", &routerv1.RegionReset{}), in("iad", machine("i", "10.0.0.2")), in("iad", live), in("iad", &routerv1.RegionSynced{}),
		in("", announced(true, map[string]clusterv1.CoverageState{"ams": live, "iad": live})),
	)
	return c
}

func TestOnlyARegionsWordTakesAMachineOut(t *testing.T) {
	both := []string{"ams/a", "iad/i"}
	for _, tc := range []struct {
		name     string
		msgs     []*routerv1.WatchResponse
		want     []string
		complete bool
	}{
		{"nothing", nil, both, true},
		{"its end", []*routerv1.WatchResponse{in("ams", &regionv1.MachineGone{Worker: "w1", Id: "a", Ended: true})}, []string{"iad/i"}, true},
		{"a region is lost", []*routerv1.WatchResponse{in("ams", stale)}, both, false},
		{"a region is unreachable", []*routerv1.WatchResponse{in("ams", clusterv1.CoverageState_COVERAGE_STATE_UNREACHABLE)}, both, false},
		{"a list begins", []*routerv1.WatchResponse{in("ams", &routerv1.RegionReset{})}, both, true},
		{"an empty list of an unfit region", []*routerv1.WatchResponse{in("ams", stale), in("ams", &routerv1.RegionReset{}), in("ams", &routerv1.RegionSynced{})}, both, false},
		{"a proven absence", []*routerv1.WatchResponse{in("ams", pruned)}, []string{"iad/i"}, true},
		{"announced as proven absent", []*routerv1.WatchResponse{in("", announced(true, map[string]clusterv1.CoverageState{"ams": pruned, "iad": live}))}, []string{"iad/i"}, true},
		{"announced as not proven", []*routerv1.WatchResponse{in("", announced(false, map[string]clusterv1.CoverageState{"ams": prunedStale, "iad": live}))}, both, true},
		{"announced by a router that knows no region", []*routerv1.WatchResponse{in("", announced(false, nil))}, both, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := served()
			c.feed(tc.msgs...)
			if diff := cmp.Diff(tc.want, c.ids()); diff != "" {
				t.Error(diff)
			}
			if c.app.Complete != tc.complete {
				t.Errorf("complete %v", c.app.Complete)
			}
		})
	}
}

func TestReconnectKeepsUntilTheListIsComplete(t *testing.T) {
	c := served()
	c.Lost(now)
	c.Connected()
	c.feed(in("ams", &routerv1.RegionReset{}), in("ams", machine("b", "10.0.0.3")))
	if diff := cmp.Diff([]string{"ams/a", "ams/b", "iad/i"}, c.ids()); diff != "" {
		t.Errorf("while the list is under way: %s", diff)
	}
	if c.app.StaleSince.IsZero() || c.app.Complete {
		t.Error("current before any region said so")
	}
	c.feed(in("ams", live), in("ams", &routerv1.RegionSynced{}))
	if diff := cmp.Diff([]string{"ams/b", "iad/i"}, c.ids()); diff != "" {
		t.Errorf("after it: %s", diff)
	}
}

func TestCompleteFollowsRegionsThatAreNotKnownToRunIt(t *testing.T) {
	c := served()
	c.feed(in("", announced(true, map[string]clusterv1.CoverageState{"ams": live, "iad": live, "nrt": pruned})))
	region := func(s clusterv1.CoverageState) *routerv1.WatchResponse {
		m := in("nrt", s)
		m.App = ""
		return m
	}
	for _, s := range []clusterv1.CoverageState{pruned, prunedStale, pruned} {
		c.feed(region(s))
		if want := s == pruned; c.app.Complete != want {
			t.Errorf("nrt %v: complete %v", s, c.app.Complete)
		}
	}
}

func TestCompleteFollowsTheAgeOfTheListOfRegions(t *testing.T) {
	c := served()
	for _, current := range []bool{false, true, false} {
		c.feed(&routerv1.WatchResponse{Event: &routerv1.WatchResponse_List{List: &routerv1.ListStatus{Current: current}}})
		if c.app.Complete != current || len(c.app.Endpoints) != 2 {
			t.Errorf("list current %v: complete %v with %d endpoints", current, c.app.Complete, len(c.app.Endpoints))
		}
	}
	c.Lost(now)
	c.Connected() // another router, whose list is another one
	c.feed(in("ams", live), in("iad", live), in("", announced(true, map[string]clusterv1.CoverageState{"ams": live, "iad": live})))
	if !c.app.Complete {
		t.Error("the former router's list counts")
	}
}

func TestHealthyAndNearFirstSuspectLastEachAddressOnce(t *testing.T) {
	c := &catalog{Core: core.New("eu")}
	c.Localities(map[string]string{"ams": "eu", "iad": "us"})
	suspect := func(m *regionv1.Machine) { m.Suspect = true }
	warning := func(m *regionv1.Machine) { m.Health = regionv1.HealthStatus_HEALTH_STATUS_WARNING }
	contested := func(m *regionv1.Machine) { m.Contested = true }
	unroutable := func(m *regionv1.Machine) { m.Routable = false }
	c.feed(
		in("iad", machine("far", "10.0.0.1")),
		in("ams", machine("near", "10.0.0.2")),
		in("ams", machine("suspect", "10.0.0.3", suspect)),
		in("ams", machine("warning", "10.0.0.4", warning)),
		in("ams", machine("both", "10.0.0.5", contested)),
		in("iad", machine("both", "10.0.0.6", contested)),
		in("iad", machine("same-address", "10.0.0.2")),
		in("iad", machine("hidden", "10.0.0.7", unroutable)),
	)
	want := []string{"ams/both", "ams/near", "iad/both", "iad/far", "ams/warning", "ams/suspect"}
	if diff := cmp.Diff(want, c.ids()); diff != "" {
		t.Error(diff)
	}
	if !c.app.Endpoints[0].Contested || c.app.Endpoints[0].Locality != "eu" {
		t.Errorf("%+v", c.app.Endpoints[0])
	}
}

func TestFileComesBackAsItWas(t *testing.T) {
	c := served()
	c.feed(in("iad", machine("s", "10.0.0.9", func(m *regionv1.Machine) {
		m.Suspect, m.Services = true, []*regionv1.Service{{Name: "http", Port: 80, Protocol: "tcp"}}
	})))
	data := c.Append(nil, "test", now)
	back := &catalog{Core: core.New("")}
	current, err := back.Load(data, "test", now.Add(time.Minute))
	if err != nil || !current.Equal(now) {
		t.Fatal(current, err)
	}
	back.feed()
	if diff := cmp.Diff(c.app.Endpoints, back.app.Endpoints); diff != "" {
		t.Error(diff)
	}
	if back.app.Complete || !back.app.StaleSince.Equal(now) {
		t.Errorf("complete %v, stale since %v", back.app.Complete, back.app.StaleSince)
	}
	if diff := cmp.Diff(data, back.Append(nil, "test", now)); diff != "" {
		t.Error(diff)
	}
}

func TestDamagedOrForeignFileIsRefused(t *testing.T) {
	data := served().Append(nil, "test", now)
	for i := range data {
		flipped := bytes.Clone(data)
		flipped[i] ^= 1
		for what, bad := range map[string][]byte{"flipped": flipped, "cut": data[:i]} {
			if _, err := core.New("").Load(bad, "test", now); !errors.Is(err, core.ErrFile) {
				t.Fatalf("%s at %d: %v", what, i, err)
			}
		}
	}
	if _, err := core.New("").Load(data, "other", now); !errors.Is(err, core.ErrFile) {
		t.Errorf("of another fleet: %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(served().Append(nil, "test", now))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := core.New("")
		if _, err := c.Load(data, "test", now); err == nil {
			c.Ready()
		}
		// Past its checksum, a body can still be odd.
		_, _ = c.Load(core.Seal(data), "test", now)
		c.Ready()
	})
}
