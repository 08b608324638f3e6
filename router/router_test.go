package router_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
	"github.com/firebreak-dev/firebreak/router"
)

// states is coverage as region: state.
func states(list []*clusterv1.Coverage) map[string]string {
	out := map[string]string{}
	for _, p := range coverage.FromProtos(list) {
		out[string(p.Region)] = p.State.String()
	}
	return out
}

func lookup(t testing.TB, c routerv1.RouterServiceClient, app string) *routerv1.LookupResponse {
	t.Helper()
	resp, err := c.Lookup(t.Context(), &routerv1.LookupRequest{App: app})
	if err != nil {
		t.Fatalf("lookup %s: %v", app, err)
	}
	return resp
}

func foundIn(resp *routerv1.LookupResponse) []string {
	var out []string
	for _, f := range resp.GetRegions() {
		out = append(out, f.GetRegion())
	}
	slices.Sort(out)
	return out
}

// ready waits until every region is proven, as far as it confirms.
func ready(t testing.TB, c routerv1.RouterServiceClient, regions int) {
	t.Helper()
	eventually(t, "every region confirmed", func() bool {
		resp, err := c.ListRegions(t.Context(), &routerv1.ListRegionsRequest{})
		if err != nil || len(resp.GetRegions()) != regions {
			return false
		}
		return !slices.ContainsFunc(resp.GetRegions(), func(r *routerv1.RegionInfo) bool {
			return r.GetCoverage().GetState() != clusterv1.CoverageState_COVERAGE_STATE_PRUNED
		})
	})
}

type result struct {
	columns []string
	rows    map[string]int // region: rows
	values  [][]string
	end     *routerv1.QueryEnd
}

func query(ctx context.Context, c routerv1.RouterServiceClient, req *routerv1.QueryRequest) (result, error) {
	out := result{rows: map[string]int{}}
	stream, err := c.Query(ctx, req)
	if err != nil {
		return out, err
	}
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		if len(resp.GetColumns()) > 0 {
			out.columns = resp.GetColumns()
		}
		out.rows[resp.GetRegion()] += len(resp.GetRows())
		for _, r := range resp.GetRows() {
			var vals []string
			for _, v := range r.GetValues() {
				vals = append(vals, string(v.GetText())+fmt.Sprint(v.GetInteger()))
			}
			out.values = append(out.values, vals)
		}
		if resp.GetEnd() != nil {
			out.end = resp.GetEnd()
		}
	}
}

func TestLookupAnswersFromMemoryAndAsksNobody(t *testing.T) {
	w := newWorld(t, "ams", "iad", "nrt")
	w.regions["iad"].set("web", 3)
	w.global.report("iad", "web")
	c, _, _ := w.router(t.TempDir(), w.global.addr)
	ready(t, c, 3)
	for range 20 {
		resp := lookup(t, c, "web")
		if diff := cmp.Diff([]string{"iad"}, foundIn(resp)); diff != "" || !resp.GetComplete() {
			t.Fatalf("complete %v, %s", resp.GetComplete(), diff)
		}
		want := map[string]string{"ams": "pruned", "iad": "live", "nrt": "pruned"}
		if diff := cmp.Diff(want, states(resp.GetCoverage())); diff != "" {
			t.Fatal(diff)
		}
		if none := lookup(t, c, "no-such"); !none.GetComplete() || len(none.GetRegions()) != 0 {
			t.Fatalf("unknown app: %v", none)
		}
	}
	for name, r := range w.regions {
		if r.asked != 0 {
			t.Errorf("%s was asked %d times, though it may be pruned", name, r.asked)
		}
	}
}

// A directory that lacks what a region has proves nothing: the region's own
// digest says so, and it is asked.
func TestLaggingDirectoryNeverSaysNotFound(t *testing.T) {
	w := newWorld(t, "ams", "iad")
	c, _, _ := w.router(t.TempDir(), w.global.addr)
	ready(t, c, 2)
	w.regions["iad"].set("web", 1) // the directory is not told
	eventually(t, "iad is asked and found", func() bool {
		return len(lookup(t, c, "web").GetRegions()) == 1
	})
	w.regions["iad"].change(func() { w.regions["iad"].mode = "hang" })
	eventually(t, "an answer that is not remembered", func() bool {
		return len(lookup(t, c, "web").GetRegions()) == 0
	})
	resp := lookup(t, c, "web")
	if resp.GetComplete() {
		t.Errorf("complete with a region that may run it and did not answer: %v", states(resp.GetCoverage()))
	}
	if diff := cmp.Diff("timeout", states(resp.GetCoverage())["iad"]); diff != "" {
		t.Error(diff)
	}
}

func TestUnconfirmedRegionIsAskedAndOthersAreNot(t *testing.T) {
	w := newWorld(t, "ams", "iad")
	w.global.hidden["iad"] = true
	c, _, _ := w.router(t.TempDir(), w.global.addr)
	eventually(t, "ams pruned", func() bool {
		resp, err := c.Lookup(t.Context(), &routerv1.LookupRequest{App: "web"})
		return err == nil && states(resp.GetCoverage())["ams"] == "pruned"
	})
	w.regions["ams"].change(func() { w.regions["ams"].asked = 0 })
	for range 5 {
		resp := lookup(t, c, "other")
		if want := (map[string]string{"ams": "pruned", "iad": "live"}); !maps.Equal(states(resp.GetCoverage()), want) || !resp.GetComplete() {
			t.Fatalf("got %v", states(resp.GetCoverage()))
		}
	}
	if n := w.regions["ams"].asked; n != 0 {
		t.Errorf("a confirmed region was asked %d times because another is not", n)
	}
	if n := w.regions["iad"].asked; n > 2 {
		t.Errorf("five lookups of one unknown app cost the region %d questions", n)
	}
}

func TestFailingRegionCostsItsOwnPartOnly(t *testing.T) {
	w := newWorld(t, "ams", "dead", "hang", "iad", "refuse", "cut", "odd", "unfit")
	for _, r := range w.regions {
		r.set("web", 2)
	}
	for name, mode := range map[string]string{"hang": "hang", "refuse": "refuse", "cut": "cut", "odd": "bad row", "unfit": "unfit"} {
		w.regions[name].change(func() { w.regions[name].mode = mode })
	}
	w.regions["dead"].stop()
	c, _, _ := w.router(t.TempDir(), w.global.addr)
	eventually(t, "the directory", func() bool {
		resp, err := c.ListRegions(t.Context(), &routerv1.ListRegionsRequest{})
		return err == nil && len(resp.GetRegions()) == len(w.regions)
	})
	begun := time.Now()
	got, err := query(t.Context(), c, &routerv1.QueryRequest{Sql: "SELECT app, n", TimeoutMs: 700})
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begun); d > 3*time.Second {
		t.Errorf("took %v", d)
	}
	want := map[string]string{
		"ams": "live", "iad": "live", "dead": "unreachable", "hang": "timeout",
		"refuse": "refused", "cut": "refused", "odd": "refused", "unfit": "stale",
	}
	if diff := cmp.Diff(want, states(got.end.GetCoverage())); diff != "" {
		t.Error(diff)
	}
	if got.end.GetComplete() || got.end.GetSatisfied() {
		t.Error("complete or satisfied with failing regions")
	}
	for name, n := range map[string]int{"ams": 1, "iad": 1, "unfit": 1, "cut": 0, "odd": 0, "refuse": 0} {
		if got.rows[name] != n {
			t.Errorf("%s: %d rows, want %d", name, got.rows[name], n)
		}
	}
}

func TestHealthyAnswersDoNotWaitForAHangingRegion(t *testing.T) {
	w := newWorld(t, "ams", "iad")
	w.regions["ams"].set("web", 1)
	w.regions["iad"].change(func() { w.regions["iad"].mode = "hang" })
	c, _, _ := w.router(t.TempDir(), w.global.addr)
	eventually(t, "the directory", func() bool {
		resp, err := c.ListRegions(t.Context(), &routerv1.ListRegionsRequest{})
		return err == nil && len(resp.GetRegions()) == 2
	})
	begun := time.Now()
	got, err := query(t.Context(), c, &routerv1.QueryRequest{Sql: "SELECT", Policy: routerv1.Policy_POLICY_ANY, TimeoutMs: 10_000})
	if err != nil || !got.end.GetSatisfied() || got.end.GetComplete() {
		t.Fatalf("err %v, end %v", err, got.end)
	}
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("any: took %v", d)
	}
	if _, err := query(t.Context(), c, &routerv1.QueryRequest{Sql: "SELECT", Where: &routerv1.QueryRequest_Region{Region: "ams"}}); err != nil {
		t.Error(err)
	}
}

func TestSecondGatewayTakesOver(t *testing.T) {
	w := newWorld(t, "iad")
	r := w.regions["iad"]
	r.set("web", 1)
	w.global.report("iad", "web")
	r.gateways = []*globalv1.Gateway{{Node: "iad-w0", Address: "127.0.0.1:1"}, r.gateways[0], {Node: "iad-w9", Address: "127.0.0.1:2"}}
	c, _, _ := w.router(t.TempDir(), w.global.addr)
	ready(t, c, 1)
	for range 10 {
		got, err := query(t.Context(), c, &routerv1.QueryRequest{Sql: "SELECT", TimeoutMs: 3000})
		if err != nil || !got.end.GetComplete() {
			t.Fatalf("err %v, coverage %v", err, states(got.end.GetCoverage()))
		}
	}
}

// A region that was pruned before the app's newest end elsewhere is not proven:
// the app may have moved there. What other apps end says nothing of it.
func TestOnlyEndsOfTheAppItselfMakeAPrunedRegionDoubtful(t *testing.T) {
	w := newWorld(t, "ams", "iad")
	w.regions["iad"].set("web", 1)
	w.regions["iad"].set("batch", 1)
	w.global.report("iad", "web")
	w.global.report("iad", "batch")
	c, _, _ := w.router(t.TempDir(), w.global.addr)
	ready(t, c, 2)
	w.regions["iad"].change(func() { w.regions["iad"].ends = map[string]bool{"batch": true} })
	for app, want := range map[string]string{"web": "pruned", "batch": "pruned_stale"} {
		got, err := query(t.Context(), c, &routerv1.QueryRequest{Sql: "SELECT", Where: &routerv1.QueryRequest_App{App: app}})
		if err != nil {
			t.Fatal(err)
		}
		if s := states(got.end.GetCoverage()); s["ams"] != want || s["iad"] != "live" || got.end.GetComplete() != (want == "pruned") {
			t.Errorf("%s: %v, complete %v", app, s, got.end.GetComplete())
		}
	}
}

func TestSecondGatewayIsAskedWhenTheFirstIsLate(t *testing.T) {
	w := newWorld(t, "iad")
	first := w.regions["iad"]
	first.set("web", 1)
	second := &region{name: "iad", apps: maps.Clone(first.apps), moved: make(chan struct{})}
	w.serveRegion(second, "127.0.0.1:0")
	first.gateways = append(first.gateways, &globalv1.Gateway{Node: "iad-w2", Address: second.addr})
	w.global.report("iad", "web")
	c, _, _ := w.router(t.TempDir(), w.global.addr)
	ready(t, c, 1)
	ask := func() {
		t.Helper()
		got, err := query(t.Context(), c, &routerv1.QueryRequest{Sql: "SELECT", TimeoutMs: 20_000})
		if err != nil || !got.end.GetComplete() || got.rows["iad"] != 1 {
			t.Fatalf("err %v, coverage %v, %d rows", err, states(got.end.GetCoverage()), got.rows["iad"])
		}
	}
	ask()
	if first.questions() == 0 { // whose turn is first follows from the names
		first, second = second, first
	}
	first.change(func() { first.mode = "hang" })
	was := [2]int{first.questions(), second.questions()}
	ask()
	if got := [2]int{first.questions() - was[0], second.questions() - was[1]}; got != [2]int{1, 1} {
		t.Errorf("the gateway that hangs and the other were asked %v times, want once each", got)
	}
}

func TestReduceRunsOverTheUnion(t *testing.T) {
	w := newWorld(t, "ams", "iad")
	w.regions["ams"].set("web", 2)
	w.regions["iad"].set("web", 3)
	w.regions["iad"].set("db", 1)
	c, _, _ := w.router(t.TempDir(), w.global.addr)
	eventually(t, "the directory", func() bool {
		resp, err := c.ListRegions(t.Context(), &routerv1.ListRegionsRequest{})
		return err == nil && len(resp.GetRegions()) == 2
	})
	got, err := query(t.Context(), c, &routerv1.QueryRequest{Sql: "SELECT", Reduce: "SELECT app, sum(n) AS total FROM rows GROUP BY app ORDER BY 2 DESC"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{{"web0", "5"}, {"db0", "1"}}, got.values); diff != "" {
		t.Error(diff)
	}
	if _, err := query(t.Context(), c, &routerv1.QueryRequest{Sql: "SELECT", Reduce: "DELETE FROM rows"}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a reduce that writes: %v", err)
	}
}

func TestColdStartServesTheLastGoodWithItsAge(t *testing.T) {
	w := newWorld(t, "ams", "iad")
	w.regions["iad"].set("web", 3)
	w.global.report("iad", "web")
	data := t.TempDir()
	c, _, stop := w.router(data, w.global.addr)
	ready(t, c, 2)
	lookup(t, c, "web")
	stop()
	w.global.stop()
	c, _, stop = w.router(data, w.global.addr)
	var resp *routerv1.LookupResponse
	eventually(t, "an answer with everything global down", func() bool {
		var err error
		resp, err = c.Lookup(t.Context(), &routerv1.LookupRequest{App: "web"})
		return err == nil
	})
	if diff := cmp.Diff([]string{"iad"}, foundIn(resp)); diff != "" {
		t.Error(diff)
	}
	if got := states(resp.GetCoverage())["iad"]; got != "stale" || resp.GetDirectoryAgeMs() != -1 {
		t.Errorf("iad is %s, directory age %d", got, resp.GetDirectoryAgeMs())
	}
	st, err := c.Status(t.Context(), &routerv1.StatusRequest{})
	if err != nil || !st.GetFromLastGood() {
		t.Errorf("status %v, err %v", st, err)
	}
	stop()
	c, _, _ = w.router(t.TempDir(), w.global.addr)
	if _, err := c.Lookup(t.Context(), &routerv1.LookupRequest{App: "web"}); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), router.NoRegion) {
		t.Errorf("no file and no global node: %v", err)
	}
}

func TestDamagedLastGoodFileIsRefusedByNameAndTheRestKept(t *testing.T) {
	w := newWorld(t, "ams", "iad")
	w.regions["iad"].set("web", 3)
	w.global.report("iad", "web")
	data := t.TempDir()
	c, _, stop := w.router(data, w.global.addr)
	ready(t, c, 2)
	stop()
	w.global.stop()
	path := filepath.Join(data, router.LastGood)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file[len(file)-3] ^= 1 // in the section of iad, the last
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, _ = w.router(data, w.global.addr)
	resp, err := c.ListRegions(t.Context(), &routerv1.ListRegionsRequest{})
	if err != nil || len(resp.GetRegions()) != 1 || resp.GetRegions()[0].GetRegion() != "ams" {
		t.Errorf("regions %v, err %v", resp, err)
	}
}
