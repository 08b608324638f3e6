package edge

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/host"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/router/catalog"
)

const (
	maxSilent = 3               // machines of one request that do not answer
	maxTries  = 32              // machines of one request: a refusal costs nothing
	spill     = 8               // one request in so many goes to any machine, near or far
	forgiven  = 2 * time.Second // for how long an edge may choose a machine after its node knew of the stop
	httpPort  = "http"          // name of the service that is asked
	separator = "/"
)

// App returns the app that a request is for: its host without a port.
func App(hostport string) string {
	if name, _, err := net.SplitHostPort(hostport); err == nil {
		return name
	}
	return hostport
}

// RoundTrip passes a request on to a machine of its app.
func (e *Edge) RoundTrip(req *http.Request) (*http.Response, error) {
	app := App(req.Host)
	endpoints := e.choose(app)
	if len(endpoints) == 0 {
		return nil, &failure{err: errNoMachine}
	}
	tries := min(len(endpoints), maxTries)
	if req.Body != nil && req.Body != http.NoBody {
		tries = 1 // its body can be read only once
	}
	last, silent := &failure{}, 0
	for i, ep := range endpoints[:tries] {
		last.region = fleet.Region(ep.Region)
		if i > 0 {
			e.cfg.Tally.Add(Counts{Retries: 1}, last.region)
		}
		var resp *http.Response
		if resp, last.err = e.try(req, ep); last.err == nil {
			resp.Header.Set(RegionHeader, ep.Region)
			return resp, nil
		}
		if !errors.Is(last.err, errStopped) {
			silent++
		}
		if silent == maxSilent || req.Context().Err() != nil {
			break
		}
	}
	return nil, last
}

// choose returns the machines of an app in the order in which to try them: one
// of the best by chance, then the others as the catalog has them. Machines that
// somebody published by hand lie elsewhere and are not asked.
func (e *Edge) choose(app string) []catalog.Endpoint {
	view, known := e.cfg.Catalog.Lookup(app)
	if !known {
		e.cfg.Catalog.Watch(app) // the next request finds it
	}
	var out []catalog.Endpoint
	for _, ep := range view.Endpoints {
		if _, ok := target(ep); ok {
			out = append(out, ep)
		}
	}
	if len(out) == 0 {
		return nil
	}
	best := 1
	for best < len(out) && alike(out[0], out[best]) {
		best++
	}
	e.mu.Lock()
	if e.rnd.IntN(spill) == 0 {
		best = len(out)
	}
	i := e.rnd.IntN(best)
	e.mu.Unlock()
	out[0], out[i] = out[i], out[0]
	return out
}

func alike(a, b catalog.Endpoint) bool {
	return a.Locality == b.Locality && a.Suspect == b.Suspect && a.Warning == b.Warning
}

// target returns where an endpoint answers.
func target(ep catalog.Endpoint) (string, bool) {
	if len(ep.Addresses) == 0 {
		return "", false
	}
	addr, err := netip.ParseAddr(ep.Addresses[0])
	if err != nil || !host.Net.Contains(addr) {
		return "", false
	}
	for _, s := range ep.Services {
		if s.Name == httpPort && s.Port > 0 && s.Port <= 65535 {
			return netip.AddrPortFrom(addr, uint16(s.Port)).String(), true
		}
	}
	return "", false
}

// try asks one machine.
func (e *Edge) try(req *http.Request, ep catalog.Endpoint) (*http.Response, error) {
	addr, _ := target(ep)
	out := req.Clone(req.Context())
	out.URL.Scheme, out.URL.Host = "http", addr
	out.Header.Set(host.MachineHeader, ep.Machine)
	out.Header.Set(host.AppHeader, ep.App)
	chosen := time.Now()
	resp, err := e.transport.RoundTrip(out)
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", name(ep), err)
	}
	if err := e.judge(ep, resp, chosen); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

func name(ep catalog.Endpoint) string {
	return strings.Join([]string{ep.Region, ep.Worker, ep.Machine}, separator)
}

// judge holds an answer against what was asked for. The hosts' clock is the
// edge's: they are on one machine.
func (e *Edge) judge(ep catalog.Endpoint, resp *http.Response, chosen time.Time) error {
	place := strings.Join([]string{ep.Region, ep.Worker}, separator)
	at := resp.Header.Get(host.PlaceHeader)
	if resp.StatusCode == host.StatusStopped && at == place {
		return e.stopped(ep, resp, chosen)
	}
	got := resp.Header.Get(host.MachineHeader)
	if resp.StatusCode == host.StatusUnknown || at != place || got != ep.Machine || resp.Header.Get(host.AppHeader) != ep.App {
		err := fmt.Errorf("wrong machine: the edge in %s asked for %s of app %s, and %q of %q answered with status %d",
			e.cfg.Region, name(ep), ep.App, got, at, resp.StatusCode)
		e.cfg.Tally.mistake(wrongMachine, fleet.Region(ep.Region), err.Error())
		return err
	}
	return nil
}

// errStopped marks the refusal of a host.
var errStopped = errors.New("stopped machine")

func (e *Edge) stopped(ep catalog.Endpoint, resp *http.Response, chosen time.Time) error {
	told := resp.Header.Get(host.StoppedHeader)
	if told == "" {
		return fmt.Errorf("%w: %s of app %s, whose node does not know yet", errStopped, name(ep), ep.App)
	}
	nanos, err := strconv.ParseInt(told, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: %s since %q: %w", errStopped, name(ep), told, err)
	}
	since := time.Unix(0, nanos)
	ago := chosen.Sub(since) - e.cfg.Pulse.Lost(since, chosen)
	err = fmt.Errorf("%w: the edge in %s chose %s of app %s %v of running time after its node knew of the stop", errStopped, e.cfg.Region, name(ep), ep.App, ago.Round(time.Millisecond))
	if ago > forgiven {
		e.cfg.Tally.mistake(stoppedMachine, fleet.Region(ep.Region), err.Error())
	}
	return err
}
