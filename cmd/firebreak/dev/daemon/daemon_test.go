package daemon_test

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc"
	"pgregory.net/rapid"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/daemon"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/propagation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

var place = truth.Place{Region: "iad", Worker: "iad-1"}

// node is a region node that keeps what its daemon said. While down it fails;
// a call may fail after it was applied, as one whose answer is lost.
type node struct {
	regionv1.RegionServiceClient // what a daemon must not call

	mu    sync.Mutex
	rows  map[string]string // id → app
	ports map[string]uint32
	ill   map[string]daemon.Health
	calls []string
	fail  func() (before, after error)
}

func newNode() *node {
	return &node{rows: map[string]string{}, ports: map[string]uint32{}, ill: map[string]daemon.Health{}, fail: func() (error, error) { return nil, nil }}
}

func (n *node) do(call string, apply func()) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	before, after := n.fail()
	if before != nil {
		return before
	}
	n.calls = append(n.calls, call)
	apply()
	return after
}

func (n *node) Publish(_ context.Context, r *regionv1.PublishRequest, _ ...grpc.CallOption) (*regionv1.PublishResponse, error) {
	return &regionv1.PublishResponse{}, n.do("publish", func() {
		for _, m := range r.Machines {
			n.rows[m.Id] = m.App
			n.ports[m.Id] = m.Services[0].Port
		}
	})
}

func (n *node) Withdraw(_ context.Context, r *regionv1.WithdrawRequest, _ ...grpc.CallOption) (*regionv1.WithdrawResponse, error) {
	answer := &regionv1.WithdrawResponse{}
	return answer, n.do("withdraw", func() {
		for _, id := range r.Ids {
			if _, ok := n.rows[id]; !ok {
				answer.Unknown = append(answer.Unknown, id)
			}
			delete(n.rows, id)
			delete(n.ill, id)
		}
	})
}

func (n *node) SetHealth(_ context.Context, r *regionv1.SetHealthRequest, _ ...grpc.CallOption) (*regionv1.SetHealthResponse, error) {
	return &regionv1.SetHealthResponse{}, n.do("health", func() {
		for _, h := range r.Health {
			n.ill[h.Id] = h.Status
		}
	})
}

type reconciling struct {
	grpc.ClientStreamingClient[regionv1.ReconcileRequest, regionv1.ReconcileResponse]
	n    *node
	list []*regionv1.Machine
}

func (n *node) Reconcile(context.Context, ...grpc.CallOption) (grpc.ClientStreamingClient[regionv1.ReconcileRequest, regionv1.ReconcileResponse], error) {
	return &reconciling{n: n}, nil
}

func (r *reconciling) Send(req *regionv1.ReconcileRequest) error {
	if m := req.GetMachine(); m != nil {
		r.list = append(r.list, m)
	}
	return nil
}

func (r *reconciling) CloseAndRecv() (*regionv1.ReconcileResponse, error) {
	return &regionv1.ReconcileResponse{}, r.n.do("reconcile", func() {
		clear(r.n.rows)
		for _, m := range r.list {
			r.n.rows[m.Id], r.n.ports[m.Id] = m.App, m.Services[0].Port
			if m.Health != regionv1.HealthStatus_HEALTH_STATUS_UNSPECIFIED {
				r.n.ill[m.Id] = m.Health // without one, what was said before stays
			}
		}
		maps.DeleteFunc(r.n.ill, func(id string, _ daemon.Health) bool { return r.n.rows[id] == "" })
	})
}

func (n *node) shown() []truth.Machine {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []truth.Machine
	for id, app := range n.rows {
		failing := n.ill[id] == regionv1.HealthStatus_HEALTH_STATUS_FAILING
		out = append(out, truth.Machine{Place: place, ID: fleet.MachineID(id), App: fleet.App(app), Failing: failing})
	}
	slices.SortFunc(out, truth.Machine.Compare)
	return out
}

// machines is a host that only remembers.
type machines map[fleet.MachineID]truth.Machine

func (ms machines) Start(id fleet.MachineID, app fleet.App) netip.AddrPort {
	if m, ok := ms[id]; !ok || m.App != app {
		ms[id] = truth.Machine{Place: place, ID: id, App: app}
	}
	return netip.MustParseAddrPort("127.64.0.1:8080")
}

func (ms machines) Stop(id fleet.MachineID) { delete(ms, id) }

func (ms machines) SetFailing(id fleet.MachineID, failing bool) {
	if m, ok := ms[id]; ok {
		m.Failing = failing
		ms[id] = m
	}
}

func (machines) Told(...fleet.MachineID) {}
func (machines) ToldAll()                {}

func (ms machines) Running() []fleet.MachineID { return slices.Collect(maps.Keys(ms)) }

func (ms machines) sorted() []truth.Machine {
	return slices.SortedFunc(maps.Values(ms), truth.Machine.Compare)
}

// witness also remembers for which machines its node has answered.
type witness struct {
	machines
	told []fleet.MachineID
}

func (w *witness) Told(ids ...fleet.MachineID) { w.told = append(w.told, ids...) }
func (w *witness) ToldAll()                    { w.told = append(w.told, "all") }

func newDaemon(n *node, model *truth.Model) *daemon.Daemon {
	return daemon.New(daemon.Config{
		Place: place, Client: n, Host: machines{}, Truth: model,
		Tracker: propagation.New(nil), Numbers: &atomic.Uint64{}, Progress: func(string) {},
	})
}

// run starts d in a bubble and stops it when the returned function is called.
func run(t *testing.T, d *daemon.Daemon) func() {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestANodeEndsWithTheTruthWhateverFails(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		failures := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 30).Draw(rt, "failures")
		changes := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) daemon.Change {
			return daemon.Change{
				ID:        fleet.MachineID(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "id")),
				App:       fleet.App(rapid.SampledFrom([]string{"web", "api"}).Draw(rt, "app")),
				Gone:      rapid.Bool().Draw(rt, "gone"),
				Destroyed: rapid.Bool().Draw(rt, "destroyed"),
				Health:    daemon.Health(rapid.SampledFrom([]int32{0, 0, 1, 2, 3}).Draw(rt, "health")),
			}
		}), 1, 60).Draw(rt, "changes")
		synctest.Test(t, func(t *testing.T) {
			n, model := newNode(), truth.New()
			n.fail = func() (before, after error) {
				if len(failures) == 0 {
					return nil, nil
				}
				f := failures[0]
				failures = failures[1:]
				switch f {
				case 0:
					return errors.New("node is down"), nil
				case 1:
					return nil, errors.New("answer is lost")
				}
				return nil, nil
			}
			host := machines{}
			d := daemon.New(daemon.Config{
				Place: place, Client: n, Host: host, Truth: model,
				Tracker: propagation.New(nil), Numbers: &atomic.Uint64{}, Progress: func(string) {},
			})
			stop := run(t, d)
			for len(changes) > 0 {
				k := min(len(changes), 1+len(changes)%5)
				if err := d.Offer(t.Context(), changes[:k]...); err != nil {
					t.Fatal(err)
				}
				changes = changes[k:]
			}
			if err := d.Idle(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]truth.Machine(model.Snapshot()), n.shown(), cmpopts.EquateEmpty()); diff != "" {
				rt.Errorf("the node differs (-truth +node):\n%s", diff)
			}
			if diff := cmp.Diff([]truth.Machine(model.Snapshot()), host.sorted(), cmpopts.EquateEmpty()); diff != "" {
				rt.Errorf("the host differs (-truth +host):\n%s", diff)
			}
			for id := range n.rows {
				if n.ports[id] != 8080 {
					rt.Errorf("%s is published with port %d", id, n.ports[id])
				}
			}
			stop()
		})
	})
}

func TestChangesOfOneMachineKeepTheirOrderAndOthersTravelTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		d := newDaemon(n, truth.New())
		stop := run(t, d)
		if err := d.Idle(t.Context()); err != nil {
			t.Fatal(err)
		}
		changes := []daemon.Change{{ID: "brief", App: "web"}, {ID: "brief", Gone: true}, {ID: "again", App: "web"}, {ID: "again", Gone: true}, {ID: "again", App: "web"}}
		for _, id := range []fleet.MachineID{"a", "b", "c"} {
			changes = append(changes, daemon.Change{ID: id, App: "web"})
		}
		if err := d.Offer(t.Context(), changes...); err != nil {
			t.Fatal(err)
		}
		if err := d.Idle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"reconcile", "publish", "withdraw", "publish"}, n.calls); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		stop()
	})
}

func TestAMachineRunsFromBeforeItsNodeHearsOfItUntilAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, host := newNode(), &witness{machines: machines{}}
		var during []string // what ran while the node was called
		var down error
		n.fail = func() (before, after error) {
			ran := "-"
			for id := range host.machines {
				ran = string(id)
			}
			during = append(during, ran)
			return down, nil
		}
		d := daemon.New(daemon.Config{
			Place: place, Client: n, Host: host, Truth: truth.New(),
			Tracker: propagation.New(nil), Numbers: &atomic.Uint64{}, Progress: func(string) {},
		})
		stop := run(t, d)
		if err := d.Idle(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, c := range []daemon.Change{{ID: "a", App: "web"}, {ID: "a", Gone: true}} {
			if err := d.Offer(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if err := d.Idle(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff([]string{"-", "a", "a"}, during); diff != "" || len(host.machines) > 0 {
			t.Errorf("%v runs in the end; (-want +ran):\n%s", host.machines, diff)
		}
		for _, c := range []daemon.Change{{ID: "b", App: "web"}, {ID: "b", Gone: true}} {
			down = errors.New("node is down")
			if err := d.Offer(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if _, runs := host.machines["b"]; runs == c.Gone {
				t.Errorf("with its node down: gone %v, runs %v", c.Gone, runs)
			}
		}
		if diff := cmp.Diff([]fleet.MachineID{"all", "a", "a"}, host.told); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		stop()
	})
}

func TestHeldChangesHappenAfterTheNodeHasTheFullListAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, model := newNode(), truth.New()
		d := newDaemon(n, model)
		stop := run(t, d)
		if err := d.Idle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := d.Offer(t.Context(), daemon.Change{ID: "a", App: "web"}); err != nil {
			t.Fatal(err)
		}
		if err := d.Hold(t.Context()); err != nil {
			t.Fatal(err)
		}
		offered := make(chan error, 1)
		go func() { offered <- d.Offer(t.Context(), daemon.Change{ID: "b", App: "web"}) }()
		synctest.Wait()
		if len(model.Snapshot()) != 1 || len(n.rows) != 1 {
			t.Errorf("while held: %v is true, the node has %v", model.Snapshot(), n.rows)
		}
		clear(n.rows) // it restarts, without its memory
		d.Release()
		if err := <-offered; err != nil {
			t.Error(err)
		}
		if err := d.Idle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := model.Snapshot().Diff(n.shown()); diff != "" || n.calls[2] != "reconcile" {
			t.Errorf("%s after %v", diff, n.calls)
		}
		stop()
	})
}

func TestWhatIsThereFromTheStartGoesInOneReconcile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		n.rows["old"] = "web"
		d := newDaemon(n, truth.New())
		var initial []daemon.Change
		for range 2000 {
			initial = append(initial, daemon.Change{ID: fleet.MachineID("m" + strings.Repeat("x", len(initial)%100) + string(rune('0'+len(initial)/100))), App: "web"})
		}
		if err := d.Offer(t.Context(), initial...); err != nil {
			t.Fatal(err)
		}
		stop := run(t, d)
		if err := d.Idle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(n.calls, []string{"reconcile"}) || len(n.rows) != 2000 {
			t.Errorf("calls %v, %d machines", n.calls, len(n.rows))
		}
		stop()
	})
}

func TestIdleSaysWhyTheNodeCannotBeTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		n.fail = func() (error, error) { return errors.New("node is down"), nil }
		d := newDaemon(n, truth.New())
		stop := run(t, d)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := d.Idle(ctx); err == nil || !strings.Contains(err.Error(), "iad/iad-1: reconcile: node is down") {
			t.Errorf("got %v", err)
		}
		stop()
	})
}

func TestAnOfferWaitsWhileTooMuchIsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDaemon(newNode(), truth.New()) // not running
		for range 10_000 {
			if err := d.Offer(t.Context(), daemon.Change{ID: "a", App: "web"}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error)
		go func() { result <- d.Offer(ctx, daemon.Change{ID: "b", App: "web"}) }()
		synctest.Wait()
		if d.Waiting() != 10_000 {
			t.Errorf("%d changes are waiting", d.Waiting())
		}
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestMetadataCarriesTheNumber(t *testing.T) {
	if got := daemon.Number(daemon.Metadata(7)); got != 7 {
		t.Errorf("got %d", got)
	}
	for _, other := range []string{"", "{}", "nonsense", `{"write":"x"}`, `[1]`} {
		if got := daemon.Number(other); got != 0 {
			t.Errorf("%q has number %d", other, got)
		}
	}
}
