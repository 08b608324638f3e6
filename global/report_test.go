package global_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence/wire"
	"github.com/firebreak-dev/firebreak/internal/identity"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
)

func TestOnlyARegionsOwnGatewayReportsForIt(t *testing.T) {
	w := newWorld(t)
	g1 := w.start("g1")
	w.addRegion(g1, "iad")
	w.addRegion(g1, "ams")
	other := presence.Generation{Number: 2, Bits: 7}
	hello := func(region, reporter string, g presence.Generation) *globalv1.ReportHello {
		return &globalv1.ReportHello{Region: region, Reporter: reporter, Generation: wire.Generation(g)}
	}
	for name, c := range map[string]struct {
		hello *globalv1.ReportHello
		want  codes.Code
		says  string
	}{
		"another region":          {hello("ams", "iad-1", generation), codes.PermissionDenied, "ams"},
		"another gateway's name":  {hello("iad", "iad-2", generation), codes.PermissionDenied, "iad-2"},
		"another generation":      {hello("iad", "iad-1", other), codes.FailedPrecondition, "2-0000000000000007"},
		"a forged generation":     {hello("iad", "iad-1", presence.Generation{Number: math.MaxUint64, Bits: 1}), codes.FailedPrecondition, "generation"},
		"a region with no name":   {hello("", "iad-1", generation), codes.PermissionDenied, ""},
		"a megabyte for a region": {hello(strings.Repeat("x", 1<<20), "iad-1", generation), codes.PermissionDenied, ""},
	} {
		err := w.report(g1, "iad", "iad-1", c.hello).ended()
		if got := status.Code(err); got != c.want || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 1000 {
			t.Errorf("%s: ended with %.300v, want %v naming %q", name, err, c.want, c.says)
		}
	}
	if err := w.report(g1, "nrt", "nrt-1", nil).ended(); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "firebreak region add nrt") {
		t.Errorf("an unknown region: ended with %v, want what adds it", err)
	}
	for _, role := range []identity.Role{identity.Router, identity.Operator, identity.Client} {
		id := identity.ID{Role: role, Name: "x"}
		ctx, cancel := context.WithTimeout(t.Context(), streamFor)
		defer cancel()
		stream, err := globalv1.NewReportServiceClient(w.dial(g1, id)).Report(ctx)
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("role %v reports: %v, want PermissionDenied", role, err)
		}
	}
}

func TestBadReportsAreRefusedWithTheReasonAndTheRestIsTaken(t *testing.T) {
	w := newWorld(t)
	g1 := w.start("g1")
	w.addRegion(g1, "iad")
	g := w.report(g1, "iad", "iad-1", nil)
	now := nowMs()
	bad := func(change func(*presence.Record)) presence.Record {
		r := g.record("bad", 1, now)
		change(&r)
		return r
	}
	for name, c := range map[string]struct {
		record presence.Record
		code   globalv1.RefusalCode
		says   string
	}{
		"a dotted app":             {bad(func(r *presence.Record) { r.App = "we.b" }), globalv1.RefusalCode_REFUSAL_CODE_RECORD, "we.b"},
		"a long app":               {bad(func(r *presence.Record) { r.App = fleet.App(strings.Repeat("a", 64)) }), globalv1.RefusalCode_REFUSAL_CODE_RECORD, "63"},
		"a record over its size":   {bad(func(r *presence.Record) { r.App = fleet.App(strings.Repeat("a", 300)) }), globalv1.RefusalCode_REFUSAL_CODE_RECORD, "256"},
		"a class beyond all":       {bad(func(r *presence.Record) { r.Class = 99 }), globalv1.RefusalCode_REFUSAL_CODE_RECORD, "class"},
		"another reporter":         {bad(func(r *presence.Record) { r.Rank.Reporter = "iad-2" }), globalv1.RefusalCode_REFUSAL_CODE_RECORD, "iad-2"},
		"the maximum stamp":        {bad(func(r *presence.Record) { r.Rank.Stamp = math.MaxInt64 }), globalv1.RefusalCode_REFUSAL_CODE_NODE, "ahead"},
		"a stamp beyond integers":  {bad(func(r *presence.Record) { r.Rank.Stamp = math.MaxUint64 }), globalv1.RefusalCode_REFUSAL_CODE_RECORD, "stamp"},
		"a stamp a second ahead":   {bad(func(r *presence.Record) { r.Rank.Stamp += 60_000 }), globalv1.RefusalCode_REFUSAL_CODE_NODE, "ahead"},
		"the maximum generation":   {bad(func(r *presence.Record) { r.Rank.Generation.Number = math.MaxInt64 }), globalv1.RefusalCode_REFUSAL_CODE_NODE, "generation"},
		"a withdrawal without age": {bad(func(r *presence.Record) { r.Class = 0 }), globalv1.RefusalCode_REFUSAL_CODE_RECORD, "since"},
	} {
		g.presence(c.record, g.record("good", 1, now))
		got := g.refused()
		if got.GetCode() != c.code || !strings.Contains(got.GetReason(), c.says) {
			t.Errorf("%s: refused with %v, want %v naming %q", name, got, c.code, c.says)
		}
		if n := g.accepted(); n != 1 {
			t.Errorf("%s: %d accepted beside it, want 1", name, n)
		}
	}
	if got, _ := w.lookup(g1, "bad", "iad"); got != 0 {
		t.Errorf("a refused report is in the directory as class %d", got)
	}
}

func TestALosingReportIsAnsweredWithTheWinningStamp(t *testing.T) {
	w := newWorld(t)
	g1 := w.start("g1")
	w.addRegion(g1, "iad")
	a, b := w.report(g1, "iad", "iad-1", nil), w.report(g1, "iad", "iad-2", nil)
	now := nowMs()
	a.presence(a.record("web", 3, now))
	if got := a.accepted(); got != 1 {
		t.Fatalf("%d accepted, want 1", got)
	}
	b.presence(b.record("web", 2, now-1))
	if got := b.refused(); got.GetCode() != globalv1.RefusalCode_REFUSAL_CODE_LOST || got.GetWinningStamp() != uint64(now) {
		t.Errorf("refused with %v, want LOST to stamp %d", got, now)
	}
	b.accepted()
	b.presence(b.record("web", 2, now+1))
	if got := b.accepted(); got != 1 {
		t.Errorf("stamped above the winner: %d accepted, want 1", got)
	}
	w.wantClass([]*running{g1}, "web", "iad", 2)
}

func TestSayingItAgainWritesNothing(t *testing.T) {
	w := newWorld(t)
	g1 := w.start("g1")
	w.addRegion(g1, "iad")
	g := w.report(g1, "iad", "iad-1", nil)
	g.presence(g.record("web", 3, nowMs()))
	g.accepted()
	before := laneRoot(w, g1, "iad")
	for i := range 5 {
		g.presence(g.record("web", 3, nowMs()+int64(i)))
		if got := g.accepted(); got != 1 {
			t.Fatalf("%d accepted, want 1", got)
		}
	}
	if after := laneRoot(w, g1, "iad"); after != before {
		t.Error("the same class under new stamps changed the store")
	}
}

func laneRoot(w *world, n *running, region string) string {
	w.t.Helper()
	out, err := globalv1.NewDirectoryServiceClient(w.operator(n)).Status(w.t.Context(), &globalv1.StatusRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, l := range out.GetLanes() {
		if l.GetRegion() == region {
			return l.GetRoot()
		}
	}
	w.t.Fatalf("no lane of %s", region)
	return ""
}

func TestARegionIsToldOfItselfAlone(t *testing.T) {
	w := newWorld(t)
	g1 := w.start("g1")
	w.addRegion(g1, "iad")
	w.addRegion(g1, "ams")
	ams := w.report(g1, "ams", "ams-1", nil)
	ams.own()
	iad := w.report(g1, "iad", "iad-1", nil)
	for i := range 50 {
		iad.presence(iad.record(fmt.Sprintf("app-%d", i), 1, nowMs()))
		iad.accepted()
	}
	ams.presence(ams.record("own", 1, nowMs()))
	for {
		own := ams.own()
		for _, p := range own.GetPresence() {
			if p.GetApp() != "own" {
				t.Fatalf("ams was told of %q", p.GetApp())
			}
		}
		if len(own.GetPresence()) > 0 {
			return
		}
	}
}

func TestOwnReportIsWholeFirstAndThenChanges(t *testing.T) {
	w := newWorld(t)
	g1 := w.start("g1")
	w.addRegion(g1, "iad")
	a := w.report(g1, "iad", "iad-1", nil)
	var records []presence.Record
	for i := range 700 {
		records = append(records, a.record(fmt.Sprintf("app-%d", i), 1, nowMs()))
	}
	a.presence(records...)
	if got := a.accepted(); got != 700 {
		t.Fatalf("%d accepted, want 700", got)
	}
	b := w.report(g1, "iad", "iad-2", nil)
	n, first := 0, true
	for {
		own := b.own()
		if !own.GetFull() {
			t.Fatalf("a part before the last is no part of the whole: %v", own)
		}
		n, first = n+len(own.GetPresence()), false
		if own.GetLast() {
			break
		}
	}
	if n != 700 || first {
		t.Errorf("%d records in the whole, want 700", n)
	}
	a.presence(a.record("new", 1, nowMs()))
	for {
		if own := b.own(); len(own.GetPresence()) > 0 {
			if own.GetFull() || len(own.GetPresence()) != 1 {
				t.Errorf("a change came as %v", own)
			}
			return
		}
	}
}

func TestConfirmationsAreOfThisSessionsTokensAndAge(t *testing.T) {
	w := newWorld(t)
	g1 := w.start("g1")
	w.addRegion(g1, "iad")
	g := w.report(g1, "iad", "iad-1", nil)
	token := next(g, (*globalv1.ReportResponse).GetToken).GetToken()
	confirm := func(change func(*globalv1.Confirmation)) {
		c := &globalv1.Confirmation{
			Region: "iad", Reporter: "iad-1", Generation: wire.Generation(generation), Token: token, Algorithm: 1, Digest: make([]byte, 16),
		}
		change(c)
		g.send(&globalv1.ReportRequest{Part: &globalv1.ReportRequest_Confirmation{Confirmation: c}})
	}
	confirm(func(c *globalv1.Confirmation) { c.Token++ })
	confirm(func(c *globalv1.Confirmation) { c.Region = "ams" })
	confirm(func(c *globalv1.Confirmation) { c.Reporter = "iad-2" })
	confirm(func(c *globalv1.Confirmation) { c.Digest = c.Digest[1:] })
	confirm(func(c *globalv1.Confirmation) { c.Algorithm = 2 })
	confirm(func(c *globalv1.Confirmation) { c.Generation.Bits++ })
	g.presence(g.record("web", 1, nowMs())) // what was sent before is judged before
	g.accepted()
	regions := func() *globalv1.RegionInfo {
		out, err := globalv1.NewDirectoryServiceClient(w.operator(g1)).ListRegions(t.Context(), &globalv1.ListRegionsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return out.GetRegions()[0]
	}
	if r := regions(); r.GetConfirmedAgeMs() != -1 || len(r.GetReporters()) > 0 {
		t.Fatalf("a bad confirmation counts: %v", r)
	}
	confirm(func(*globalv1.Confirmation) {})
	for len(g.last.GetConfirmedReporters()) == 0 {
		g.own()
	}
	if r := regions(); r.GetConfirmedAgeMs() < 0 || len(r.GetReporters()) != 1 {
		t.Errorf("a good confirmation does not count: %v", r)
	}
}
