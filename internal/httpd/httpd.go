// Package httpd is an HTTP listener of a node: HTTP/1.1, and HTTP/2 with prior
// knowledge on the same port. Without TLS it binds to loopback only. What a
// client may have at once is bounded: connections, requests, headers, and how
// long it may take over them.
//
// When it stops it ends what streams at once, and gives what answers a moment.
package httpd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The bounds of a connection.
const (
	headerTimeout = 5 * time.Second
	idleTimeout   = time.Minute
	maxHeader     = 16 << 10
	drainTimeout  = time.Second
	maxStreams    = 10_000 // at once on one HTTP/2 connection: a client may have all its subscriptions there
	maxConns      = 4096   // at once; a file descriptor each
	maxRequests   = 20_000 // at once, over all connections
	maxBodies     = 256 << 20
	pingAfter     = 30 * time.Second
	pingTimeout   = 15 * time.Second
)

// Config configures a Server.
type Config struct {
	Name    string       // for errors: "admin"
	Listen  string       // host:port; of loopback unless there is TLS; port 0 is allowed
	TLS     *tls.Config  // nil: plain
	Handler http.Handler // its requests' contexts end when the server stops
	Logger  *slog.Logger // nil discards

	Conns    int                   // at once; zero means 4096. One more is closed
	Requests int                   // at once; zero means 20,000. One more is answered 503
	Bodies   int                   // bytes of large bodies at once; zero means 256 MiB. Beyond it reading one fails with ErrBodies
	Metrics  prometheus.Registerer // nil leaves metrics unregistered
}

// Server is an open listener.
type Server struct {
	cfg Config
	lis net.Listener
	srv *http.Server
}

// New opens the listener. Run serves it; a Server that never runs is closed.
func New(cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.TLS == nil {
		if err := CheckLoopback(cfg.Listen); err != nil {
			return nil, fmt.Errorf("%s listener: %w", cfg.Name, err)
		}
	}
	lis, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("%s listener: %w", cfg.Name, err)
	}
	refused := newRefused(cfg.Metrics)
	lis = &limited{Listener: lis, most: int64(cmp.Or(cfg.Conns, maxConns)), refused: refused.WithLabelValues("connection")}
	large := &bodies{most: int64(cmp.Or(cfg.Bodies, maxBodies)), refused: refused.WithLabelValues("body")}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	if cfg.TLS != nil {
		t := cfg.TLS.Clone()
		t.NextProtos = []string{"h2", "http/1.1"}
		lis = tls.NewListener(lis, t)
		protocols.SetHTTP2(true)
	} else {
		protocols.SetUnencryptedHTTP2(true)
	}
	return &Server{cfg: cfg, lis: lis, srv: &http.Server{
		Handler:           bounded(int64(cmp.Or(cfg.Requests, maxRequests)), refused.WithLabelValues("request"), large, cfg.Handler),
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}}, nil
}

// CheckLoopback refuses an address that strangers could reach.
func CheckLoopback(listen string) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("%s is not a loopback address, and without TLS it would be open to the network: use 127.0.0.1 or [::1]", listen)
}

// Addr is the address that is listened on.
func (s *Server) Addr() string { return s.lis.Addr().String() }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	s.srv.BaseContext = func(net.Listener) context.Context { return ctx }
	ended := make(chan error, 1)
	go func() { ended <- s.srv.Serve(s.lis) }()
	select {
	case err := <-ended:
		return fmt.Errorf("%s listener: %w", s.cfg.Name, err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if s.srv.Shutdown(drain) != nil {
		_ = s.srv.Close() // a long answer does not hold the process up
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s listener: %w", s.cfg.Name, err)
	}
	return nil
}

// Close closes the listener of a Server that never ran.
func (s *Server) Close() error { return s.lis.Close() }
