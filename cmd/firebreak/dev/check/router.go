package check

import (
	"context"
	"fmt"
	"io"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// unknownApp has no machine anywhere: only a complete answer may say so.
const unknownApp = "no-such-app"

// routers checks the routes of every router, and its answer over all regions.
func (r *round) routers(ctx context.Context) []Check {
	var checks []Check
	for _, n := range r.cfg.Nodes.Plan().Of(federation.Router) {
		client, err := r.cfg.Nodes.RouterClient(n)
		if err != nil {
			checks = append(checks, verdict("router "+string(n.Name), []string{err.Error()}, ""))
			continue
		}
		apps := append(r.apps(), unknownApp)
		differs := r.routes(ctx, client, apps)
		checks = append(checks, verdict("router "+string(n.Name)+" routes", differs, fmt.Sprintf("%d apps, every answer complete", len(apps))))
		differs = r.answer(ctx, client)
		checks = append(checks, verdict("router "+string(n.Name)+" query", differs, fmt.Sprintf("%d machines of all regions, coverage complete", len(r.truth))))
	}
	return checks
}

func (r *round) routes(ctx context.Context, client routerv1.RouterServiceClient, apps []fleet.App) []string {
	edges := r.truth.Edges()
	return each(ctx, apps, func(ctx context.Context, app fleet.App) []string {
		answer, err := client.Lookup(ctx, &routerv1.LookupRequest{App: string(app)})
		if err != nil {
			return []string{fmt.Sprintf("lookup %s: %v", app, err)}
		}
		var got []fleet.Region
		for _, f := range answer.Regions {
			got = append(got, fleet.Region(f.Region))
		}
		differs := r.regionsDiffer("lookup", app, edges[app], got)
		if !answer.Complete {
			differs = append(differs, fmt.Sprintf("lookup %s is not complete: %v", app, answer.Coverage))
		}
		return differs
	})
}

// answer asks all regions through the router for their machines.
func (r *round) answer(ctx context.Context, client routerv1.RouterServiceClient) []string {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	machines, end, err := queryAll(ctx, client)
	if err != nil {
		return []string{fmt.Sprintf("query: %v", err)}
	}
	var differs []string
	if d := r.truth.Diff(machines); d != "" {
		differs = append(differs, d)
	}
	if !end.Complete {
		differs = append(differs, "the answer is not complete")
	}
	covered := map[string]bool{}
	for _, c := range end.Coverage {
		covered[c.Region] = c.State == clusterv1.CoverageState_COVERAGE_STATE_LIVE
		if c.Withheld > 0 {
			differs = append(differs, fmt.Sprintf("region %s withholds %d records", c.Region, c.Withheld))
		}
		if !covered[c.Region] {
			differs = append(differs, fmt.Sprintf("region %s is covered as %v: %s", c.Region, c.State, c.Detail))
		}
	}
	for _, region := range r.cfg.Nodes.Plan().Spec.Regions {
		if _, ok := covered[string(region)]; !ok {
			differs = append(differs, fmt.Sprintf("region %s is not in the coverage", region))
		}
	}
	return differs
}

func queryAll(ctx context.Context, client routerv1.RouterServiceClient) ([]truth.Machine, *routerv1.QueryEnd, error) {
	stream, err := client.Query(ctx, &routerv1.QueryRequest{Sql: machinesSQL, Policy: routerv1.Policy_POLICY_ALL, TimeoutMs: callTimeout.Milliseconds()})
	if err != nil {
		return nil, nil, err
	}
	var machines []truth.Machine
	var end *routerv1.QueryEnd
	for {
		part, err := stream.Recv()
		switch {
		case err == io.EOF && end == nil:
			return nil, nil, errCut
		case err == io.EOF:
			return machines, end, nil
		case err != nil:
			return nil, nil, err
		}
		for _, row := range part.Rows {
			machines = append(machines, truth.Machine{
				Place: truth.Place{Region: fleet.Region(part.Region), Worker: fleet.Worker(cell(row, 0))},
				ID:    fleet.MachineID(cell(row, 1)), App: fleet.App(cell(row, 2)),
			})
		}
		if part.End != nil {
			end = part.End
		}
	}
}
