package reporter_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence/wire"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
	"github.com/firebreak-dev/firebreak/region/report/reporter"
)

var generation = presence.Generation{Number: 1, Bits: 0xfeed}

// view is a region under the test's hand.
type view struct {
	mu      sync.Mutex
	counts  map[fleet.App]int
	changed chan struct{}
	fit     bool
	stuck   bool // cannot catch up
}

func newView(counts map[fleet.App]int) *view {
	return &view{counts: counts, changed: make(chan struct{}), fit: true}
}

func (v *view) set(app fleet.App, n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	next := map[fleet.App]int{app: n}
	for a, n := range v.counts {
		if a != app {
			next[a] = n
		}
	}
	v.counts = next
	close(v.changed)
	v.changed = make(chan struct{})
}

func (v *view) Counts() (map[fleet.App]int, <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.counts, v.changed
}

func (v *view) Fit() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.fit
}

func (v *view) Candidates() []fleet.Worker {
	if v.Fit() {
		return []fleet.Worker{"n1"}
	}
	return []fleet.Worker{"n2"}
}

func (v *view) Gateways() []presence.Gateway {
	return []presence.Gateway{{Node: "n1", Address: "n1:1"}}
}

func (v *view) Withheld() uint64 { return 0 }

func (v *view) WaitCaughtUp(ctx context.Context) error {
	v.mu.Lock()
	stuck := v.stuck
	v.mu.Unlock()
	if stuck {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// node is a global node that takes everything.
type node struct {
	globalv1.UnimplementedReportServiceServer
	lis *bufconn.Listener
	srv *grpc.Server

	mu        sync.Mutex
	rows      map[string]*globalv1.Presence
	batches   int
	regions   int
	confirmed int
	sessions  int
}

func newNode() *node {
	n := &node{lis: bufconn.Listen(1 << 20), srv: grpc.NewServer(), rows: map[string]*globalv1.Presence{}}
	globalv1.RegisterReportServiceServer(n.srv, n)
	go func() { _ = n.srv.Serve(n.lis) }()
	return n
}

func (n *node) Report(stream globalv1.ReportService_ReportServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if h := first.GetHello(); h.GetRegion() != "iad" || h.GetReporter() != "n1" || wire.ToGeneration(h.GetGeneration()) != generation {
		return fmt.Errorf("hello %v", h)
	}
	n.mu.Lock()
	n.sessions++
	whole := &globalv1.OwnReport{Full: true, Last: true}
	for _, p := range n.rows {
		whole.Presence = append(whole.Presence, p)
	}
	n.mu.Unlock()
	var sending sync.Mutex
	send := func(m *globalv1.ReportResponse) {
		sending.Lock()
		defer sending.Unlock()
		_ = stream.Send(m)
	}
	asking := make(chan struct{})
	go func() {
		defer close(asking)
		for token := uint64(1); stream.Context().Err() == nil; token++ {
			send(&globalv1.ReportResponse{Part: &globalv1.ReportResponse_Token{Token: &globalv1.Token{Token: token}}})
			select {
			case <-stream.Context().Done():
			case <-time.After(2 * time.Second):
			}
		}
	}()
	defer func() { <-asking }()
	send(&globalv1.ReportResponse{Part: &globalv1.ReportResponse_Own{Own: whole}})
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		change := n.take(m)
		if change == nil {
			continue
		}
		send(&globalv1.ReportResponse{Part: &globalv1.ReportResponse_Accepted{Accepted: &globalv1.ReportAccepted{Presence: 1}}})
		send(&globalv1.ReportResponse{Part: &globalv1.ReportResponse_Own{Own: change}})
	}
}

func (n *node) take(m *globalv1.ReportRequest) *globalv1.OwnReport {
	n.mu.Lock()
	defer n.mu.Unlock()
	change := &globalv1.OwnReport{Last: true}
	switch {
	case m.GetPresence() != nil:
		n.batches++
		change.Presence = m.GetPresence().GetPresence()
		for _, p := range change.Presence {
			n.rows[p.GetApp()] = p
		}
	case m.GetRegion() != nil:
		n.regions++
		change.Region = m.GetRegion()
	case m.GetConfirmation() != nil:
		n.confirmed++
		return nil
	}
	return change
}

func (n *node) class(app string) uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rows[app].GetClass()
}

func (n *node) numbers() (batches, regions, confirmed, sessions int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.batches, n.regions, n.confirmed, n.sessions
}

// start runs a reporter against nodes until the test's end.
func start(t *testing.T, v *view, freeze func() bool, nodes ...*node) *reporter.Reporter {
	t.Helper()
	addrs := map[string]*node{}
	var names []string
	for i, n := range nodes {
		name := fmt.Sprintf("g%d", i)
		addrs[name], names = n, append(names, name)
	}
	r, err := reporter.New(reporter.Config{
		Fleet: "test", Region: "iad", Node: "n1", Generation: generation, Globals: names, View: v, Freeze: freeze,
		Dial: func(addr string) (*grpc.ClientConn, error) {
			return grpc.NewClient("passthrough:"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return addrs[addr].lis.DialContext(ctx) }))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		for _, n := range nodes {
			n.srv.Stop()
		}
	})
	return r
}

// after lets fake time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestRowsGoToOneNodeAndConfirmationsToAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newNode(), newNode()
		v := newView(map[fleet.App]int{"web": 3})
		r := start(t, v, nil, a, b)
		after(3 * time.Second)
		aRows, aRegions, aConfirmed, _ := a.numbers()
		bRows, bRegions, bConfirmed, _ := b.numbers()
		if aRows+bRows != 1 || aRegions+bRegions != 1 {
			t.Errorf("%d and %d batches, %d and %d region records, want one of each in all", aRows, bRows, aRegions, bRegions)
		}
		if aConfirmed == 0 || bConfirmed == 0 {
			t.Errorf("%d and %d confirmations, want some of each", aConfirmed, bConfirmed)
		}
		if a.class("web")+b.class("web") != 2 || !r.Active() {
			t.Errorf("class %d and %d, active %v", a.class("web"), b.class("web"), r.Active())
		}
		v.set("db", 1)
		after(100 * time.Millisecond)
		if a.class("db")+b.class("db") != 1 {
			t.Error("none → some took more than 100 ms")
		}
	})
}

func TestReturnWithinTheHoldSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		v := newView(map[fleet.App]int{"web": 3})
		start(t, v, nil, n)
		after(time.Second)
		v.set("web", 0)
		after(4 * time.Second)
		v.set("web", 2)
		after(time.Minute)
		if batches, _, _, _ := n.numbers(); batches != 1 {
			t.Errorf("%d batches, want the first alone", batches)
		}
		v.set("web", 0)
		after(6 * time.Second)
		if batches, _, _, _ := n.numbers(); batches != 2 || n.class("web") != 0 {
			t.Errorf("after the hold: %d batches and class %d, want 2 and 0", batches, n.class("web"))
		}
	})
}

func TestALostIngressIsReplacedByTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newNode(), newNode()
		v := newView(map[fleet.App]int{"web": 3})
		start(t, v, nil, a, b)
		after(time.Second)
		ingress, other := a, b
		if b.class("web") > 0 {
			ingress, other = b, a
		}
		ingress.srv.Stop()
		after(time.Second)
		if other.class("web") != 2 {
			t.Errorf("the other node has class %d, want 2", other.class("web"))
		}
	})
}

func TestATokenWaitsForCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		v := newView(map[fleet.App]int{"web": 3})
		v.stuck = true
		start(t, v, nil, n)
		after(20 * time.Second)
		if _, _, confirmed, _ := n.numbers(); confirmed != 0 {
			t.Error("it confirmed without having caught up")
		}
	})
}

func TestANodeThatIsNotFitReportsAndConfirmsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		v := newView(map[fleet.App]int{"web": 3})
		v.fit = false
		r := start(t, v, nil, n)
		after(20 * time.Second)
		if batches, _, confirmed, _ := n.numbers(); batches+confirmed != 0 || r.Active() {
			t.Errorf("%d batches and %d confirmations, active %v", batches, confirmed, r.Active())
		}
	})
}

func TestFrozenEgressHasNoSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		v := newView(map[fleet.App]int{"web": 3})
		var frozen sync.Mutex
		is := true
		start(t, v, func() bool { frozen.Lock(); defer frozen.Unlock(); return is }, n)
		after(time.Minute)
		if _, _, _, sessions := n.numbers(); sessions != 0 {
			t.Error("it has a session")
		}
		frozen.Lock()
		is = false
		frozen.Unlock()
		after(10 * time.Second)
		if n.class("web") != 2 {
			t.Error("it does not report after the freeze")
		}
	})
}

func TestConfigNamesEveryProblem(t *testing.T) {
	_, err := reporter.New(reporter.Config{})
	if err == nil {
		t.Fatal("an empty config passes")
	}
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) < 5 {
		t.Errorf("%v names too little", err)
	}
}
