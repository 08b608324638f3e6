package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	regionpb "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// pki hands out identities of one authority.
type pki struct {
	t   *testing.T
	ca  *identity.Authority
	dir string
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	ca, err := identity.NewAuthority("acme", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return &pki{t, ca, dir}
}

func (p *pki) source(id identity.ID) *identity.Source {
	p.t.Helper()
	cert, key, err := p.ca.Issue(id, []string{"127.0.0.1"}, time.Hour)
	if err != nil {
		p.t.Fatal(err)
	}
	name := strings.NewReplacer("/", "_", ":", "_").Replace(id.String())
	f := identity.Files{Cert: filepath.Join(p.dir, name+".pem"), Key: filepath.Join(p.dir, name+".key"), CA: filepath.Join(p.dir, "ca.pem")}
	for path, data := range map[string][]byte{f.Cert: cert, f.Key: key} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	s, err := identity.Load(f)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

var (
	nodeID     = identity.ID{Fleet: "acme", Role: identity.Node, Region: "iad", Name: "w1"}
	operatorID = identity.ID{Fleet: "acme", Role: identity.Operator, Name: "alice"}
	clientID   = identity.ID{Fleet: "acme", Role: identity.Client, Name: "local"} // a hostile choice of name
	foreignID  = identity.ID{Fleet: "acme", Role: identity.Node, Region: "ams", Name: "w1"}
)

// handler is a region service whose methods show what the server does.
type handler struct {
	regionpb.UnimplementedRegionServiceServer
	caller chan identity.ID
	local  chan bool
	gone   chan error // how a stream ended

	once    sync.Once
	started sync.WaitGroup // done when Publish runs
}

func newHandler() *handler {
	h := &handler{caller: make(chan identity.ID, 1), local: make(chan bool, 1), gone: make(chan error, 1)}
	h.started.Add(1)
	return h
}

func (h *handler) Publish(ctx context.Context, _ *regionpb.PublishRequest) (*regionpb.PublishResponse, error) {
	id, _ := rpc.PeerID(ctx)
	h.once.Do(h.started.Done)
	h.caller <- id
	h.local <- rpc.IsLocal(ctx)
	return &regionpb.PublishResponse{}, nil
}

func (h *handler) GetMachine(context.Context, *regionpb.GetMachineRequest) (*regionpb.GetMachineResponse, error) {
	panic("secret of the process")
}

func (h *handler) ListMachines(*regionpb.ListMachinesRequest, grpc.ServerStreamingServer[regionpb.ListMachinesResponse]) error {
	panic("secret of the process")
}

func (h *handler) Reconcile(s grpc.ClientStreamingServer[regionpb.ReconcileRequest, regionpb.ReconcileResponse]) error {
	h.caller <- identity.ID{} // it runs
	_, err := s.Recv()        // sees nothing but its client
	h.gone <- err
	return err
}

func (h *handler) Watch(s grpc.BidiStreamingServer[regionpb.WatchRequest, regionpb.WatchResponse]) error {
	if err := s.Send(&regionpb.WatchResponse{}); err != nil {
		return err
	}
	<-s.Context().Done()
	h.gone <- context.Cause(s.Context())
	return s.Context().Err()
}

// safeBuffer is a log that a test reads while the server writes.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// serve starts a server for h and returns its address, its log and its stop,
// which returns what Serve returned.
func serve(t *testing.T, cfg rpc.ServerConfig, h *handler, lis net.Listener) (*safeBuffer, func() error) {
	t.Helper()
	log := &safeBuffer{}
	cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	srv := rpc.NewServer(cfg)
	regionpb.RegisterRegionServiceServer(srv, h)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- rpc.Serve(ctx, srv, lis) }()
	stop := sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return log, stop
}

func tcp(t *testing.T) net.Listener {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return lis
}

func dial(t *testing.T, addr string, self *identity.Source) regionpb.RegionServiceClient {
	t.Helper()
	conn, err := rpc.Dial(addr, self, identity.HasRole("acme", identity.Node))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return regionpb.NewRegionServiceClient(conn)
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestCallerIsWhoItsCertificateSays(t *testing.T) {
	p, h, lis := newPKI(t), newHandler(), tcp(t)
	serve(t, rpc.ServerConfig{Identity: p.source(nodeID)}, h, lis)
	if _, err := dial(t, lis.Addr().String(), p.source(operatorID)).Publish(deadline(t), &regionpb.PublishRequest{}); err != nil {
		t.Fatal(err)
	}
	if id := <-h.caller; id != operatorID {
		t.Errorf("PeerID = %v, want %v", id, operatorID)
	}
	if <-h.local {
		t.Error("a call over TCP counts as local")
	}
}

func TestRefusalNamesRoleAndMethod(t *testing.T) {
	p, h, lis := newPKI(t), newHandler(), tcp(t)
	log, _ := serve(t, rpc.ServerConfig{Identity: p.source(nodeID)}, h, lis)
	c := dial(t, lis.Addr().String(), p.source(clientID))
	_, err := c.Publish(deadline(t), &regionpb.PublishRequest{})
	const want = "role client may not call /firebreak.region.v1.RegionService/Publish"
	if status.Code(err) != codes.PermissionDenied || status.Convert(err).Message() != want {
		t.Errorf("a client publishing: %v", err)
	}
	stream, err := c.Reconcile(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = stream.CloseAndRecv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a client reconciling: %v", err)
	}
	if !strings.Contains(log.String(), clientID.String()) {
		t.Errorf("the log does not name the caller:\n%s", log)
	}
	if len(h.caller) > 0 {
		t.Error("the handler ran")
	}
}

func TestAnotherRegionsNodeIsRefusedInTheHandshake(t *testing.T) {
	p, h, lis := newPKI(t), newHandler(), tcp(t)
	log := &safeBuffer{}
	p.source(nodeID) // writes the files
	src, err := identity.Open(identity.Config{
		Files:  identity.Files{Cert: p.path(nodeID, ".pem"), Key: p.path(nodeID, ".key"), CA: filepath.Join(p.dir, "ca.pem")},
		Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, rpc.ServerConfig{Identity: src}, h, lis)
	_, err = dial(t, lis.Addr().String(), p.source(foreignID)).Status(deadline(t), &regionpb.StatusRequest{})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("a node of another region: %v", err)
	}
	for _, want := range []string{foreignID.String(), `region \"ams\", want \"iad\"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
}

func (p *pki) path(id identity.ID, ext string) string {
	return filepath.Join(p.dir, strings.NewReplacer("/", "_", ":", "_").Replace(id.String())+ext)
}

func TestPanicCostsItsCallAndNothingElse(t *testing.T) {
	p, h, lis := newPKI(t), newHandler(), tcp(t)
	reg := prometheus.NewRegistry()
	log, _ := serve(t, rpc.ServerConfig{Identity: p.source(nodeID), Metrics: reg}, h, lis)
	c := dial(t, lis.Addr().String(), p.source(operatorID))
	_, unary := c.GetMachine(deadline(t), &regionpb.GetMachineRequest{})
	s, err := c.ListMachines(deadline(t), &regionpb.ListMachinesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, stream := s.Recv()
	for name, err := range map[string]error{"unary": unary, "stream": stream} {
		if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !strings.Contains(log.String(), "secret of the process") || !strings.Contains(log.String(), "GetMachine") {
		t.Errorf("the log does not say what panicked:\n%s", log)
	}
	if _, err := c.Publish(deadline(t), &regionpb.PublishRequest{}); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

func TestMessageOverTheLimitIsRefused(t *testing.T) {
	p, h, lis := newPKI(t), newHandler(), tcp(t)
	serve(t, rpc.ServerConfig{Identity: p.source(nodeID)}, h, lis)
	c := dial(t, lis.Addr().String(), p.source(operatorID))
	big := &regionpb.PublishRequest{Machines: []*regionpb.Machine{{Image: strings.Repeat("x", rpc.MaxMessage)}}}
	if _, err := c.Publish(deadline(t), big); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("Publish over %d bytes: %v", rpc.MaxMessage, err)
	}
}

func TestSocketCallerIsTheHost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.sock")
	lis, err := rpc.ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	h := newHandler()
	serve(t, rpc.ServerConfig{Local: true, Fleet: "acme"}, h, lis)
	conn, err := rpc.DialSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := regionpb.NewRegionServiceClient(conn).Publish(deadline(t), &regionpb.PublishRequest{}); err != nil {
		t.Fatal(err)
	}
	if id := <-h.caller; id != (identity.ID{Fleet: "acme", Role: identity.Client, Name: rpc.LocalName}) {
		t.Errorf("PeerID = %v", id)
	}
	if !<-h.local {
		t.Error("the host does not count as local")
	}
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(deadline(t), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Errorf("health: %v", err)
	}
	if _, err := rpc.ListenSocket(path); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("a second server on the socket: %v", err)
	}
}

func TestSocketOfADeadProcessIsReplacedAndAFileIsNot(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "node.sock")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	old.Close()
	lis, err := rpc.ListenSocket(path)
	if err != nil {
		t.Fatalf("over a dead socket: %v", err)
	}
	lis.Close()
	file := filepath.Join(dir, "precious")
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := rpc.ListenSocket(file); err == nil {
		t.Error("a file was taken for a socket")
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "data" {
		t.Errorf("the file is gone: %q, %v", data, err)
	}
}

func TestServerWithoutTLSTakesNothingOverIP(t *testing.T) {
	lis := tcp(t)
	serve(t, rpc.ServerConfig{Local: true, Fleet: "acme"}, newHandler(), lis)
	conn, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(conn); len(b) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the server spoke: %q, %v", b, err)
	}
}
