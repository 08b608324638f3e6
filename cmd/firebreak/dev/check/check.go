// Package check holds every tier of a federation against the truth. It asks
// from outside, as users do: each node of a region for its rows, each global
// node for its directory, each router for routes and for an answer over all
// regions, and a catalog for its endpoints.
package check

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/daemon"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
	"github.com/firebreak-dev/firebreak/router/catalog"
)

// Nodes is what the check needs of a federation.
type Nodes interface {
	Plan() federation.Plan
	Ready(ctx context.Context, n federation.Node) error
	RegionClient(n federation.Node) (regionv1.RegionServiceClient, error)
	DirectoryClient(n federation.Node) (globalv1.DirectoryServiceClient, error)
	RouterClient(n federation.Node) (routerv1.RouterServiceClient, error)
}

// Catalog is what the check needs of a catalog.
type Catalog interface {
	Watch(app string)
	Lookup(app string) (catalog.View, bool)
}

// Check is one thing that was checked.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"` // what differs, or what was compared
}

// Region is a region as its nodes show it.
type Region struct {
	Nodes    int    `json:"nodes"`
	Machines int    `json:"machines"`
	Root     string `json:"root"` // of all nodes if they are equal, else empty
}

// Result is a whole self-check.
type Result struct {
	Checks  []Check
	Regions map[fleet.Region]Region
	Truth   truth.Snapshot
}

// Err names the checks that failed, or is nil.
func (r Result) Err() error {
	var errs []error
	for _, c := range r.Checks {
		if !c.OK {
			errs = append(errs, fmt.Errorf("%s: %s", c.Name, c.Detail))
		}
	}
	return errors.Join(errs...)
}

// Config of a self-check.
type Config struct {
	Nodes    Nodes
	Daemons  []*daemon.Daemon
	Truth    *truth.Model
	Catalog  Catalog
	Edges    map[fleet.Region]Catalog // of the edge in each region
	Requests Requests
	Faults   int           // that were injected: requests may then go to the wrong place
	Apps     []fleet.App   // known beforehand: looked up even if they have no machine
	Within   time.Duration // for the federation to become quiet and equal; zero means 90s, and 1s more for each node
}

// callTimeout bounds one question.
const callTimeout = 10 * time.Second

// pause is the time between two rounds.
const pause = 500 * time.Millisecond

// Run checks until everything is well, and else returns the last result when
// the time is over. Nobody must change anything meanwhile: what is compared
// becomes equal by itself or not at all.
func Run(ctx context.Context, cfg Config) Result {
	if cfg.Within == 0 {
		cfg.Within = 90*time.Second + time.Duration(len(cfg.Nodes.Plan().Nodes))*time.Second
	}
	deadline := time.Now().Add(cfg.Within)
	tick := time.NewTicker(pause)
	defer tick.Stop()
	var before map[fleet.Region]string
	for {
		r := &round{cfg: cfg, regions: map[fleet.Region]*regionView{}}
		result := r.run(ctx)
		roots := r.roots()
		result.Checks = append(result.Checks, quiet(before, roots))
		before = roots
		if result.Err() == nil || time.Now().After(deadline) || ctx.Err() != nil {
			return result
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// quiet checks that no region changed between two rounds.
func quiet(before, now map[fleet.Region]string) Check {
	if equalRoots(before, now) {
		return verdict("quiet", nil, "no region changed between two looks")
	}
	return verdict("quiet", []string{"a region still changes"}, "")
}

func equalRoots(a, b map[fleet.Region]string) bool {
	for r, root := range b {
		if root == "" || a[r] != root {
			return false
		}
	}
	return len(a) == len(b)
}

// round is one look at everything.
type round struct {
	cfg     Config
	regions map[fleet.Region]*regionView
	truth   truth.Snapshot
	held    map[listing]bool // withdrawals that the brake holds
}

type listing struct {
	region fleet.Region
	app    fleet.App
}

func (r *round) run(ctx context.Context) Result {
	var checks []Check
	checks = append(checks, r.daemons(ctx), r.nodes(ctx))
	checks = append(checks, r.lookAtRegions(ctx)...)
	r.truth = r.cfg.Truth.Snapshot()
	checks = append(checks, r.regionsAreTrue()...)
	checks = append(checks, r.directories(ctx)...)
	checks = append(checks, r.routers(ctx)...)
	checks = append(checks, r.catalog("catalog", r.cfg.Catalog))
	checks = append(checks, r.edges()...)
	return Result{Checks: checks, Regions: r.report(), Truth: r.truth}
}

func (r *round) roots() map[fleet.Region]string {
	out := map[fleet.Region]string{}
	for name, v := range r.regions {
		out[name] = v.root()
	}
	return out
}

func (r *round) report() map[fleet.Region]Region {
	out := map[fleet.Region]Region{}
	for name, v := range r.regions {
		out[name] = Region{Nodes: len(v.nodes), Machines: len(r.truth.In(name)), Root: v.root()}
	}
	return out
}

// verdict makes a check of what differs; good is its detail if nothing does.
func verdict(name string, differs []string, good string) Check {
	if len(differs) == 0 {
		return Check{Name: name, OK: true, Detail: good}
	}
	return Check{Name: name, Detail: strings.Join(differs, "; ")}
}

// daemons checks that every daemon has told its node everything.
func (r *round) daemons(ctx context.Context) Check {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var differs []string
	for _, d := range r.cfg.Daemons {
		if err := d.Idle(ctx); err != nil {
			differs = append(differs, err.Error())
		}
	}
	return verdict("daemons", differs, fmt.Sprintf("%d have told their nodes everything", len(r.cfg.Daemons)))
}

// nodes checks that every node says that it is ready.
func (r *round) nodes(ctx context.Context) Check {
	nodes := r.cfg.Nodes.Plan().Nodes
	differs := each(ctx, nodes, func(ctx context.Context, n federation.Node) []string {
		if err := r.cfg.Nodes.Ready(ctx, n); err != nil {
			return []string{fmt.Sprintf("%v: %v", n, err)}
		}
		return nil
	})
	return verdict("nodes", differs, fmt.Sprintf("%d are ready", len(nodes)))
}

// maxAtOnce bounds the questions asked at one time.
const maxAtOnce = 8

// each asks all nodes, some at a time, and returns what they answered in their
// order.
func each[N any](ctx context.Context, nodes []N, ask func(context.Context, N) []string) []string {
	answers := make([][]string, len(nodes))
	var g errgroup.Group
	g.SetLimit(maxAtOnce)
	for i, n := range nodes {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, callTimeout)
			defer cancel()
			answers[i] = ask(ctx, n)
			return nil
		})
	}
	g.Wait()
	var out []string
	for _, a := range answers {
		out = append(out, a...)
	}
	return out
}
