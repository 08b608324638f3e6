// Package admin is the HTTP listener of one process for its supervisor and
// its operator: /metrics, /livez, /readyz and /debug/pprof. It asks nobody who
// they are, so it binds to loopback only, unless it is given TLS.
package admin

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/firebreak-dev/firebreak/internal/httpd"
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
type Server = httpd.Server

// New opens the listener. Run serves it; a Server that never runs is closed.
func New(cfg Config) (*Server, error) {
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
	}
	return httpd.New(httpd.Config{Name: "admin", Listen: cfg.Listen, TLS: cfg.TLS, Handler: handler(cfg), Logger: cfg.Logger})
}

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
