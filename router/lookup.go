package router

import (
	"cmp"
	"context"
	"math/bits"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
	"github.com/firebreak-dev/firebreak/router/plan"
)

// lookupTime is what a lookup waits for regions that it has to ask.
const lookupTime = time.Second

// NoRegion is the message of codes.Unavailable when the router has neither a
// last-good file nor a global node: that says nothing about any app.
const NoRegion = "router knows no region"

var errNoRegion = status.Error(codes.Unavailable, NoRegion)

const countSQL = "SELECT count(*) FROM fleet_current WHERE app = ?"

// Lookup says where an app runs.
func (s *service) Lookup(ctx context.Context, req *routerv1.LookupRequest) (*routerv1.LookupResponse, error) {
	app := fleet.App(req.GetApp())
	if err := app.Check(); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	standings := s.copy.standings(app)
	if len(standings) == 0 {
		return nil, errNoRegion
	}
	resp := &routerv1.LookupResponse{}
	for _, st := range standings {
		if st.Class > 0 {
			resp.Regions = append(resp.Regions, &routerv1.Found{Region: string(st.Region), Class: uint32(st.Class), Locality: st.Locality})
		}
	}
	p := plan.ForLookup(standings)
	parts := p.Known
	var newestEnd time.Time
	for _, a := range s.suspect(ctx, app, p.Ask) {
		parts = append(parts, a.Part)
		if a.NewestEnd.After(newestEnd) {
			newestEnd = a.NewestEnd
		}
		if a.Machines > 0 {
			rec, _ := s.copy.record(a.Part.Region)
			resp.Regions = append(resp.Regions, &routerv1.Found{
				Region: string(a.Part.Region), Class: uint32(bits.Len64(uint64(a.Machines))), Locality: rec.Locality,
			})
		}
	}
	parts = plan.Settle(parts, newestEnd, s.copy.now().Time())
	here, ever := s.copy.age()
	resp.Coverage = coverage.Protos(parts)
	resp.Complete = coverage.Complete(parts, ever)
	resp.DirectoryAgeMs = milliseconds(here)
	s.sortNear(resp.Regions)
	s.metrics.lookups.WithLabelValues(strconv.FormatBool(resp.Complete)).Inc()
	return resp, nil
}

// suspect asks regions whether they run an app, each within its own budget.
func (s *service) suspect(ctx context.Context, app fleet.App, regions []fleet.Region) []plan.Answer {
	if len(regions) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	out := make([]plan.Answer, len(regions))
	var wg sync.WaitGroup
	for i, region := range regions {
		wg.Go(func() { out[i] = s.suspectOne(ctx, app, region) })
	}
	wg.Wait()
	return out
}

func (s *service) suspectOne(ctx context.Context, app fleet.App, region fleet.Region) plan.Answer {
	c := s.clients.get(region)
	if a, ok := c.remembered(app); ok {
		return a
	}
	if !c.maySuspect() {
		st, _ := s.copy.standing(region, app)
		st.Part.Region, st.Part.State = region, coverage.PrunedStale
		st.Part.Detail = "not asked: this region's budget for lookups is used up"
		return plan.Answer{Part: st.Part}
	}
	got := c.ask(ctx, &regionv1.QueryRequest{
		App: string(app), Sql: countSQL,
		Args: []*clusterv1.Value{{Kind: &clusterv1.Value_Text{Text: []byte(app)}}}, TimeoutMs: lookupTime.Milliseconds(),
	})
	a := plan.Answer{Part: got.part, NewestEnd: got.newestEnd}
	if len(got.rows) == 1 && len(got.rows[0].GetValues()) == 1 {
		a.Machines = int(got.rows[0].GetValues()[0].GetInteger())
	} else if got.part.State.Covered() || got.part.State == coverage.Stale {
		a.Part.State, a.Part.Detail = coverage.Refused, "its answer is no count"
	}
	if got.code != codes.Canceled {
		c.remember(app, a)
	}
	return a
}

// sortNear puts regions of the router's own locality first.
func (s *service) sortNear(found []*routerv1.Found) {
	slices.SortFunc(found, func(a, b *routerv1.Found) int {
		return cmp.Or(cmp.Compare(s.far(a.GetLocality()), s.far(b.GetLocality())), cmp.Compare(a.GetRegion(), b.GetRegion()))
	})
}

func (s *service) far(locality string) int {
	if s.cfg.Locality != "" && locality == s.cfg.Locality {
		return 0
	}
	return 1
}

// milliseconds keeps never apart from no time at all.
func milliseconds(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return d.Milliseconds()
}
