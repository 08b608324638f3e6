package benchcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// asker puts one question to routers in turn.
type asker struct {
	routers places
	ask     func(context.Context, routerv1.RouterServiceClient) (complete bool, cov []*clusterv1.Coverage, err error)
}

func openQuery(_ context.Context, f *flags) (operations, error) {
	routers, err := f.target.dial("router")
	if err != nil {
		return nil, err
	}
	req := &routerv1.QueryRequest{Sql: f.sql, TimeoutMs: max(1, (f.timeout * 9 / 10).Milliseconds())} // its own word comes before our time-out
	return &asker{routers, func(ctx context.Context, c routerv1.RouterServiceClient) (bool, []*clusterv1.Coverage, error) {
		stream, err := c.Query(ctx, req)
		if err != nil {
			return false, nil, err
		}
		for {
			resp, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return false, nil, errors.New("the answer was cut: it has no end")
			}
			if err != nil {
				return false, nil, err
			}
			if end := resp.GetEnd(); end != nil {
				return end.GetComplete(), end.GetCoverage(), nil
			}
		}
	}}, nil
}

func openLookup(_ context.Context, f *flags) (operations, error) {
	routers, err := f.target.dial("router")
	if err != nil {
		return nil, err
	}
	req := &routerv1.LookupRequest{App: f.app}
	return &asker{routers, func(ctx context.Context, c routerv1.RouterServiceClient) (bool, []*clusterv1.Coverage, error) {
		resp, err := c.Lookup(ctx, req)
		return resp.GetComplete(), resp.GetCoverage(), err
	}}, nil
}

func (a *asker) do(ctx context.Context, i uint64, _ time.Time) error {
	r := a.routers.turn(i)
	complete, cov, err := a.ask(ctx, routerv1.NewRouterServiceClient(r.conn))
	if err == nil && !complete {
		err = errors.New("not complete: " + uncovered(cov))
	}
	return at(r, err)
}

func (a *asker) close(context.Context) error { return a.routers.close() }

// uncovered names the regions that an answer lacks.
func uncovered(cov []*clusterv1.Coverage) string {
	var out []string
	for _, c := range cov {
		switch c.GetState() {
		case clusterv1.CoverageState_COVERAGE_STATE_LIVE, clusterv1.CoverageState_COVERAGE_STATE_PRUNED:
		default:
			state := strings.ToLower(strings.TrimPrefix(c.GetState().String(), "COVERAGE_STATE_"))
			out = append(out, fmt.Sprintf("region %s is %s", c.GetRegion(), state))
		}
	}
	if len(out) == 0 {
		return "the list of regions may be old"
	}
	return strings.Join(out, ", ")
}
