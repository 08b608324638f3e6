package benchcmd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/benchcmd"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// fleet is servers of a throw-away authority, and an operator's certificate.
type fleet struct {
	t   *testing.T
	ca  *identity.Authority
	dir string
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	t.Setenv("FIREBREAK_DEV", t.TempDir()) // no dev federation of the machine's
	ca, err := identity.NewAuthority("acme", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &fleet{t, ca, t.TempDir()}
}

func (f *fleet) files(id identity.ID) identity.Files {
	f.t.Helper()
	cert, key, err := f.ca.Issue(id, []string{"127.0.0.1"}, time.Hour)
	if err != nil {
		f.t.Fatal(err)
	}
	base := filepath.Join(f.dir, id.Name)
	out := identity.Files{Cert: base + ".pem", Key: base + ".key", CA: base + ".ca"}
	for path, data := range map[string][]byte{out.Cert: cert, out.Key: key, out.CA: f.ca.CertPEM()} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			f.t.Fatal(err)
		}
	}
	return out
}

func (f *fleet) serve(id identity.ID, register func(grpc.ServiceRegistrar)) string {
	f.t.Helper()
	source, err := identity.Load(f.files(id))
	if err != nil {
		f.t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	srv := rpc.NewServer(rpc.ServerConfig{Identity: source})
	register(srv)
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan error, 1)
	go func() { done <- rpc.Serve(ctx, srv, lis) }()
	f.t.Cleanup(func() { cancel(); <-done })
	return lis.Addr().String()
}

// run runs the command and returns what it printed.
func (f *fleet) run(args ...string) (out, errs string, err error) {
	f.t.Helper()
	op := f.files(identity.ID{Fleet: "acme", Role: identity.Operator, Name: "op"})
	c := benchcmd.Command()
	var o, e bytes.Buffer
	c.SetOut(&o)
	c.SetErr(&e)
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs(append(args, "--cert", op.Cert, "--key", op.Key, "--ca", op.CA))
	err = c.ExecuteContext(f.t.Context())
	return o.String(), e.String(), err
}

// server is what a region node and a router do; regionOnly and routerOnly serve
// it.
type server struct {
	published, withdrawn atomic.Int64
	complete             bool
	events               chan *regionv1.Machine
}

func (s *server) Publish(_ context.Context, req *regionv1.PublishRequest) (*regionv1.PublishResponse, error) {
	s.published.Add(int64(len(req.Machines)))
	if s.events != nil {
		s.events <- req.Machines[0]
	}
	return &regionv1.PublishResponse{Written: &regionv1.Written{Changed: 1}}, nil
}

func (s *server) Withdraw(_ context.Context, req *regionv1.WithdrawRequest) (*regionv1.WithdrawResponse, error) {
	s.withdrawn.Add(int64(len(req.Ids)))
	return &regionv1.WithdrawResponse{}, nil
}

func (s *server) Lookup(context.Context, *routerv1.LookupRequest) (*routerv1.LookupResponse, error) {
	return &routerv1.LookupResponse{Complete: s.complete, Coverage: []*clusterv1.Coverage{
		{Region: "iad", State: clusterv1.CoverageState_COVERAGE_STATE_LIVE}, {Region: "ams", State: clusterv1.CoverageState_COVERAGE_STATE_UNREACHABLE},
	}}, nil
}

// watching is a router that shows what was published.
type watching struct {
	routerv1.UnimplementedRouterServiceServer
	events chan *regionv1.Machine
}

func (s *watching) Watch(stream routerv1.RouterService_WatchServer) error {
	if err := stream.Send(&routerv1.WatchResponse{App: "bench", Event: &routerv1.WatchResponse_AppSynced{AppSynced: &routerv1.AppSynced{Complete: true}}}); err != nil {
		return err
	}
	for {
		select {
		case m := <-s.events:
			if err := stream.Send(&routerv1.WatchResponse{App: m.App, Event: &routerv1.WatchResponse_Machine{Machine: m}}); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (f *fleet) node(name string, s *server) string {
	return f.serve(identity.ID{Fleet: "acme", Role: identity.Node, Region: "iad", Name: name}, func(r grpc.ServiceRegistrar) {
		regionv1.RegisterRegionServiceServer(r, &regionOnly{server: s})
	})
}

type regionOnly struct {
	regionv1.UnimplementedRegionServiceServer
	server *server
}

func (r *regionOnly) Publish(ctx context.Context, req *regionv1.PublishRequest) (*regionv1.PublishResponse, error) {
	return r.server.Publish(ctx, req)
}

func (r *regionOnly) Withdraw(ctx context.Context, req *regionv1.WithdrawRequest) (*regionv1.WithdrawResponse, error) {
	return r.server.Withdraw(ctx, req)
}

type routerOnly struct {
	routerv1.UnimplementedRouterServiceServer
	server *server
}

func (r *routerOnly) Lookup(ctx context.Context, req *routerv1.LookupRequest) (*routerv1.LookupResponse, error) {
	return r.server.Lookup(ctx, req)
}

func nowhere(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}

type report struct {
	Sent, Failed, Unsent uint64
	PerSecond            *float64 `json:"per_second"`
	P50                  *float64 `json:"p50_ms"`
	Errors               []struct {
		Count uint64
		Error string
	}
}

func parse(t *testing.T, out string) (r report) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	return r
}

func TestPublishMeasuresAndTakesBackWhatItWrote(t *testing.T) {
	f, s := newFleet(t), &server{}
	out, _, err := f.run("publish", "--node", f.node("w1", s), "--rate", "50", "--duration", "500ms", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	if r := parse(t, out); r.Sent != 25 || r.Failed != 0 || r.PerSecond == nil || r.P50 == nil || *r.P50 <= 0 {
		t.Errorf("%s", out)
	}
	if s.published.Load() != 25 || s.withdrawn.Load() != 25 {
		t.Errorf("%d published, %d withdrawn", s.published.Load(), s.withdrawn.Load())
	}
}

func TestHalfADeadFederationGivesErrorsAndNoRate(t *testing.T) {
	f, s := newFleet(t), &server{}
	dead := nowhere(t)
	args := []string{"publish", "--node", f.node("w1", s) + "," + dead, "--rate", "40", "--duration", "500ms", "--timeout", "1s"}
	out, _, err := f.run(append(args, "-o", "json")...)
	if exit.Code(err) != exit.Failed {
		t.Errorf("%v", err)
	}
	r := parse(t, out)
	if r.PerSecond != nil || r.P50 != nil || r.Failed == 0 || r.Failed == r.Sent || len(r.Errors) == 0 {
		t.Errorf("%s", out)
	}
	for _, e := range r.Errors {
		if !strings.Contains(e.Error, dead) {
			t.Errorf("an error does not say where: %s", e.Error)
		}
	}
	if out, _, _ := f.run(args...); strings.Contains(out, "/s") || !strings.Contains(out, dead) {
		t.Errorf("the table:\n%s", out)
	}
}

func TestAnAnswerThatLacksARegionIsAFailure(t *testing.T) {
	f, s := newFleet(t), &server{}
	addr := f.serve(identity.ID{Fleet: "acme", Role: identity.Router, Name: "r1"}, func(r grpc.ServiceRegistrar) {
		routerv1.RegisterRouterServiceServer(r, &routerOnly{server: s})
	})
	out, _, err := f.run("lookup", "--router", addr, "--rate", "20", "--duration", "200ms", "-o", "json")
	if exit.Code(err) != exit.Failed || !strings.Contains(out, "region ams is unreachable") || parse(t, out).PerSecond != nil {
		t.Errorf("%v: %s", err, out)
	}
	s.complete = true
	if out, _, err := f.run("lookup", "--router", addr, "--rate", "20", "--duration", "200ms"); err != nil || !strings.Contains(out, "p99") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestADeadRouterIsAnErrorBesideTheAnswersOfOthers(t *testing.T) {
	f, s := newFleet(t), &server{complete: true}
	addr := f.serve(identity.ID{Fleet: "acme", Role: identity.Router, Name: "r1"}, func(r grpc.ServiceRegistrar) {
		routerv1.RegisterRouterServiceServer(r, &routerOnly{server: s})
	})
	dead := nowhere(t)
	out, _, err := f.run("lookup", "--router", addr+","+dead, "--rate", "20", "--duration", "300ms", "--timeout", "1s", "-o", "json")
	r := parse(t, out)
	if exit.Code(err) != exit.Failed || r.PerSecond != nil || r.P50 != nil || r.Failed == 0 || r.Failed == r.Sent || !strings.Contains(out, dead) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestWatchMeasuresFromTheWriteToTheEvent(t *testing.T) {
	events := make(chan *regionv1.Machine, 100)
	f, s := newFleet(t), &server{events: events}
	addr := f.serve(identity.ID{Fleet: "acme", Role: identity.Router, Name: "r1"}, func(r grpc.ServiceRegistrar) {
		routerv1.RegisterRouterServiceServer(r, &watching{events: events})
	})
	args := []string{"watch", "--router", addr, "--node", f.node("w1", s), "--rate", "40", "--duration", "300ms", "-o", "json"}
	out, _, err := f.run(args...)
	if err != nil || parse(t, out).Sent != 12 {
		t.Fatalf("%v: %s", err, out)
	}
	s.events = nil // written, and never seen
	out, _, err = f.run(append(args, "--timeout", "300ms")...)
	if exit.Code(err) != exit.Failed || !strings.Contains(out, "not seen by the watch") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestProgressIsShownWhileItRuns(t *testing.T) {
	f, s := newFleet(t), &server{}
	_, errs, err := f.run("publish", "--node", f.node("w1", s), "--rate", "20", "--duration", "1200ms")
	if err != nil || !strings.Contains(errs, "done, 0 failed") {
		t.Errorf("%v: %q", err, errs)
	}
}

func TestBadFlagsAreRefusedBeforeAnybodyIsCalled(t *testing.T) {
	f := newFleet(t)
	for _, args := range [][]string{
		{"publish", "--node", "127.0.0.1:1", "--rate", "0"},
		{"publish", "--node", "127.0.0.1:1", "--duration", "0s"},
		{"publish", "--node", "127.0.0.1:1", "--workers", "0"},
		{"publish", "--node", "127.0.0.1:1", "-o", "yaml"},
		{"publish", "--node", "127.0.0.1:1", "--app", "No App"},
		{"query"},
	} {
		if _, _, err := f.run(args...); exit.Code(err) != exit.Usage {
			t.Errorf("%v: %v", args, err)
		}
	}
}
