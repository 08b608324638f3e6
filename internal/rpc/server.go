// Package rpc is how processes of a fleet call each other over gRPC: mutual
// TLS on TCP, or the host's own unix socket without; every call checked
// against the one table in package access; sizes, times and streams bounded; a
// panic in a handler costs that call and nothing else. Health and reflection
// are on.
package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/firebreak-dev/firebreak/internal/access"
	"github.com/firebreak-dev/firebreak/internal/identity"
)

// The bounds of every server and connection.
const (
	MaxMessage       = 4 << 20 // bytes of one message, either way
	maxHeaders       = 16 << 10
	streamWindow     = 2 << 20 // bytes that a peer may send ahead of its reader; being set, nobody pings to find it
	connWindow       = 2 * streamWindow
	maxStreams       = 1024                   // at once on one connection
	handshakeTimeout = 10 * time.Second       // until a stranger is cut off
	drainTimeout     = 3 * time.Second        // for calls in hand when a server stops
	streamDrain      = 250 * time.Millisecond // for cancelled streams then
	pingAfter        = 10 * time.Second       // of silence, by either side
	pingTimeout      = 5 * time.Second
	pingFloor        = 5 * time.Second // a client that pings more often is cut off
)

// ServerConfig configures a server.
type ServerConfig struct {
	Identity *identity.Source      // who we are; required unless Local
	Fleet    string                // of the local caller's identity; used with Local
	Local    bool                  // a unix socket: no TLS, the caller is the host
	Health   *health.Server        // what health checks answer; nil means always serving
	Logger   *slog.Logger          // nil discards
	Metrics  prometheus.Registerer // nil leaves metrics unregistered
}

// Server is a gRPC server; register services on it, then Serve it.
type Server struct {
	*grpc.Server
	gate *gate
}

// NewServer returns a server with health and reflection on it. It panics
// without an identity: a server that checks nobody is a mistake in the program.
func NewServer(cfg ServerConfig) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	listener, creds := "socket", credentials.TransportCredentials(hostOnly{})
	if !cfg.Local {
		if cfg.Identity == nil {
			panic("rpc: a server on TCP needs an identity")
		}
		listener, creds = "tcp", named{credentials.NewTLS(cfg.Identity.Server(access.Accept(cfg.Identity.ID())))}
	}
	g := &gate{local: cfg.Local, fleet: cfg.Fleet, log: cfg.Logger, metrics: newMetrics(cfg.Metrics, listener)}
	g.stopping, g.stop = context.WithCancel(context.Background())
	srv := grpc.NewServer(
		grpc.Creds(creds),
		grpc.UnaryInterceptor(g.unary),
		grpc.StreamInterceptor(g.stream),
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxSendMsgSize(MaxMessage),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.NumStreamWorkers(uint32(2*runtime.GOMAXPROCS(0))), // whose stacks have grown already; with all busy, calls get goroutines
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingFloor, PermitWithoutStream: true}),
	)
	if cfg.Health == nil {
		cfg.Health = health.NewServer()
	}
	grpc_health_v1.RegisterHealthServer(srv, cfg.Health)
	reflection.Register(srv)
	return &Server{Server: srv, gate: g}
}

// Serve serves lis until ctx ends. Then streams are cancelled at once, so that
// watches do not hold the process up, and calls in hand have drainTimeout to
// end. Serve closes lis.
func Serve(ctx context.Context, srv *Server, lis net.Listener) error {
	ended := make(chan error, 1)
	go func() { ended <- srv.Server.Serve(lis) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve %v: %w", lis.Addr(), err)
	case <-ctx.Done():
	}
	srv.drain()
	if err := <-ended; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve %v: %w", lis.Addr(), err)
	}
	return nil
}

// drain stops the server. A stream whose handler waits for its client does not
// see that it was cancelled: once no call but streams is in hand, and they have
// had their time, their connections are closed.
func (s *Server) drain() {
	s.gate.stop()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		s.Server.GracefulStop()
	}()
	defer func() { <-drained }()
	limit := time.NewTimer(drainTimeout)
	defer limit.Stop()
	look := time.NewTicker(streamDrain)
	defer look.Stop()
	for {
		select {
		case <-drained:
			return
		case <-limit.C:
			s.Server.Stop()
			return
		case <-look.C:
			if s.gate.calls.Load() == 0 {
				s.Server.Stop()
				return
			}
		}
	}
}

// gate stands before every handler of one server.
type gate struct {
	local   bool
	fleet   string
	log     *slog.Logger
	metrics *metrics

	calls    atomic.Int64    // in hand, streams aside
	stopping context.Context // the server's life, not a call's: done when it stops
	stop     context.CancelFunc
}
