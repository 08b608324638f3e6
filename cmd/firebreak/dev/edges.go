package dev

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/check"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/edge"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/router/catalog"
)

// maxEdges is how many edges a federation has: in its first regions, or all in
// those that there are.
const maxEdges = 3

// edges are the proxies of a federation, each with the catalog that it embeds.
type edges []placed

type placed struct {
	*edge.Edge
	follows *catalog.Client
	sees    edge.Catalog // the same, except in tests
}

// openEdges places the edges. The catalog of each is of its region's locality.
func (s *session) openEdges(ctx context.Context, plan federation.Plan, routers []string) error {
	regions := plan.Spec.Regions
	s.tally = edge.NewTally(regions)
	for i, region := range regions[:min(len(regions), maxEdges)] {
		c, err := catalog.New(catalog.Config{
			Routers: routers, TLS: s.federation.EdgeTLS(), Client: "edge-" + string(region), Locality: string(region),
		})
		if err != nil {
			return fmt.Errorf("catalog of the edge in %s: %w", region, err)
		}
		p := placed{follows: c, sees: c}
		if s.edgeCatalog != nil {
			p.sees = s.edgeCatalog(c)
		}
		p.Edge, err = edge.Listen(ctx, edge.Config{Region: region, Catalog: p.sees, Tally: s.tally, Pulse: &s.pulse, Seed: s.seed + uint64(i)})
		if err != nil {
			return err
		}
		s.edges = append(s.edges, p)
	}
	return nil
}

// close lets go of the listeners of hosts and edges, also if nothing ran.
func (s *session) close() {
	_ = s.hosts.Close() // what failed to close ends with the process
	for _, e := range s.edges {
		_ = e.Close()
	}
}

// watch makes every edge follow these apps from the start.
func (es edges) watch(apps []fleet.App, there truth.Snapshot) {
	for _, e := range es {
		for _, app := range apps {
			e.sees.Watch(string(app))
		}
		for app := range there.Apps() {
			e.sees.Watch(string(app))
		}
	}
}

func (es edges) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, e := range es {
		g.Go(func() error { return e.follows.Run(ctx) })
		g.Go(func() error { return e.Run(ctx) })
	}
	return g.Wait()
}

func (es edges) addresses() []string {
	var out []string
	for _, e := range es {
		out = append(out, e.Addr())
	}
	return out
}

func (es edges) catalogs() map[fleet.Region]check.Catalog {
	out := map[fleet.Region]check.Catalog{}
	for _, e := range es {
		out[e.Region()] = e.sees
	}
	return out
}
