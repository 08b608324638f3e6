// Package observe watches a federation as its users do and tells a
// propagation.Tracker what is seen where: the table of machines on each region
// node, the directory on each global node, a watch of all apps on each router,
// and a catalog as a proxy embeds it.
package observe

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/propagation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
	"github.com/firebreak-dev/firebreak/router/catalog"
)

// The names under which dev's watches appear in the nodes' listings.
const client = "dev"

// Config names what is watched.
type Config struct {
	Tracker *propagation.Tracker
	Regions map[truth.Place]regionv1.RegionServiceClient
	Globals map[fleet.Worker]globalv1.DirectoryServiceClient
	Routers map[fleet.Worker]routerv1.RouterServiceClient
	Catalog *catalog.Client // run by the caller
	Apps    []fleet.App     // to watch on routers and in the catalog

	// Row is told every row of one of dev's machines that shows at a node of a
	// region. Content differs for every version of a row. Nil for nobody.
	Row func(at truth.Place, owner fleet.Worker, id fleet.MachineID, content uint64)
}

func atRegion(p truth.Place) propagation.Observer {
	return propagation.Observer{Tier: propagation.Region, Region: p.Region, Node: p.Worker}
}

func at(tier propagation.Tier, n fleet.Worker) propagation.Observer {
	return propagation.Observer{Tier: tier, Node: n}
}

// atCatalog is dev's own catalog.
var atCatalog = propagation.Observer{Tier: propagation.Catalog, Node: client}

// Observers lists everyone who sees writes.
func (c Config) Observers() []propagation.Observer {
	var out []propagation.Observer
	for n := range c.Regions {
		out = append(out, atRegion(n))
	}
	for n := range c.Globals {
		out = append(out, at(propagation.Global, n))
	}
	for n := range c.Routers {
		out = append(out, at(propagation.Router, n))
	}
	return append(out, atCatalog)
}

// Watches are the running watches.
type Watches struct {
	cfg Config

	mu      sync.Mutex
	waiting map[propagation.Observer]string // not synced yet, and why
	changed chan struct{}
}

// New prepares the watches. Run starts them.
func New(cfg Config) *Watches {
	w := &Watches{cfg: cfg, waiting: map[propagation.Observer]string{}, changed: make(chan struct{})}
	for _, o := range cfg.Observers() {
		w.waiting[o] = "not connected"
	}
	return w
}

// Synced waits until every watch has been complete once.
func (w *Watches) Synced(ctx context.Context) error {
	for {
		w.mu.Lock()
		changed := w.changed
		var who propagation.Observer
		var why string
		for o, reason := range w.waiting {
			who, why = o, reason
		}
		left := len(w.waiting)
		w.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d watches are not complete, one of them of %s %s (%s): %w", left, who.Tier, who.Node, why, ctx.Err())
		}
	}
}

func (w *Watches) synced(o propagation.Observer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiting, o)
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *Watches) failed(o propagation.Observer, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.waiting[o]; ok {
		w.waiting[o] = err.Error()
	}
}

// Run watches until ctx ends. A watch that breaks is made again: what a node
// does not show is for the self-check to say.
func (w *Watches) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	seed := uint64(0)
	keep := func(o propagation.Observer, watch func(context.Context, propagation.Observer) error) {
		seed++
		pause := backoff.New(backoff.Config{Base: 100 * time.Millisecond, Max: 3 * time.Second}, seed)
		g.Go(func() error {
			for ctx.Err() == nil {
				if err := watch(ctx, o); err != nil && err != io.EOF {
					w.failed(o, err)
				}
				if backoff.Wait(ctx, pause.Next()) != nil {
					break
				}
			}
			return nil
		})
	}
	for n, c := range w.cfg.Regions {
		keep(atRegion(n), func(ctx context.Context, o propagation.Observer) error {
			return w.region(ctx, o, c)
		})
	}
	for n, c := range w.cfg.Globals {
		keep(at(propagation.Global, n), func(ctx context.Context, o propagation.Observer) error {
			return w.global(ctx, o, c)
		})
	}
	for n, c := range w.cfg.Routers {
		keep(at(propagation.Router, n), func(ctx context.Context, o propagation.Observer) error {
			return w.router(ctx, o, c)
		})
	}
	keep(atCatalog, w.catalog)
	return g.Wait()
}
