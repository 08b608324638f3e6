package cli_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/identity"
	clusterpb "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionpb "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerpb "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

var (
	live     = &clusterpb.Coverage{Region: "iad", State: clusterpb.CoverageState_COVERAGE_STATE_LIVE, AsOfUnixMs: 5}
	pruned   = &clusterpb.Coverage{Region: "ams", State: clusterpb.CoverageState_COVERAGE_STATE_PRUNED, AsOfUnixMs: 4}
	timedOut = &clusterpb.Coverage{Region: "nrt", State: clusterpb.CoverageState_COVERAGE_STATE_TIMEOUT, Detail: "no word in 1s"}
)

func TestWhereExitsByCompletenessFirst(t *testing.T) {
	f := newFleet(t)
	here := []*routerpb.Found{{Region: "iad", Class: 2, Locality: "us"}}
	for _, c := range []struct {
		name string
		r    *routerpb.LookupResponse
		want int
	}{
		{"found, complete", &routerpb.LookupResponse{Regions: here, Complete: true, Coverage: []*clusterpb.Coverage{live, pruned}}, 0},
		{"found, partial", &routerpb.LookupResponse{Regions: here, Coverage: []*clusterpb.Coverage{live, timedOut}}, 4},
		{"not found, complete", &routerpb.LookupResponse{Complete: true, Coverage: []*clusterpb.Coverage{pruned}}, 3},
		{"not found, partial", &routerpb.LookupResponse{Coverage: []*clusterpb.Coverage{pruned, timedOut}}, 4},
		{"no region known", &routerpb.LookupResponse{Complete: true}, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := f.router(&fakeRouter{lookup: c.r})
			if got := run(t, "", words("where web -o json --router "+addr, f.as(identity.Client)...)...); got.code != c.want {
				t.Errorf("%v, want exit %d", got, c.want)
			}
		})
	}
}

func TestWhereNamesTheRegionThatIsMissing(t *testing.T) {
	f := newFleet(t)
	addr := f.router(&fakeRouter{lookup: &routerpb.LookupResponse{Coverage: []*clusterpb.Coverage{timedOut}}})
	got := run(t, "", words("where web --router "+addr, f.as(identity.Client)...)...)
	if !strings.Contains(got.err, "region nrt: timeout: no word in 1s") {
		t.Error(got)
	}
}

func val(v any) *clusterpb.Value {
	switch v := v.(type) {
	case int64:
		return &clusterpb.Value{Kind: &clusterpb.Value_Integer{Integer: v}}
	case float64:
		return &clusterpb.Value{Kind: &clusterpb.Value_Real{Real: v}}
	case string:
		return &clusterpb.Value{Kind: &clusterpb.Value_Text{Text: []byte(v)}}
	case []byte:
		return &clusterpb.Value{Kind: &clusterpb.Value_Blob{Blob: v}}
	}
	return &clusterpb.Value{}
}

func TestQueryJSONIsTheContract(t *testing.T) {
	f := newFleet(t)
	addr := f.router(&fakeRouter{query: []*routerpb.QueryResponse{
		{Columns: []string{"a", "b"}},
		{Region: "iad", Rows: []*clusterpb.Row{
			{Values: []*clusterpb.Value{val(int64(math.MaxInt64)), val("é<&>")}},
			{Values: []*clusterpb.Value{val(1.0), val("\xff\x00")}},
			{Values: []*clusterpb.Value{val(nil), val([]byte{0, 255})}},
			{Values: []*clusterpb.Value{val(math.Inf(-1)), val(1e300)}},
		}},
		{End: &routerpb.QueryEnd{Complete: true, Satisfied: true, Coverage: []*clusterpb.Coverage{live, pruned}}},
	}})
	got := run(t, "", append([]string{"query", "SELECT 1", "-o", "json", "--router", addr}, f.as(identity.Client)...)...)
	if got.code != 0 {
		t.Fatal(got)
	}
	var compact strings.Builder
	dec := json.NewDecoder(strings.NewReader(got.out))
	var raw struct{ Columns, Rows, Coverage, Complete json.RawMessage }
	dec.DisallowUnknownFields()
	if err := dec.Decode(&raw); err != nil {
		t.Fatalf("%v: %v", err, got)
	}
	for _, part := range []json.RawMessage{raw.Columns, raw.Rows, raw.Coverage, raw.Complete} {
		compact.WriteString(strings.Join(strings.Fields(string(part)), "") + "\n")
	}
	want := `["a","b"]
[[9223372036854775807,"é<&>"],[1.0,{"text":"ff00"}],[null,{"blob":"00ff"}],[{"real":"-inf"},1e+300]]
{"ams":{"state":"pruned","age_ms":0,"as_of_unix_ms":4,"withheld":0},"iad":{"state":"live","age_ms":0,"as_of_unix_ms":5,"withheld":0}}
true
`
	if diff := cmp.Diff(want, compact.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestQueryPrintsWhatItGotAndExitsPartial(t *testing.T) {
	f := newFleet(t)
	row := &routerpb.QueryResponse{Region: "iad", Rows: []*clusterpb.Row{{Values: []*clusterpb.Value{val(int64(7))}}}}
	for _, c := range []struct {
		name string
		r    *fakeRouter
	}{
		{"a region is missing", &fakeRouter{query: []*routerpb.QueryResponse{{Columns: []string{"n"}}, row,
			{End: &routerpb.QueryEnd{Coverage: []*clusterpb.Coverage{live, timedOut}}}}}},
		{"the stream broke", &fakeRouter{query: []*routerpb.QueryResponse{{Columns: []string{"n"}}, row}, cut: status.Error(codes.Unavailable, "gone")}},
		{"the stream has no end", &fakeRouter{query: []*routerpb.QueryResponse{{Columns: []string{"n"}}, row}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := f.router(c.r)
			got := run(t, "", append([]string{"query", "SELECT n", "-o", "json", "--router", addr}, f.as(identity.Client)...)...)
			var a struct {
				Rows     [][]int64
				Complete bool
			}
			if err := json.Unmarshal([]byte(got.out), &a); err != nil || len(a.Rows) != 1 || a.Rows[0][0] != 7 || a.Complete || got.code != 4 {
				t.Errorf("%v (%v)", got, err)
			}
		})
	}
}

func TestQueryAsksAllRegionsUnlessTold(t *testing.T) {
	f := newFleet(t)
	asked := make(chan *routerpb.QueryRequest, 1)
	addr := f.router(&fakeRouter{asked: asked, query: []*routerpb.QueryResponse{
		{Columns: []string{"n"}}, {End: &routerpb.QueryEnd{Complete: true, Coverage: []*clusterpb.Coverage{live}}}}})
	me := f.as(identity.Client)
	run(t, "", append([]string{"query", "SELECT ?", "--arg", "7", "--arg", `{"blob":"00"}`, "--router", addr}, me...)...)
	req := <-asked
	if req.Where != nil || req.Policy != routerpb.Policy_POLICY_ALL || len(req.Args) != 2 || req.Args[0].GetInteger() != 7 || string(req.Args[1].GetBlob()) != "\x00" {
		t.Errorf("asked %v", req)
	}
	run(t, "", append([]string{"query", "SELECT 1", "--region", "iad", "--router", addr}, me...)...)
	if req := <-asked; req.GetRegion() != "iad" {
		t.Errorf("asked %v", req)
	}
}

func TestNextRouterAnswersForADeadOne(t *testing.T) {
	f := newFleet(t)
	alive := f.router(&fakeRouter{lookup: &routerpb.LookupResponse{Regions: []*routerpb.Found{{Region: "iad", Class: 1}}, Complete: true, Coverage: []*clusterpb.Coverage{live}}})
	got := run(t, "", words("where web -o ndjson --router "+nowhere(t)+" --router "+alive, f.as(identity.Client)...)...)
	if got.code != 0 || !strings.Contains(got.out, `"region":"iad"`) {
		t.Error(got)
	}
}

func TestNobodyAnswersIsFive(t *testing.T) {
	f := newFleet(t)
	for _, line := range []string{"where web", "query SELECT", "watch web --once", "status"} {
		got := run(t, "", words(line+" --router "+nowhere(t), f.as(identity.Client)...)...)
		if got.code != 5 || got.out != "" && !strings.HasPrefix(line, "status") {
			t.Errorf("%s: %v", line, got)
		}
	}
}

func TestRefusedCertificateIsSix(t *testing.T) {
	f, other := newFleet(t), newFleet(t)
	router := f.router(&fakeRouter{lookup: &routerpb.LookupResponse{}})
	node := f.region(&fakeRegion{})
	for name, args := range map[string][]string{
		"an authority that we do not know": words("where web --router "+router, other.as(identity.Client)...),
		"a role with no business there":    words("where web --router "+router, f.as(identity.Global)...),
		"a method above the role":          words("machine publish m1 --app web --node "+node, f.as(identity.Client)...),
	} {
		if got := run(t, "", args...); got.code != 6 {
			t.Errorf("%s: %v", name, got)
		}
	}
	// Its own authority does not know it: the server refuses.
	mixed := other.as(identity.Client)
	mixed[5] = f.dir + "/ca.pem"
	if got := run(t, "", words("where web --router "+router, mixed...)...); got.code != 2 {
		t.Errorf("a certificate that is not of its authority: %v", got)
	}
}

func TestWatchOnceExitsLikeWhere(t *testing.T) {
	f := newFleet(t)
	machine := &routerpb.WatchResponse{App: "web", Region: "iad", Event: &routerpb.WatchResponse_Machine{Machine: &regionpb.Machine{Worker: "w1", Id: "m1", App: "web", State: regionpb.MachineState_MACHINE_STATE_STARTED}}}
	end := func(complete bool, cs ...*clusterpb.Coverage) *routerpb.WatchResponse {
		return &routerpb.WatchResponse{App: "web", Event: &routerpb.WatchResponse_AppSynced{AppSynced: &routerpb.AppSynced{Complete: complete, Coverage: cs}}}
	}
	for _, c := range []struct {
		name   string
		events []*routerpb.WatchResponse
		want   int
	}{
		{"found", []*routerpb.WatchResponse{machine, end(true, live)}, 0},
		{"partial", []*routerpb.WatchResponse{machine, end(false, live, timedOut)}, 4},
		{"not found", []*routerpb.WatchResponse{end(true, pruned)}, 3},
		{"no region", []*routerpb.WatchResponse{end(true)}, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := f.router(&fakeRouter{watch: func(s grpc.BidiStreamingServer[routerpb.WatchRequest, routerpb.WatchResponse]) error {
				for _, e := range c.events {
					if err := s.Send(e); err != nil {
						return err
					}
				}
				<-s.Context().Done()
				return s.Context().Err()
			}})
			got := run(t, "", words("watch web --once -o json --router "+addr, f.as(identity.Client)...)...)
			if got.code != c.want || strings.Count(got.out, "\n") != len(c.events) {
				t.Errorf("%v, want exit %d", got, c.want)
			}
		})
	}
}

func TestWatchGoesOnWhereItStopped(t *testing.T) {
	f := newFleet(t)
	positions := make(chan string, 8)
	addr := f.router(&fakeRouter{watch: func(s grpc.BidiStreamingServer[routerpb.WatchRequest, routerpb.WatchResponse]) error {
		hello, err := s.Recv()
		if err != nil {
			return err
		}
		at := string(hello.GetHello().GetPosition())
		positions <- at
		if at == "" {
			if err := s.Send(&routerpb.WatchResponse{App: "web", Region: "iad", Position: []byte("p1"), Event: &routerpb.WatchResponse_Synced{Synced: &routerpb.RegionSynced{}}}); err != nil {
				return err
			}
			return status.Error(codes.Unavailable, "restarting")
		}
		if err := s.Send(&routerpb.WatchResponse{App: "web", Event: &routerpb.WatchResponse_AppSynced{AppSynced: &routerpb.AppSynced{Complete: true, Coverage: []*clusterpb.Coverage{pruned}}}}); err != nil {
			return err
		}
		<-s.Context().Done()
		return s.Context().Err()
	}})
	got := run(t, "", words("watch web --once -o ndjson --router "+addr, f.as(identity.Client)...)...)
	if got.code != 3 {
		t.Error(got)
	}
	if first, second := <-positions, <-positions; first != "" || second != "p1" {
		t.Errorf("asked from %q, then from %q", first, second)
	}
}
