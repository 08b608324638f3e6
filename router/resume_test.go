package router_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// both is two regions that run web, two machines each, and a watch that has a
// position in both.
func both(t *testing.T) (*world, routerv1.RouterServiceClient, *watcher) {
	t.Helper()
	w := newWorld(t, "ams", "iad")
	for name, r := range w.regions {
		r.change(func() { // ids of their own: nothing is contested
			r.apps["web"] = []*regionv1.Machine{r.machine("web", name+"0"), r.machine("web", name+"1")}
		})
		w.global.report(name, "web")
	}
	c, _, _ := w.router(t.TempDir(), w.global.addr)
	ready(t, c, 2)
	got := watch(t, c, "web")
	eventually(t, "a position in both regions", func() bool { return got.placed("web@ams") && got.placed("web@iad") })
	return w, c, got
}

// replace makes one change: a machine ends, another one begins.
func (r *region) replace(app, gone, begins string) {
	r.change(func() {
		list := slices.Clone(r.apps[app])
		list = slices.DeleteFunc(list, func(m *regionv1.Machine) bool { return m.Id == gone })
		r.apps[app] = append(list, r.machine(app, begins))
	})
}

// asks counts the interests that were asked for.
func (r *region) asks() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.begun)
}

func (w *watcher) end(t *testing.T) {
	t.Helper()
	if err := w.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
}

func TestWhoComesBackIsToldOnlyWhatChanged(t *testing.T) {
	for _, where := range []string{"the same router", "another router"} {
		t.Run(where, func(t *testing.T) {
			w, c, before := both(t)
			if where == "another router" {
				c, _, _ = w.router(t.TempDir(), w.global.addr)
				ready(t, c, 2)
			}
			before.end(t)
			w.regions["iad"].replace("web", "iad1", "new")
			got := watchFrom(t, c, before, "web")
			eventually(t, "announced, with what changed", func() bool {
				return got.synced("web").GetComplete() && slices.Contains(got.known(), "iad/new")
			})
			told := got.wasTold()
			slices.Sort(told)
			if diff := cmp.Diff([]string{"iad +new", "iad -iad1"}, slices.Compact(told)); diff != "" {
				t.Error(diff)
			}
			eventually(t, "new positions", func() bool { return got.placed("web@iad") })
		})
	}
}

func TestIdleAppComesBackWithoutAQuestion(t *testing.T) {
	w, c, before := both(t)
	stays := watch(t, c, "web")
	eventually(t, "another client has it too", func() bool { return len(stays.known()) == 4 })
	asked := w.regions["iad"].asks()
	got := watchFrom(t, c, before, "web")
	eventually(t, "announced", func() bool { return got.synced("web").GetComplete() })
	if told := got.wasTold(); told != nil {
		t.Errorf("told %v, though nothing changed", told)
	}
	if n := w.regions["iad"].asks(); n != asked {
		t.Errorf("the region was asked %d times more", n-asked)
	}
	w.regions["iad"].replace("web", "iad1", "new")
	eventually(t, "it follows", func() bool { return slices.Contains(got.known(), "iad/new") })
}

// A position that is lost costs its own region a list, and no other.
func TestLostPositionResyncsItsRegionOnly(t *testing.T) {
	w, _, before := both(t)
	w.regions["iad"].change(func() { w.regions["iad"].onLine = "another disk" })
	c, _, _ := w.router(t.TempDir(), w.global.addr) // the old one has what the client has
	ready(t, c, 2)
	got := watchFrom(t, c, before, "web")
	want := []string{"iad reset", "iad +iad0", "iad +iad1"}
	eventually(t, "the list of the region", func() bool { return got.synced("web").GetComplete() && len(got.wasTold()) >= len(want) })
	if diff := cmp.Diff(want, got.wasTold()); diff != "" {
		t.Error(diff)
	}
}

func TestGarbledPositionIsNoneAndHarmsNobody(t *testing.T) {
	_, c, before := both(t)
	flipped := before.where()
	for i := range flipped {
		flipped[i] ^= 1
	}
	for name, p := range map[string][]byte{
		"flipped": flipped, "short": {1}, "long": bytes.Repeat([]byte{1, 0}, 1<<20),
	} {
		stream, err := c.Watch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, req := range []*routerv1.WatchRequest{
			{Part: &routerv1.WatchRequest_Hello{Hello: &routerv1.WatchHello{Position: p}}}, {Part: &routerv1.WatchRequest_AddApp{AddApp: "web"}},
		} {
			if err := stream.Send(req); err != nil {
				t.Fatal(err)
			}
		}
		machines := 0
		for machines < 4 {
			resp, err := stream.Recv()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if resp.GetMachine() != nil {
				machines++
			}
		}
	}
}
