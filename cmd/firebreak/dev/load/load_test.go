package load_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/edge"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/load"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/pulse"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// apps stay, or are over once somebody has looked.
type apps struct {
	all   map[fleet.App]bool
	looks atomic.Int64
}

// Found counts the looks: apps that are over are there at the first.
func (a *apps) Found(time.Time) map[fleet.App][]fleet.Region {
	out := map[fleet.App][]fleet.Region{}
	first := a.looks.Add(1) == 1
	for app, stays := range a.all {
		if stays || first {
			out[app] = []fleet.Region{"iad"}
		}
	}
	return out
}

// proxy is an edge that fails for some apps and holds others up.
type proxy struct {
	hold chan struct{}

	mu    sync.Mutex
	asked map[string]int
	total int
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked[r.Host]++
	p.total++
	p.mu.Unlock()
	if strings.HasPrefix(r.Host, "slow") {
		<-p.hold
	}
	w.Header().Set(edge.RegionHeader, "iad")
	if strings.HasPrefix(r.Host, "bad") {
		w.WriteHeader(http.StatusBadGateway)
	}
}

func (p *proxy) seen() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total
}

// send runs a generator until the proxy has seen n requests.
func send(t *testing.T, all map[fleet.App]bool, n int) (*proxy, edge.Report) {
	t.Helper()
	p := &proxy{hold: make(chan struct{}), asked: map[string]int{}}
	srv := httptest.NewServer(p)
	defer srv.Close()
	tally := edge.NewTally([]fleet.Region{"iad"})
	g := load.New(load.Config{Rate: 500, Edges: []string{srv.Listener.Addr().String()}, Fleet: &apps{all: all}, Tally: tally, Pulse: &pulse.Pulse{}, Seed: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for p.seen() < n && ctx.Err() == nil {
		<-tick.C
	}
	cancel()
	close(p.hold)
	if err := <-done; err != nil {
		t.Error(err)
	}
	return p, tally.Report()
}

func TestFailedRequestsAreErrorsUnlessTheirAppIsOver(t *testing.T) {
	p, r := send(t, map[fleet.App]bool{"web": true, "bad": true, "bad-over": false}, 60)
	if want := p.asked["web"] + p.asked["bad"]; r.Requests != want || r.Errors != p.asked["bad"] || r.Regions["iad"].Requests != want {
		t.Errorf("asked %v, counted %+v", p.asked, r)
	}
	if len(p.asked) != 3 {
		t.Errorf("asked for %v", p.asked)
	}
}

func TestRequestsAreSentWhetherOthersAreAnsweredOrNot(t *testing.T) {
	p, r := send(t, map[fleet.App]bool{"slow": true}, 100)
	if r.Requests < 100 || r.Errors != 0 || p.asked["slow"] != r.Requests {
		t.Errorf("asked %v, counted %+v", p.asked, r)
	}
}
