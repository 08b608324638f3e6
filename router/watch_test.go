package router_test

import (
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// watcher is a client that keeps what it is told.
type watcher struct {
	stream routerv1.RouterService_WatchClient

	mu       sync.Mutex
	machines map[string]*regionv1.Machine // region/id
	status   map[string]string            // app@region
	announce map[string]*routerv1.AppSynced
	events   int
	told     []string          // "region event", machines and lists only
	position map[string][]byte // app@region
}

func watch(t testing.TB, c routerv1.RouterServiceClient, apps ...string) *watcher {
	t.Helper()
	return watchFrom(t, c, nil, apps...)
}

// watchFrom goes on from where another watcher was.
func watchFrom(t testing.TB, c routerv1.RouterServiceClient, before *watcher, apps ...string) *watcher {
	t.Helper()
	stream, err := c.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{stream: stream, machines: map[string]*regionv1.Machine{}, status: map[string]string{}, announce: map[string]*routerv1.AppSynced{}, position: map[string][]byte{}}
	hello := &routerv1.WatchHello{Client: "test"}
	if before != nil {
		hello.Position = before.where()
	}
	w.send(t, &routerv1.WatchRequest{Part: &routerv1.WatchRequest_Hello{Hello: hello}})
	for _, app := range apps {
		w.send(t, &routerv1.WatchRequest{Part: &routerv1.WatchRequest_AddApp{AddApp: app}})
	}
	go func() {
		for {
			resp, err := stream.Recv()
			if err != nil {
				return
			}
			w.take(resp)
		}
	}()
	return w
}

func (w *watcher) send(t testing.TB, req *routerv1.WatchRequest) {
	t.Helper()
	if err := w.stream.Send(req); err != nil {
		t.Fatal(err)
	}
}

func (w *watcher) take(resp *routerv1.WatchResponse) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events++
	place := resp.GetApp() + "@" + resp.GetRegion()
	note := func(what string) {
		w.told = append(w.told, resp.GetRegion()+" "+what)
		delete(w.position, place)
	}
	switch e := resp.GetEvent().(type) {
	case *routerv1.WatchResponse_Machine:
		note("+" + e.Machine.GetId())
	case *routerv1.WatchResponse_Gone:
		note("-" + e.Gone.GetId())
	case *routerv1.WatchResponse_Reset_:
		note("reset")
	}
	if len(resp.GetPosition()) > 0 {
		w.position[place] = resp.GetPosition()
	}
	switch e := resp.GetEvent().(type) {
	case *routerv1.WatchResponse_Machine:
		w.machines[resp.GetRegion()+"/"+e.Machine.GetId()] = e.Machine
	case *routerv1.WatchResponse_Gone:
		delete(w.machines, resp.GetRegion()+"/"+e.Gone.GetId())
	case *routerv1.WatchResponse_Status:
		for region, state := range states([]*clusterv1.Coverage{e.Status.GetCoverage()}) {
			w.status[resp.GetApp()+"@"+region] = state
		}
	case *routerv1.WatchResponse_AppSynced:
		w.announce[resp.GetApp()] = e.AppSynced
	}
}

// where is where the watch goes on: everything that it was given.
func (w *watcher) where() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []byte
	for _, place := range slices.Sorted(maps.Keys(w.position)) {
		out = append(out, w.position[place]...)
	}
	return out
}

func (w *watcher) placed(place string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.position[place] != nil
}

func (w *watcher) wasTold() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.told)
}

func (w *watcher) known() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.machines))
}

func (w *watcher) stands(key string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status[key]
}

func (w *watcher) synced(app string) *routerv1.AppSynced {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.announce[app]
}

func (r *region) interests(app string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.watched[app]
}

func TestWatchJoinsTheRegionsThatRunTheApp(t *testing.T) {
	w := newWorld(t, "ams", "iad", "nrt")
	w.regions["ams"].set("web", 1)
	w.regions["iad"].set("web", 2)
	w.global.report("ams", "web")
	w.global.report("iad", "web")
	c, _, _ := w.router(t.TempDir(), w.global.addr)
	ready(t, c, 3)
	got := watch(t, c, "web")
	eventually(t, "the app is announced", func() bool { return got.synced("web") != nil })
	if diff := cmp.Diff([]string{"ams/web-0", "iad/web-0", "iad/web-1"}, got.known()); diff != "" {
		t.Error(diff)
	}
	if a := got.synced("web"); !a.GetComplete() {
		t.Errorf("not complete: %v", states(a.GetCoverage()))
	}
	w.regions["nrt"].set("web", 1) // a third region starts it
	w.global.report("nrt", "web")
	eventually(t, "the third region joins", func() bool { return slices.Contains(got.known(), "nrt/web-0") })
	w.regions["ams"].set("web", 0)
	eventually(t, "an ended machine goes", func() bool { return !slices.Contains(got.known(), "ams/web-0") })
	w.global.report("ams", "web")
	eventually(t, "the region that withdrew is left", func() bool { return w.regions["ams"].interests("web") == 0 })
	eventually(t, "and is proven to be without it", func() bool { return got.stands("web@ams") == "pruned" })
}

func TestNobodyWatchesWhatNoClientWatches(t *testing.T) {
	w := newWorld(t, "iad")
	for _, app := range []string{"web", "db"} {
		w.regions["iad"].set(app, 1)
		w.global.report("iad", app)
	}
	c, _, _ := w.router(t.TempDir(), w.global.addr)
	ready(t, c, 1)
	first, second := watch(t, c, "web"), watch(t, c, "web")
	eventually(t, "both know it", func() bool { return len(first.known()) == 1 && len(second.known()) == 1 })
	if n := w.regions["iad"].interests("web"); n != 1 {
		t.Errorf("two clients of one app are %d interests in its region", n)
	}
	if n := w.regions["iad"].interests("db"); n != 0 {
		t.Error("an app that nobody watches is watched")
	}
	first.send(t, &routerv1.WatchRequest{Part: &routerv1.WatchRequest_RemoveApp{RemoveApp: "web"}})
	w.regions["iad"].set("web", 2)
	eventually(t, "the other client goes on", func() bool { return len(second.known()) == 2 })
	second.send(t, &routerv1.WatchRequest{Part: &routerv1.WatchRequest_RemoveApp{RemoveApp: "web"}})
	eventually(t, "the last watcher takes the interest along", func() bool { return w.regions["iad"].interests("web") == 0 })
}

func TestLostRegionKeepsItsMachinesMarkedStale(t *testing.T) {
	w := newWorld(t, "ams", "iad")
	for name, r := range w.regions {
		r.set("web", 1)
		w.global.report(name, "web")
	}
	c, _, _ := w.router(t.TempDir(), w.global.addr)
	ready(t, c, 2)
	got := watch(t, c, "web")
	eventually(t, "both regions", func() bool { return len(got.known()) == 2 })
	w.regions["iad"].stop()
	eventually(t, "iad is stale", func() bool { return got.stands("web@iad") == "stale" })
	if diff := cmp.Diff([]string{"ams/web-0", "iad/web-0"}, got.known()); diff != "" {
		t.Errorf("a lost region was emptied: %s", diff)
	}
	w.regions["ams"].set("web", 2)
	eventually(t, "ams goes on", func() bool { return slices.Contains(got.known(), "ams/web-1") })
	if s := got.stands("web@ams"); s != "live" {
		t.Errorf("ams is %s", s)
	}
	late := watch(t, c, "web")
	eventually(t, "a late client gets the lost region's machines too", func() bool { return len(late.known()) == 3 })
	if a := late.synced("web"); a.GetComplete() {
		t.Error("complete with a lost region")
	}
}

// The directory of a cold router lags behind its regions: what it cannot prove
// to be absent it looks for.
func TestWatchFindsWhatTheDirectoryLacks(t *testing.T) {
	w := newWorld(t, "ams", "iad")
	c, _, _ := w.router(t.TempDir(), w.global.addr)
	ready(t, c, 2)
	w.regions["iad"].set("web", 2) // the directory is not told: the digests differ
	got, idle := watch(t, c, "web"), watch(t, c, "none")
	eventually(t, "its machines", func() bool { return len(got.known()) == 2 && got.stands("web@iad") == "live" })
	eventually(t, "an app that is nowhere is complete, by the region's own word", func() bool { return idle.synced("none").GetComplete() })
	if n := w.regions["ams"].interests("web"); n != 0 {
		t.Error("a region that is proven is watched")
	}
	w.global.report("iad", "web") // it has caught up
	eventually(t, "no region is watched for nothing", func() bool { return w.regions["iad"].interests("none") == 0 })
	if n := w.regions["iad"].interests("web"); n != 1 || len(got.known()) != 2 {
		t.Errorf("%d interests in web, %v known", n, got.known())
	}
}

func TestUnfitGatewayTakesNothingAway(t *testing.T) {
	w := newWorld(t, "iad")
	r := w.regions["iad"]
	r.set("web", 2)
	w.global.report("iad", "web")
	c, _, _ := w.router(t.TempDir(), w.global.addr)
	ready(t, c, 1)
	got := watch(t, c, "web")
	eventually(t, "its machines", func() bool { return len(got.known()) == 2 })
	r.stop() // comes back with an empty disk, not fit
	eventually(t, "stale", func() bool { return got.stands("web@iad") == "stale" })
	empty := &region{name: "iad", apps: map[string][]*regionv1.Machine{}, moved: make(chan struct{}), mode: "unfit"}
	w.serveRegion(empty, r.addr)
	eventually(t, "it is watched again", func() bool { return empty.interests("web") > 0 })
	if diff := cmp.Diff([]string{"iad/web-0", "iad/web-1"}, got.known()); diff != "" {
		t.Errorf("an unfit gateway's empty answer was believed: %s", diff)
	}
	empty.set("web", 1)
	empty.change(func() { empty.mode = "" }) // fit: now its word counts
	eventually(t, "a fit gateway's word", func() bool { return got.stands("web@iad") == "live" && len(got.known()) == 1 })
}

func TestClaimsAreJudgedAcrossRegions(t *testing.T) {
	w := newWorld(t, "ams", "iad")
	old, clone := w.regions["ams"].machine("web", "m1"), w.regions["iad"].machine("web", "m1")
	w.regions["ams"].change(func() { w.regions["ams"].apps["web"] = []*regionv1.Machine{old} })
	w.regions["iad"].change(func() { w.regions["iad"].apps["web"] = []*regionv1.Machine{clone} })
	for name := range w.regions {
		w.global.report(name, "web")
	}
	c, _, _ := w.router(t.TempDir(), w.global.addr)
	ready(t, c, 2)
	got := watch(t, c, "web")
	contested := func(key string) bool {
		got.mu.Lock()
		defer got.mu.Unlock()
		return got.machines[key].GetContested()
	}
	eventually(t, "two first claims are contested", func() bool { return contested("ams/m1") && contested("iad/m1") })
	w.regions["ams"].change(func() {
		moved := w.regions["ams"].machine("web", "m1")
		moved.State, moved.Grant, moved.MovedTo = regionv1.MachineState_MACHINE_STATE_MOVED, 2, "iad/iad-w1"
		w.regions["ams"].apps["web"] = []*regionv1.Machine{moved}
	})
	w.regions["iad"].change(func() {
		taken := w.regions["iad"].machine("web", "m1")
		taken.Epoch = 2
		w.regions["iad"].apps["web"] = []*regionv1.Machine{taken}
	})
	eventually(t, "the claim that moved is hidden by the one it names", func() bool {
		got.mu.Lock()
		defer got.mu.Unlock()
		a, b := got.machines["ams/m1"], got.machines["iad/m1"]
		return !a.GetCurrent() && !a.GetRoutable() && b.GetCurrent() && !a.GetContested() && !b.GetContested()
	})
}

func TestBadRowMarksItsOwnRegionOnly(t *testing.T) {
	w := newWorld(t, "ams", "iad")
	for name, r := range w.regions {
		r.set("web", 1)
		w.global.report(name, "web")
	}
	c, _, _ := w.router(t.TempDir(), w.global.addr)
	ready(t, c, 2)
	got := watch(t, c, "web")
	eventually(t, "both regions", func() bool { return len(got.known()) == 2 })
	w.regions["iad"].change(func() {
		bad := w.regions["iad"].machine("other", "x")
		w.regions["iad"].apps["web"] = append(w.regions["iad"].apps["web"], bad)
	})
	eventually(t, "iad is marked", func() bool { return got.stands("web@iad") == "refused" })
	if s := got.stands("web@ams"); s != "live" {
		t.Errorf("ams is %s", s)
	}
	if diff := cmp.Diff([]string{"ams/web-0", "iad/web-0"}, got.known()); diff != "" {
		t.Error(diff)
	}
}

func TestClientThatReadsNothingHoldsUpNobody(t *testing.T) {
	w := newWorld(t, "ams", "iad")
	for name, r := range w.regions {
		r.set("web", 1)
		w.global.report(name, "web")
	}
	c, _, _ := w.router(t.TempDir(), w.global.addr)
	ready(t, c, 2)
	stuck, err := c.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, req := range []*routerv1.WatchRequest{
		{Part: &routerv1.WatchRequest_Hello{Hello: &routerv1.WatchHello{}}}, {Part: &routerv1.WatchRequest_AddApp{AddApp: "web"}},
	} {
		if err := stuck.Send(req); err != nil {
			t.Fatal(err)
		}
	}
	got := watch(t, c, "web")
	for range 20 { // far more than the stuck client's stream can hold
		w.regions["iad"].set("web", 1000)
	}
	w.regions["iad"].set("web", 3)
	w.regions["ams"].set("web", 2)
	eventually(t, "the other client sees the last state", func() bool { return len(got.known()) == 5 })
	if _, err := c.Lookup(t.Context(), &routerv1.LookupRequest{App: "web"}); err != nil {
		t.Error(err)
	}
}
