// Package admin is the HTTP listener of one process for its supervisor and
// its operator: /metrics, /livez, /readyz and /debug/pprof. It asks nobody who
// they are, so it binds to loopback only, unless it is given TLS.
package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The bounds of a request.
const (
	headerTimeout = 5 * time.Second
	idleTimeout   = time.Minute
	maxHeader     = 16 << 10
	drainTimeout  = time.Second
)

// Config configures a Server.
type Config struct {
	Listen   string               // host:port of loopback; port 0 is allowed
	TLS      *tls.Config          // nil: plain HTTP, loopback only
	Ready    func() error         // why the process is not ready; nil means always ready
	Registry *prometheus.Registry // what /metrics shows; nil means nothing
	Logger   *slog.Logger         // nil discards
}

// Server is an open admin listener.
type Server struct {
	lis net.Listener
	srv *http.Server
}

// New opens the listener. Run serves it; a Server that never runs is closed.
func New(cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
	}
	if err := check(cfg); err != nil {
		return nil, fmt.Errorf("admin listener: %w", err)
	}
	lis, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("admin listener: %w", err)
	}
	if cfg.TLS != nil {
		lis = tls.NewListener(lis, cfg.TLS)
	}
	return &Server{lis: lis, srv: &http.Server{
		Handler:           handler(cfg),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}}, nil
}

// check refuses an address that strangers could reach without TLS.
func check(cfg Config) error {
	host, _, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return err
	}
	if cfg.TLS != nil || host == "localhost" {
		return nil
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%s is not a loopback address, and without TLS it would be open to the network: use 127.0.0.1 or [::1]", cfg.Listen)
	}
	return nil
}

// Addr is the address that is listened on.
func (s *Server) Addr() string { return s.lis.Addr().String() }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- s.srv.Serve(s.lis) }()
	select {
	case err := <-ended:
		return fmt.Errorf("admin listener: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if s.srv.Shutdown(drain) != nil {
		s.srv.Close() // a profile in hand does not hold the process up
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin listener: %w", err)
	}
	return nil
}

// Close closes the listener of a Server that never ran.
func (s *Server) Close() error { return s.lis.Close() }

func handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(cfg.Registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if cfg.Ready != nil {
			if err := cfg.Ready(); err != nil {
				w.Header().Set("Content-Type", "text/plain; charset=utf-8")
				w.WriteHeader(http.StatusServiceUnavailable)
				fmt.Fprintln(w, err)
				return
			}
		}
		fmt.Fprintln(w, "ready")
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}
