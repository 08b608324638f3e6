// Package host stands for the workers' hosts as the network sees them: each has
// one real HTTP listener that answers for the machines that run there. A host
// is not its node: it goes on while the node is down.
//
// A request names its machine in a header or in its path. The answer says who
// gave it. A machine that the host never ran is refused, and so is one that has
// stopped, with the time since when its node knows: nobody can have heard of it
// before.
package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// maxStopped bounds the stopped machines that a host remembers; of one that it
// has forgotten it says that it never ran it.
const maxStopped = 50_000

// Host is one worker's host. Safe for concurrent use.
type Host struct {
	// Set by Listen, then constant.
	place     truth.Place
	addresses *Addresses
	listener  net.Listener
	port      uint16

	mu       sync.Mutex
	machines map[fleet.MachineID]*machine
	stopped  []stop // in their order, those of machines that came back too
}

type machine struct {
	app     fleet.App
	addr    netip.Addr
	running bool
	failing bool      // runs, and its checks fail
	since   time.Time // it runs as this app, or is stopped
	told    time.Time // when the node has acknowledged what it is now; zero while it has not
}

type stop struct {
	id fleet.MachineID
	at time.Time
}

// Listen opens the host's listener, on a port of every loopback address. Run
// answers on it and closes it; Close closes one that is not run.
func Listen(ctx context.Context, place truth.Place, addresses *Addresses) (*Host, error) {
	lc := net.ListenConfig{Control: loopbackOnly}
	lis, err := lc.Listen(ctx, "tcp4", ":0")
	if err != nil {
		return nil, fmt.Errorf("listener of host %v: %w", place, err)
	}
	return &Host{
		place: place, addresses: addresses, listener: local{lis}, port: netip.MustParseAddrPort(lis.Addr().String()).Port(),
		machines: map[fleet.MachineID]*machine{},
	}, nil
}

// loopbackOnly keeps the port off every real network. An old kernel refuses
// that to ordinary users; the listener then turns strangers away itself.
func loopbackOnly(_, _ string, conn syscall.RawConn) error {
	return conn.Control(func(fd uintptr) {
		_ = syscall.SetsockoptString(int(fd), syscall.SOL_SOCKET, syscall.SO_BINDTODEVICE, "lo")
	})
}

// local accepts only what comes in on a loopback address.
type local struct{ net.Listener }

func (l local) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if addr, ok := conn.LocalAddr().(*net.TCPAddr); ok && addr.IP.IsLoopback() {
			return conn, nil
		}
		conn.Close()
	}
}

// Port is where the host answers, on the address of each of its machines.
func (h *Host) Port() uint16 { return h.port }

// Close closes the listener.
func (h *Host) Close() error {
	if err := h.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close host %v: %w", h.place, err)
	}
	return nil
}

// Bounds of one request.
const (
	headerWithin = 5 * time.Second
	idleFor      = time.Minute
	stopWithin   = time.Second
)

// Run answers until ctx ends.
func (h *Host) Run(ctx context.Context) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: headerWithin, IdleTimeout: idleFor}
	if err := Serve(ctx, srv, h.listener); err != nil {
		return fmt.Errorf("host %v: %w", h.place, err)
	}
	return nil
}

// Serve serves until ctx ends, gives the requests under way a moment, and
// closes everything.
func Serve(ctx context.Context, srv *http.Server, lis net.Listener) error {
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(lis) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		_ = srv.Close() // what is still open after the grace
	}
	<-ended
	return nil
}
