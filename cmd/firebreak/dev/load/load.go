// Package load sends requests for random apps through the edges of a fleet, as
// users do. It is an open loop: when a request is sent does not depend on how
// the others fare.
package load

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/edge"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Bounds.
const (
	tick        = 10 * time.Millisecond
	maxUnderWay = 256                    // requests; one that is due beyond fails
	within      = 5 * time.Second        // of one request
	appsEvery   = 250 * time.Millisecond // between two looks at which apps there are
)

// Settled is how long a machine must have served for its app to be asked for:
// every edge knows it by then.
const Settled = 2 * time.Second

// Fleet says which apps have a machine that has served since a time.
type Fleet interface {
	Apps(since time.Time) []fleet.App
	Serves(app fleet.App, since time.Time) bool
}

// Config of a Generator.
type Config struct {
	Rate  float64  // requests per second
	Edges []string // their host:port
	Fleet Fleet
	Tally *edge.Tally
	Seed  uint64
}

// Generator sends requests.
type Generator struct {
	cfg    Config
	client *http.Client
}

// New makes a generator. Run starts it.
func New(cfg Config) *Generator {
	return &Generator{cfg: cfg, client: &http.Client{
		Timeout:   within,
		Transport: &http.Transport{MaxIdleConnsPerHost: maxUnderWay, IdleConnTimeout: 30 * time.Second},
	}}
}

// Run sends requests until ctx ends, and waits for those under way.
func (g *Generator) Run(ctx context.Context) error {
	defer g.client.CloseIdleConnections()
	var underWay sync.WaitGroup
	defer underWay.Wait()
	slots := make(chan struct{}, maxUnderWay)
	rnd := rand.New(rand.NewPCG(g.cfg.Seed, 0x6c6f6164))
	t := time.NewTicker(tick)
	defer t.Stop()
	start, sent := time.Now(), 0
	var apps []fleet.App
	var looked time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		now := time.Now()
		if now.Sub(looked) >= appsEvery {
			apps, looked = g.cfg.Fleet.Apps(now.Add(-Settled)), now
		}
		for due := int(now.Sub(start).Seconds() * g.cfg.Rate); sent < due; sent++ {
			if len(apps) == 0 {
				continue // an app without any machine is not asked for
			}
			app, at := apps[rnd.IntN(len(apps))], g.cfg.Edges[rnd.IntN(len(g.cfg.Edges))]
			select {
			case slots <- struct{}{}:
			default:
				g.cfg.Tally.Add("", edge.Counts{Requests: 1, Errors: 1})
				continue
			}
			underWay.Go(func() {
				defer func() { <-slots }()
				g.ask(context.WithoutCancel(ctx), app, at)
			})
		}
	}
}

// ask sends one request and counts what became of it. That an app lost its
// last machine meanwhile is nobody's error, and no request either.
func (g *Generator) ask(ctx context.Context, app fleet.App, at string) {
	begun := time.Now()
	region, err := g.get(ctx, app, at)
	switch {
	case err == nil:
		g.cfg.Tally.Add(region, edge.Counts{Requests: 1})
	case g.cfg.Fleet.Serves(app, begun.Add(-Settled)):
		g.cfg.Tally.Add(region, edge.Counts{Requests: 1, Errors: 1})
	}
}

// get returns the region of the machine that answered, or was tried last.
func (g *Generator) get(ctx context.Context, app fleet.App, at string) (fleet.Region, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+"/", nil)
	if err != nil {
		return "", err
	}
	req.Host = string(app)
	resp, err := g.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	region := fleet.Region(resp.Header.Get(edge.RegionHeader))
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return region, err
	}
	if resp.StatusCode != http.StatusOK {
		return region, fmt.Errorf("status %s", resp.Status)
	}
	return region, nil
}
