// Package load sends requests for random apps through the edges of a fleet, as
// users do. It is an open loop: when a request is sent does not depend on how
// the others fare.
package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/edge"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/pulse"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Bounds.
const (
	tick        = 10 * time.Millisecond
	maxUnderWay = 256                    // requests; one that is due beyond fails
	within      = 5 * time.Second        // of one request
	excusable   = time.Second            // from when on a wait can be this process's own fault
	maxBody     = 1 << 10                // bytes of an answer that are looked at
	appsEvery   = 250 * time.Millisecond // between two looks at which apps there are
)

// Fleet says which apps have a machine that should be found at a time, with the
// regions of such machines.
type Fleet interface {
	Found(at time.Time) map[fleet.App][]fleet.Region
}

// Config of a Generator.
type Config struct {
	Rate  float64  // requests per second
	Edges []string // their host:port
	Fleet Fleet
	Tally *edge.Tally
	Pulse *pulse.Pulse // of this process
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
			apps, looked = slices.Sorted(maps.Keys(g.cfg.Fleet.Found(now))), now
		}
		for due := int(now.Sub(start).Seconds() * g.cfg.Rate); sent < due; sent++ {
			if len(apps) == 0 {
				continue // an app without any machine is not asked for
			}
			app, at := apps[rnd.IntN(len(apps))], g.cfg.Edges[rnd.IntN(len(g.cfg.Edges))]
			select {
			case slots <- struct{}{}:
			default:
				g.fail(app, now, errTooMany)
				continue
			}
			underWay.Go(func() {
				defer func() { <-slots }()
				g.ask(context.WithoutCancel(ctx), app, at)
			})
		}
	}
}

// ask sends one request and counts what became of it.
func (g *Generator) ask(ctx context.Context, app fleet.App, at string) {
	begun := time.Now()
	region, err := g.get(ctx, app, at)
	if err != nil {
		g.fail(app, begun, err)
		return
	}
	g.cfg.Tally.Add(edge.Counts{Requests: 1}, region)
}

var errTooMany = errors.New("too many requests are under way")

// fail counts a failed request, as one of every region that has a machine that
// should have answered. That an app lost its last such machine meanwhile is
// nobody's error, and no request either; nor is it anybody's if this process
// hardly ran while the request waited.
func (g *Generator) fail(app fleet.App, begun time.Time, why error) {
	regions := g.cfg.Fleet.Found(begun)[app]
	if len(regions) == 0 {
		return
	}
	now := time.Now()
	if waited := now.Sub(begun); waited > excusable && 2*g.cfg.Pulse.Lost(begun, now) > waited {
		g.cfg.Tally.Add(edge.Counts{Requests: 1, Excused: 1}, regions...)
		return
	}
	g.cfg.Tally.Fail(fmt.Sprintf("app %s, after %v: %v", app, now.Sub(begun).Round(time.Millisecond), why), regions...)
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
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return region, err
	}
	if resp.StatusCode != http.StatusOK {
		return region, fmt.Errorf("status %s: %s", resp.Status, bytes.TrimSpace(body))
	}
	return region, nil
}
