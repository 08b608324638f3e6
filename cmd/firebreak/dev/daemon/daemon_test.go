package daemon_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
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
	calls []string
	fail  func() (before, after error)
}

func newNode() *node {
	return &node{rows: map[string]string{}, fail: func() (error, error) { return nil, nil }}
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
		}
	})
}

type reconciling struct {
	grpc.ClientStreamingClient[regionv1.ReconcileRequest, regionv1.ReconcileResponse]
	n    *node
	list map[string]string
}

func (n *node) Reconcile(context.Context, ...grpc.CallOption) (grpc.ClientStreamingClient[regionv1.ReconcileRequest, regionv1.ReconcileResponse], error) {
	return &reconciling{n: n, list: map[string]string{}}, nil
}

func (r *reconciling) Send(req *regionv1.ReconcileRequest) error {
	if m := req.GetMachine(); m != nil {
		r.list[m.Id] = m.App
	}
	return nil
}

func (r *reconciling) CloseAndRecv() (*regionv1.ReconcileResponse, error) {
	return &regionv1.ReconcileResponse{}, r.n.do("reconcile", func() { r.n.rows = r.list })
}

func (n *node) shown() []truth.Machine {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []truth.Machine
	for id, app := range n.rows {
		out = append(out, truth.Machine{Place: place, ID: fleet.MachineID(id), App: fleet.App(app)})
	}
	return out
}

func newDaemon(n *node, model *truth.Model) *daemon.Daemon {
	return daemon.New(daemon.Config{
		Place: place, Client: n, Truth: model,
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
			d := newDaemon(n, model)
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
			if diff := model.Snapshot().Diff(n.shown()); diff != "" {
				rt.Errorf("the node differs: %s", diff)
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

func TestEveryMachineHasAnAddressOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[string]bool{}
		for _, p := range []truth.Place{place, {Region: "ams", Worker: "iad-1"}} {
			for i := range 2000 {
				a := daemon.Address(truth.Machine{Place: p, ID: fleet.MachineID(rune('a' + i))})
				if ip, err := netip.ParseAddr(a); err != nil || !ip.IsPrivate() || seen[a] {
					t.Fatalf("address %s: %v, seen %v", a, err, seen[a])
				}
				seen[a] = true
			}
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
