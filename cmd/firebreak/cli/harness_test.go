package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/cli"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	clusterpb "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	globalpb "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
	regionpb "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerpb "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// fleet is an authority and the servers that a test starts under it.
type fleet struct {
	t   *testing.T
	dir string
	ca  *identity.Authority
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	t.Setenv("FIREBREAK_DEV", filepath.Join(t.TempDir(), "none")) // never the user's own federation
	ca, err := identity.NewAuthority("acme", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{t, t.TempDir(), ca}
	f.write("ca.pem", ca.CertPEM())
	return f
}

func (f *fleet) write(name string, data []byte) string {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// files issues a certificate and returns its paths.
func (f *fleet) files(id identity.ID) identity.Files {
	f.t.Helper()
	cert, key, err := f.ca.Issue(id, []string{"127.0.0.1"}, time.Hour)
	if err != nil {
		f.t.Fatal(err)
	}
	name := id.Role.String() + "-" + id.Name
	return identity.Files{Cert: f.write(name+".pem", cert), Key: f.write(name+".key", key), CA: filepath.Join(f.dir, "ca.pem")}
}

// as returns the flags that call with a certificate of a role.
func (f *fleet) as(role identity.Role) []string {
	files := f.files(identity.ID{Fleet: "acme", Role: role, Name: "me"})
	return []string{"--cert", files.Cert, "--key", files.Key, "--ca", files.CA}
}

// serve starts a server of an identity and returns its address.
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

func (f *fleet) router(r *fakeRouter) string {
	return f.serve(identity.ID{Fleet: "acme", Role: identity.Router, Name: "r1"}, func(s grpc.ServiceRegistrar) {
		routerpb.RegisterRouterServiceServer(s, r)
	})
}

func (f *fleet) region(r regionpb.RegionServiceServer) string {
	return f.serve(identity.ID{Fleet: "acme", Role: identity.Node, Region: "iad", Name: "w1"}, func(s grpc.ServiceRegistrar) {
		regionpb.RegisterRegionServiceServer(s, r)
	})
}

func (f *fleet) global(g *fakeGlobal) string {
	return f.serve(identity.ID{Fleet: "acme", Role: identity.Global, Name: "g1"}, func(s grpc.ServiceRegistrar) {
		globalpb.RegisterOperatorServiceServer(s, g)
	})
}

// nowhere is an address on which nobody answers.
func nowhere(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}

// fakeRouter answers as its fields say.
type fakeRouter struct {
	routerpb.UnimplementedRouterServiceServer
	lookup *routerpb.LookupResponse
	query  []*routerpb.QueryResponse
	cut    error // after query
	asked  chan *routerpb.QueryRequest
	watch  func(grpc.BidiStreamingServer[routerpb.WatchRequest, routerpb.WatchResponse]) error
	status *routerpb.StatusResponse
}

func (r *fakeRouter) Lookup(context.Context, *routerpb.LookupRequest) (*routerpb.LookupResponse, error) {
	return r.lookup, nil
}

func (r *fakeRouter) Query(req *routerpb.QueryRequest, s grpc.ServerStreamingServer[routerpb.QueryResponse]) error {
	if r.asked != nil {
		r.asked <- req
	}
	for _, m := range r.query {
		if err := s.Send(m); err != nil {
			return err
		}
	}
	return r.cut
}

func (r *fakeRouter) Watch(s grpc.BidiStreamingServer[routerpb.WatchRequest, routerpb.WatchResponse]) error {
	return r.watch(s)
}

func (r *fakeRouter) Status(context.Context, *routerpb.StatusRequest) (*routerpb.StatusResponse, error) {
	return r.status, nil
}

// fakeRegion is a region node that keeps what it is asked.
type fakeRegion struct {
	regionpb.UnimplementedRegionServiceServer
	published *regionpb.PublishRequest
	listed    []*regionpb.Machine
	fit       bool
	wait      *regionpb.WaitResponse
}

func (r *fakeRegion) Publish(_ context.Context, req *regionpb.PublishRequest) (*regionpb.PublishResponse, error) {
	r.published = req
	return &regionpb.PublishResponse{Written: &regionpb.Written{
		Changed: uint64(len(req.Machines)), Points: []*clusterpb.Point{{Node: "w1", Boot: 7, Bits: 9, Version: 1}},
	}}, nil
}

func (r *fakeRegion) GetMachine(context.Context, *regionpb.GetMachineRequest) (*regionpb.GetMachineResponse, error) {
	return &regionpb.GetMachineResponse{Claims: r.listed}, nil
}

func (r *fakeRegion) ListMachines(_ *regionpb.ListMachinesRequest, s grpc.ServerStreamingServer[regionpb.ListMachinesResponse]) error {
	return s.Send(&regionpb.ListMachinesResponse{Machines: r.listed})
}

func (r *fakeRegion) Wait(context.Context, *regionpb.WaitRequest) (*regionpb.WaitResponse, error) {
	return r.wait, nil
}

func (r *fakeRegion) Status(context.Context, *regionpb.StatusRequest) (*regionpb.StatusResponse, error) {
	return &regionpb.StatusResponse{Fleet: "acme", Region: "iad", Node: "w1", Fit: r.fit, UnfitBecause: "too few peers", Root: "00ff", Bits: 9}, nil
}

type fakeGlobal struct {
	globalpb.UnimplementedOperatorServiceServer
	has *clusterpb.Generation // of every region
}

func (g *fakeGlobal) AddRegion(_ context.Context, req *globalpb.AddRegionRequest) (*globalpb.AddRegionResponse, error) {
	switch {
	case g.has != nil:
		return &globalpb.AddRegionResponse{Generation: g.has, Existed: true}, nil
	case req.GetGeneration() != nil:
		return &globalpb.AddRegionResponse{Generation: req.GetGeneration()}, nil
	}
	return &globalpb.AddRegionResponse{Generation: &clusterpb.Generation{Number: 1, Bits: 0xabc}}, nil
}

// outcome is what a command did.
type outcome struct {
	code     int
	out, err string
}

func (o outcome) String() string {
	return fmt.Sprintf("exit %d\nstdout:\n%s\nstderr:\n%s", o.code, o.out, o.err)
}

// run runs a command with stdin as its input.
func run(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	code := cli.Main(ctx, cli.Config{Args: args, In: strings.NewReader(stdin), Out: &out, Err: &errs, Version: "test"})
	return outcome{code, out.String(), errs.String()}
}

// words splits a command line, and appends more arguments.
func words(line string, more ...string) []string { return append(strings.Fields(line), more...) }
