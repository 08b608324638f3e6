package global_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence/wire"
	"github.com/firebreak-dev/firebreak/internal/identity"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
)

// router follows the directory at a node.
type router struct {
	t       *testing.T
	stream  globalv1.DirectoryService_WatchClient
	classes map[string]uint32 // by region/app
	held    map[string]bool
}

func (w *world) router(n *running) *router {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), streamFor)
	w.t.Cleanup(cancel)
	r := &router{t: w.t, classes: map[string]uint32{}, held: map[string]bool{}}
	conn := w.dial(n, identity.ID{Role: identity.Router, Name: "r1"})
	eventually(w.t, "watch the directory", func() error {
		stream, err := globalv1.NewDirectoryServiceClient(conn).Watch(ctx)
		if err != nil {
			return err
		}
		if err := stream.Send(&globalv1.WatchRequest{Router: "r1"}); err != nil {
			return err
		}
		m, err := stream.Recv()
		if err == nil && m.GetSnapshot().GetFleet() != fleetName {
			w.t.Fatalf("a watch begins with %v", m)
		}
		r.stream = stream
		return err
	})
	return r
}

// until reads until done.
func (r *router) until(done func(*globalv1.WatchResponse) bool) {
	r.t.Helper()
	for {
		m, err := r.stream.Recv()
		if err != nil {
			r.t.Fatalf("watch: %v", err)
		}
		if e := m.GetEntry(); e != nil {
			if e.GetRank() == nil {
				r.t.Errorf("entry without a rank: %v", e)
			}
			if p := e.GetPresence(); p != nil {
				r.classes[e.GetRegion()+"/"+p.GetApp()] = p.GetClass()
				r.held[e.GetRegion()+"/"+p.GetApp()] = e.GetHeld()
			}
		}
		if done(m) {
			return
		}
	}
}

func synced(m *globalv1.WatchResponse) bool { return m.GetSynced() != nil }

func TestAWatchBeginsWholeAndFollowsWithinASecond(t *testing.T) {
	w := newWorld(t)
	nodes := w.trio()
	w.addRegion(nodes[0], "iad")
	w.addRegion(nodes[0], "ams")
	g := w.report(nodes[0], "iad", "iad-1", nil)
	var records []presence.Record
	for i := range 600 { // more than one turn
		records = append(records, g.record(fmt.Sprintf("app-%d", i), 1, nowMs()))
	}
	g.presence(records...)
	g.accepted()
	w.wantClass(nodes, "app-599", "iad", 1)

	r := w.router(nodes[2])
	r.until(synced)
	if len(r.classes) != 600 {
		t.Fatalf("%d apps before synced, want 600", len(r.classes))
	}
	begin := time.Now()
	g.presence(g.record("late", 2, nowMs()))
	r.until(func(*globalv1.WatchResponse) bool { return r.classes["iad/late"] == 2 })
	if took := time.Since(begin); took > time.Second {
		t.Errorf("a report at another node took %v to a router, want under 1s", took)
	}
}

func TestATokenIsAnsweredWithEveryRegionsConfirmations(t *testing.T) {
	w := newWorld(t)
	g1 := w.start("g1")
	w.addRegion(g1, "iad")
	g := w.report(g1, "iad", "iad-1", nil)
	token := next(g, (*globalv1.ReportResponse).GetToken).GetToken()
	digest := []byte("0123456789abcdef")
	g.send(&globalv1.ReportRequest{Part: &globalv1.ReportRequest_Confirmation{Confirmation: &globalv1.Confirmation{
		Region: "iad", Reporter: "iad-1", Generation: wire.Generation(generation), Boot: 5, Token: token,
		Algorithm: 1, Digest: digest, OfferedWithdrawals: 2, Withheld: 3,
	}}})
	for len(g.last.GetConfirmedReporters()) == 0 {
		g.own()
	}
	r := w.router(g1)
	if err := r.stream.Send(&globalv1.WatchRequest{Token: 77}); err != nil {
		t.Fatal(err)
	}
	r.until(func(m *globalv1.WatchResponse) bool {
		c := m.GetConfirmations()
		if c == nil {
			return false
		}
		got := c.GetConfirmations()
		if c.GetToken() != 77 || len(got) != 1 || string(got[0].GetDigest()) != string(digest) || got[0].GetBoot() != 5 ||
			got[0].GetOfferedWithdrawals() != 2 || got[0].GetWithheld() != 3 || got[0].GetAgeMs() < 0 || got[0].GetAgeMs() > 5000 {
			t.Errorf("token 77 was answered with %v", c)
		}
		return true
	})
}

// A router that never reads must cost the others nothing, and this node no
// memory: it holds a place, not a queue.
func TestAStuckRouterHoldsUpNobody(t *testing.T) {
	w := newWorld(t)
	g1 := w.start("g1")
	w.addRegion(g1, "iad")
	stuck := w.router(g1) // does not read on
	r := w.router(g1)
	r.until(synced)
	g := w.report(g1, "iad", "iad-1", nil)
	classes := []presence.Class{1, 2, 3}
	stamp := nowMs() - 100_000
	for round := range 15 {
		var records []presence.Record
		for i := range 400 {
			records = append(records, g.record(fmt.Sprintf("%s-%050d", "app", i), classes[round%3], stamp+int64(round)))
		}
		g.presence(records...)
		if got := g.accepted(); got != 400 {
			t.Fatalf("round %d: %d accepted, want 400", round, got)
		}
	}
	g.presence(g.record("last", 1, nowMs()))
	r.until(func(*globalv1.WatchResponse) bool { return r.classes["iad/last"] == 1 })
	// Once it reads on, it finds its place.
	stuck.until(func(*globalv1.WatchResponse) bool { return stuck.classes["iad/last"] == 1 })
	if len(stuck.classes) != 401 {
		t.Errorf("the stuck router learned of %d apps, want 401", len(stuck.classes))
	}
	for app, class := range r.classes {
		if stuck.classes[app] != class {
			t.Errorf("%s: the stuck router has class %d, the other %d", app, stuck.classes[app], class)
		}
	}
}

func TestNobodyIsServedBeforeTheNodeCaughtUp(t *testing.T) {
	w := newWorld(t)
	lonely := w.start("g1", "127.0.0.1:9") // nobody is there
	_, err := w.lookup(lonely, "web", "iad")
	if status.Code(err) != codes.Unavailable {
		t.Errorf("lookup at a node that has met no peer: %v, want Unavailable", err)
	}
	out, err := globalv1.NewDirectoryServiceClient(w.operator(lonely)).Status(t.Context(), &globalv1.StatusRequest{})
	if err != nil || out.GetServing() || out.GetNotServingBecause() == "" {
		t.Errorf("status of it: %v, %v, want not serving and why", out, err)
	}
}

func TestARestartedNodeCatchesUpBeforeItServes(t *testing.T) {
	w := newWorld(t)
	nodes := w.trio()
	w.addRegion(nodes[0], "iad")
	g := w.report(nodes[0], "iad", "iad-1", nil)
	g.presence(g.record("old", 1, nowMs()))
	g.accepted()
	w.wantClass(nodes, "old", "iad", 1)
	nodes[2].stop()
	w.addRegion(nodes[0], "nrt") // and a whole region, while it is down
	n := w.report(nodes[0], "nrt", "nrt-1", nil)
	n.presence(n.record("far", 2, nowMs()))
	n.accepted()
	g.presence(g.record("new", 4, nowMs()), g.record("old", 0, nowMs()))
	g.accepted()

	again := w.start("g3", nodes[0].Addresses().Gossip)
	var got uint32
	eventually(t, "g3 serves", func() (err error) {
		got, err = w.lookup(again, "new", "iad")
		return err
	})
	if got != 4 {
		t.Errorf("the first answer after its restart gives class %d, want 4: it served before it had caught up", got)
	}
	w.wantClass([]*running{again}, "far", "nrt", 2)
	w.wantClass([]*running{again}, "old", "iad", 0)
}
