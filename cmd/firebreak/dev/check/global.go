package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
)

// freshMs is how young a region's confirmation has to be.
const freshMs = 15_000

// directory is what one global node shows.
type directory struct {
	node    federation.Node
	err     error
	classes map[listing]presence.Class
	regions []*globalv1.RegionInfo
	status  *globalv1.StatusResponse
}

// directories checks the directory of every global node against the truth, and
// that their lanes are equal.
func (r *round) directories(ctx context.Context) []Check {
	nodes := r.cfg.Nodes.Plan().Of(federation.Global)
	all := make([]directory, len(nodes))
	r.held = map[listing]bool{}
	var mu sync.Mutex
	each(ctx, nodes, func(ctx context.Context, n federation.Node) []string {
		d := r.lookAtGlobal(ctx, n)
		mu.Lock()
		defer mu.Unlock()
		all[slices.Index(nodes, n)] = d
		for _, info := range d.regions {
			for _, app := range info.Held {
				r.held[listing{fleet.Region(info.Region), fleet.App(app)}] = true
			}
		}
		return nil
	})
	var checks []Check
	for _, d := range all {
		differs := d.differs(r)
		if d.err == nil {
			differs = append(differs, r.lookups(ctx, d.node)...)
		}
		checks = append(checks, verdict("directory "+string(d.node.Name), differs, r.directoryDetail()))
	}
	return append(checks, lanesEqual(all))
}

func (r *round) directoryDetail() string {
	edges := 0
	for _, regions := range r.truth.Edges() {
		edges += len(regions)
	}
	detail := fmt.Sprintf("%d apps, %d (app, region) pairs, every region confirmed", len(r.truth.Apps()), edges)
	if len(r.held) > 0 {
		detail += "; held by the brake: " + r.heldList()
	}
	return detail
}

func (r *round) heldList() string {
	var out []string
	for e := range r.held {
		out = append(out, string(e.region)+"/"+string(e.app))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

var errNotSynced = errors.New("the directory's watch ended before it was complete")

func (r *round) lookAtGlobal(ctx context.Context, n federation.Node) (d directory) {
	d = directory{node: n, classes: map[listing]presence.Class{}}
	client, err := r.cfg.Nodes.DirectoryClient(n)
	if err != nil {
		d.err = err
		return d
	}
	list, err := client.ListRegions(ctx, &globalv1.ListRegionsRequest{})
	if err != nil {
		d.err = fmt.Errorf("list regions: %w", err)
		return d
	}
	d.regions = list.Regions
	if d.status, err = client.Status(ctx, &globalv1.StatusRequest{}); err != nil {
		d.err = fmt.Errorf("status: %w", err)
		return d
	}
	if err := d.read(ctx, client); err != nil {
		d.err = fmt.Errorf("watch: %w", err)
	}
	return d
}

// read takes the directory from the snapshot of a watch.
func (d *directory) read(ctx context.Context, client globalv1.DirectoryServiceClient) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Watch(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&globalv1.WatchRequest{Router: "dev-check", Token: 1}); err != nil {
		return err
	}
	for {
		part, err := stream.Recv()
		if err != nil {
			return errors.Join(errNotSynced, err)
		}
		if part.GetSynced() != nil {
			return nil
		}
		if e := part.GetEntry(); e.GetPresence() != nil && e.Presence.Class > 0 {
			d.classes[listing{fleet.Region(e.Region), fleet.App(e.Presence.App)}] = presence.Class(e.Presence.Class)
		}
	}
}

func (d *directory) differs(r *round) []string {
	if d.err != nil {
		return []string{d.err.Error()}
	}
	var differs []string
	want, got := map[string]int{}, map[string]int{}
	for app, regions := range r.truth.Edges() {
		for region, n := range regions {
			want[string(app)+" in "+string(region)] = int(presence.ClassOf(n))
		}
	}
	for e, class := range d.classes {
		key := string(e.app) + " in " + string(e.region)
		if want[key] == 0 && r.held[e] {
			continue // a withdrawal that is held is no difference
		}
		got[key] = int(class)
	}
	if s := truth.DiffCounts("class of", want, got); s != "" {
		differs = append(differs, s)
	}
	for _, region := range r.cfg.Nodes.Plan().Spec.Regions {
		i := slices.IndexFunc(d.regions, func(x *globalv1.RegionInfo) bool { return x.Region == string(region) })
		switch {
		case i < 0:
			differs = append(differs, fmt.Sprintf("region %s is not listed", region))
		case d.regions[i].ConfirmedAgeMs < 0 || d.regions[i].ConfirmedAgeMs > freshMs:
			differs = append(differs, fmt.Sprintf("region %s was confirmed %d ms ago", region, d.regions[i].ConfirmedAgeMs))
		}
	}
	for _, lane := range d.status.Lanes {
		if lane.Withheld > 0 || lane.Gaps > 0 {
			differs = append(differs, fmt.Sprintf("lane %s: %d records are withheld, %d versions are missing", lane.Region, lane.Withheld, lane.Gaps))
		}
	}
	return differs
}

// lookups asks for every app as a router would.
func (r *round) lookups(ctx context.Context, n federation.Node) []string {
	client, err := r.cfg.Nodes.DirectoryClient(n)
	if err != nil {
		return []string{err.Error()}
	}
	edges := r.truth.Edges()
	return each(ctx, r.apps(), func(ctx context.Context, app fleet.App) []string {
		answer, err := client.Lookup(ctx, &globalv1.LookupRequest{App: string(app)})
		if err != nil {
			return []string{fmt.Sprintf("lookup %s: %v", app, err)}
		}
		var got []fleet.Region
		for _, f := range answer.Regions {
			if f.Class > 0 {
				got = append(got, fleet.Region(f.Region))
			}
		}
		return r.regionsDiffer("lookup", app, edges[app], got)
	})
}

// regionsDiffer compares where an app is said to run with where it does.
func (r *round) regionsDiffer(what string, app fleet.App, want map[fleet.Region]int, got []fleet.Region) []string {
	counts := map[fleet.Region]int{}
	for _, region := range got {
		if want[region] > 0 || !r.held[listing{region, app}] {
			counts[region]++
		}
	}
	once := map[fleet.Region]int{}
	for region := range want {
		once[region] = 1
	}
	if s := truth.DiffCounts("region", once, counts); s != "" {
		return []string{fmt.Sprintf("%s %s: %s", what, app, s)}
	}
	return nil
}

// apps lists every app that has machines or may have had some.
func (r *round) apps() []fleet.App {
	out := slices.Clone(r.cfg.Apps)
	for app := range r.truth.Apps() {
		out = append(out, app)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// lanesEqual checks that all global nodes hold the same.
func lanesEqual(all []directory) Check {
	var differs []string
	roots := map[string]string{}
	for _, d := range all {
		if d.err != nil {
			differs = append(differs, fmt.Sprintf("%v: %v", d.node, d.err))
			continue
		}
		for _, lane := range d.status.Lanes {
			want, ok := roots[lane.Region]
			if ok && want != lane.Root {
				differs = append(differs, fmt.Sprintf("%v: lane %s has root %s, another node %s", d.node, lane.Region, lane.Root, want))
			}
			roots[lane.Region] = lane.Root
		}
	}
	return verdict("directory equal", differs, fmt.Sprintf("%d nodes, %d lanes", len(all), len(roots)))
}
