// Package edge is a reverse proxy at the edge of a fleet, as plain as can be:
// it takes a request for an app, named by its host, chooses a machine from the
// catalog that it embeds, and passes the request on. Where nothing answers, or
// a host says that the machine has stopped, it tries another.
//
// It keeps count of what must not happen: answers of another machine than the
// chosen one, and machines that it still chose long after they had stopped.
package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/host"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/pulse"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/router/catalog"
)

// Catalog is what an edge needs of a catalog.
type Catalog interface {
	Watch(app string)
	Lookup(app string) (catalog.View, bool)
}

// RegionHeader of an answer names the region of the machine that was tried
// last; none if no machine was.
const RegionHeader = "Firebreak-Region"

// Config of an Edge.
type Config struct {
	Region  fleet.Region // where it is
	Catalog Catalog      // of that locality; run by the caller
	Tally   *Tally
	Pulse   *pulse.Pulse // of this process, in which everybody lives who is judged
	Seed    uint64       // of its choices
}

// Edge is one proxy. Safe for concurrent use.
type Edge struct {
	// Set by Listen, then constant.
	cfg       Config
	listener  net.Listener
	proxy     *httputil.ReverseProxy
	transport *http.Transport

	mu  sync.Mutex
	rnd *rand.Rand
}

// Bounds of one try.
const (
	connectWithin = time.Second
	answerWithin  = 2 * time.Second
	idleFor       = 30 * time.Second
	maxIdle       = 256 // connections kept for the next request
)

// Listen opens the proxy's listener on a loopback port. Run serves on it and
// closes it; Close closes one that is not run.
func Listen(ctx context.Context, cfg Config) (*Edge, error) {
	var lc net.ListenConfig
	lis, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listener of the edge in %s: %w", cfg.Region, err)
	}
	e := &Edge{
		cfg: cfg, listener: lis, rnd: rand.New(rand.NewPCG(cfg.Seed, 0x65646765)),
		transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: connectWithin}).DialContext,
			ResponseHeaderTimeout: answerWithin, IdleConnTimeout: idleFor, MaxIdleConns: maxIdle,
		},
	}
	e.proxy = &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.Out.Host = r.In.Host },
		Transport:    e,
		ErrorHandler: refuse,
		ErrorLog:     log.New(io.Discard, "", 0), // a client that hangs up
	}
	return e, nil
}

// Region is where the edge is.
func (e *Edge) Region() fleet.Region { return e.cfg.Region }

// Addr is where the edge answers.
func (e *Edge) Addr() string { return e.listener.Addr().String() }

// URL is where a person finds it.
func (e *Edge) URL() string { return "http://" + e.Addr() + "/" }

// Close closes the listener.
func (e *Edge) Close() error {
	if err := e.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close the edge in %s: %w", e.cfg.Region, err)
	}
	return nil
}

// Run serves until ctx ends.
func (e *Edge) Run(ctx context.Context) error {
	defer e.transport.CloseIdleConnections()
	srv := &http.Server{Handler: e.proxy, ReadHeaderTimeout: answerWithin, IdleTimeout: 2 * idleFor}
	if err := host.Serve(ctx, srv, e.listener); err != nil {
		return fmt.Errorf("edge in %s: %w", e.cfg.Region, err)
	}
	return nil
}

// failure is why no machine has answered.
type failure struct {
	region fleet.Region // of the last one tried; empty if none was
	err    error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

var errNoMachine = errors.New("no machine of this app is known")

// refuse answers for an edge that has found no machine.
func refuse(w http.ResponseWriter, _ *http.Request, err error) {
	status := http.StatusBadGateway
	if errors.Is(err, errNoMachine) {
		status = http.StatusServiceUnavailable
	}
	var f *failure
	if errors.As(err, &f) && f.region != "" {
		w.Header().Set(RegionHeader, string(f.region))
	}
	http.Error(w, err.Error(), status)
}
