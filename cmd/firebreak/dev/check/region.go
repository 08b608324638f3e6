package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/daemon"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// machinesSQL lists what has not ended: what any tool reads on a node.
const machinesSQL = `SELECT worker, id, app, metadata FROM fleet_machines WHERE state <> 'ended'`

// regionView is a region as each of its nodes shows it.
type regionView struct {
	nodes []nodeView
}

type nodeView struct {
	federation.Node
	err      error
	status   *regionv1.StatusResponse
	machines []truth.Machine
}

// root is that of all nodes, or empty if they differ.
func (v *regionView) root() string {
	out := ""
	for i, n := range v.nodes {
		if n.err != nil || i > 0 && n.status.Root != out {
			return ""
		}
		out = n.status.Root
	}
	return out
}

// lookAtRegions asks every region node for its state and its rows, and checks
// that the nodes of a region are equal.
func (r *round) lookAtRegions(ctx context.Context) []Check {
	plan := r.cfg.Nodes.Plan()
	var mu sync.Mutex
	for _, name := range plan.Spec.Regions {
		r.regions[name] = &regionView{}
	}
	each(ctx, plan.Of(federation.Region), func(ctx context.Context, n federation.Node) []string {
		v := r.lookAt(ctx, n)
		mu.Lock()
		defer mu.Unlock()
		r.regions[n.Region].nodes = append(r.regions[n.Region].nodes, v)
		return nil
	})
	var checks []Check
	for _, name := range plan.Spec.Regions {
		checks = append(checks, r.regions[name].equal(name))
	}
	return checks
}

func (r *round) lookAt(ctx context.Context, n federation.Node) nodeView {
	v := nodeView{Node: n}
	client, err := r.cfg.Nodes.RegionClient(n)
	if err != nil {
		v.err = err
		return v
	}
	if v.status, v.err = client.Status(ctx, &regionv1.StatusRequest{}); v.err != nil {
		return v
	}
	rows, err := query(ctx, client)
	if err != nil {
		v.err = fmt.Errorf("query: %w", err)
		return v
	}
	var visitors []truth.Machine
	for _, row := range rows {
		m := truth.Machine{
			Place: truth.Place{Region: n.Region, Worker: fleet.Worker(cell(row, 0))},
			ID:    fleet.MachineID(cell(row, 1)), App: fleet.App(cell(row, 2)),
		}
		v.machines = append(v.machines, m)
		if m.Worker == n.Name && daemon.Number(cell(row, 3)) == 0 {
			visitors = append(visitors, m) // a person's, through the node that owns it
		}
	}
	r.cfg.Truth.Adopt(visitors)
	return v
}

func cell(row *clusterv1.Row, i int) string {
	if i >= len(row.Values) {
		return ""
	}
	return string(row.Values[i].GetText())
}

var errCut = errors.New("the answer was cut")

func query(ctx context.Context, client regionv1.RegionServiceClient) ([]*clusterv1.Row, error) {
	stream, err := client.Query(ctx, &regionv1.QueryRequest{Sql: machinesSQL})
	if err != nil {
		return nil, err
	}
	var rows []*clusterv1.Row
	ended := false
	for {
		part, err := stream.Recv()
		switch {
		case err == io.EOF && !ended:
			return nil, errCut
		case err == io.EOF:
			return rows, nil
		case err != nil:
			return nil, err
		}
		rows = append(rows, part.Rows...)
		ended = ended || part.End != nil
	}
}

// equal checks that all nodes hold the same, and all of it.
func (v *regionView) equal(name fleet.Region) Check {
	var differs []string
	add := func(n nodeView, format string, args ...any) {
		differs = append(differs, fmt.Sprintf("%v: %s", n.Node, fmt.Sprintf(format, args...)))
	}
	var first *nodeView
	for i := range v.nodes {
		n := &v.nodes[i]
		if n.err != nil {
			add(*n, "%v", n.err)
			continue
		}
		if first == nil {
			first = n
		}
		if n.status.Withheld > 0 {
			add(*n, "%d records are withheld", n.status.Withheld)
		}
		if n.status.Gaps > 0 {
			add(*n, "%d versions are missing", n.status.Gaps)
		}
		if n.status.Root != first.status.Root {
			add(*n, "root %s, %v has %s", n.status.Root, first.Node, first.status.Root)
		}
		if n.status.Rows != first.status.Rows {
			add(*n, "%d rows, %v has %d", n.status.Rows, first.Node, first.status.Rows)
		}
	}
	good := ""
	if first != nil {
		good = fmt.Sprintf("%d nodes, %d rows, root %s, nothing withheld", len(v.nodes), first.status.Rows, first.status.Root)
	}
	return verdict("region "+string(name)+" equal", differs, good)
}

// regionsAreTrue checks the rows of every node against the truth.
func (r *round) regionsAreTrue() []Check {
	var checks []Check
	for _, name := range r.cfg.Nodes.Plan().Spec.Regions {
		want := r.truth.In(name)
		var differs []string
		for _, n := range r.regions[name].nodes {
			if n.err != nil {
				differs = append(differs, fmt.Sprintf("%v: %v", n.Node, n.err))
			} else if d := want.Diff(n.machines); d != "" {
				differs = append(differs, fmt.Sprintf("%v: %s", n.Node, d))
			}
		}
		checks = append(checks, verdict("region "+string(name)+" machines", differs, fmt.Sprintf("%d on every node", len(want))))
	}
	return checks
}
