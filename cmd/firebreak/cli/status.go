package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/devfile"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	adminpb "github.com/firebreak-dev/firebreak/proto/firebreak/admin/v1"
	globalpb "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
	regionpb "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerpb "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// nodeStatus is one process in the answer of status.
type nodeStatus struct {
	Role    string   `json:"role"`
	Region  string   `json:"region"`
	Name    string   `json:"name"`
	Address string   `json:"address"`
	Answers bool     `json:"answers"`
	Error   string   `json:"error,omitempty"` // why it does not answer
	Ready   bool     `json:"ready"`           // region: fit; global: serving
	Because string   `json:"because,omitempty"`
	Version string   `json:"version,omitempty"`
	Alarms  []string `json:"alarms"`

	Switches *switches `json:"switches,omitempty"` // what an operator or the host may see

	Boot       uint64         `json:"boot,omitempty"`
	Bits       string         `json:"bits,omitempty"` // hex
	Generation string         `json:"generation,omitempty"`
	Root       string         `json:"root,omitempty"` // region: equal on nodes with equal content
	Machines   uint64         `json:"machines"`
	Rows       uint64         `json:"rows"`
	Gaps       uint64         `json:"gaps"`
	Withheld   uint64         `json:"withheld"`
	Gateway    bool           `json:"gateway,omitempty"`
	Reporter   bool           `json:"reporter,omitempty"`
	P50MS      int64          `json:"propagation_p50_ms,omitempty"` // negative if unknown
	P99MS      int64          `json:"propagation_p99_ms,omitempty"`
	Members    []memberStatus `json:"members,omitempty"`
	Lanes      []laneStatus   `json:"lanes,omitempty"` // global: one per region

	// Routers.
	GlobalNode     string         `json:"global_node,omitempty"`
	DirectoryAgeMS int64          `json:"directory_age_ms,omitempty"` // negative if never in this process
	FromLastGood   bool           `json:"from_last_good,omitempty"`
	Edges          uint64         `json:"edges,omitempty"`
	Watches        uint64         `json:"watches,omitempty"`
	Regions        []regionStatus `json:"regions,omitempty"`
}

// switches are the kill switches that are in force.
type switches struct {
	FreezeEgress bool     `json:"freeze_egress"`
	DenyNode     []string `json:"deny_node"`
	Source       string   `json:"source"`
	Error        string   `json:"error,omitempty"` // why the file's last change was not taken
}

type memberStatus struct {
	Node      string `json:"node"`
	State     string `json:"state"`
	Connected bool   `json:"connected"`
	Address   string `json:"address"`
	Behind    uint64 `json:"behind"`
}

type laneStatus struct {
	Region   string `json:"region"`
	Root     string `json:"root"`
	Rows     uint64 `json:"rows"`
	Gaps     uint64 `json:"gaps"`
	Withheld uint64 `json:"withheld"`
}

type regionStatus struct {
	Region   string   `json:"region"`
	Locality string   `json:"locality"`
	Apps     uint64   `json:"apps"`
	Gateways []string `json:"gateways"`
	Coverage coverage `json:"coverage"`
}

// statusAtOnce is how many nodes are asked at a time.
const statusAtOnce = 16

func (e *env) statusCommand() *cobra.Command {
	return e.asks(&cobra.Command{
		Use:   "status",
		Short: "Describe a router or node, or every process of the dev federation",
		Long: `Describe a router (--router), a region or global node (--node, --socket), or
every process of the dev federation.

Exit code 0: all answered and are ready. 4: some are not. 5: none answered.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), e.timeout)
			defer cancel()
			places, d, err := e.statusPlaces()
			if err != nil {
				return err
			}
			return e.status(ctx, places, d)
		},
	})
}

// statusPlaces returns every process that status describes.
func (e *env) statusPlaces() ([]place, *dialer, error) {
	if len(e.target.routers) > 0 {
		return e.target.routersToAsk()
	}
	if e.target.node != "" || e.target.socket != "" {
		return e.target.nodesToAsk("", nil)
	}
	var all []place
	var d *dialer
	for _, role := range []string{"region", "global", "router"} {
		some, dialer, err := e.target.nodesToAsk(role, func(devfile.Node) bool { return true })
		if err != nil {
			return nil, nil, err
		}
		all, d = append(all, some...), dialer
	}
	return all, d, nil
}

func (e *env) status(ctx context.Context, places []place, d *dialer) error {
	out := make([]nodeStatus, len(places))
	codes := make([]int, len(places))
	var g errgroup.Group
	g.SetLimit(statusAtOnce)
	for i, p := range places {
		g.Go(func() error {
			out[i], codes[i] = e.statusOf(ctx, p, d)
			return nil
		})
	}
	_ = g.Wait()
	if err := e.printStatus(out); err != nil {
		return err
	}
	answered, ready, worst := 0, 0, exit.Complete
	for i, s := range out {
		if s.Answers {
			answered++
		}
		if s.Ready {
			ready++
		}
		worst = max(worst, codes[i])
	}
	switch {
	case answered == 0:
		return exit.With(max(worst, exit.Unanswered), errors.New("nobody answered"))
	case ready < len(out):
		return exit.With(exit.Partial, fmt.Errorf("%d of %d are ready", ready, len(out)))
	}
	return nil
}

// statusOf asks one process, and returns the exit code of its failure.
func (e *env) statusOf(ctx context.Context, p place, d *dialer) (nodeStatus, int) {
	s := nodeStatus{Role: p.role, Region: p.region, Name: p.name, Address: p.address, Alarms: []string{}}
	err := e.askOne(ctx, "", p, d, func(ctx context.Context, conn *grpc.ClientConn, p place) error {
		s.Role, s.Region, s.Name = p.role, p.region, p.name
		s.askSwitches(ctx, conn)
		return s.ask(ctx, conn)
	})
	if err != nil {
		s.Error = err.Error()
	}
	s.Answers = err == nil
	return s, exit.Code(err)
}

// askSwitches asks what most callers may not know: without an answer there are
// none to show.
func (s *nodeStatus) askSwitches(ctx context.Context, conn *grpc.ClientConn) {
	r, err := adminpb.NewAdminServiceClient(conn).Switches(ctx, &adminpb.SwitchesRequest{})
	if err == nil {
		s.Switches = &switches{r.GetFreezeEgress(), append([]string{}, r.GetDenyNode()...), r.GetSource(), r.GetError()}
	}
}

func (s *nodeStatus) ask(ctx context.Context, conn *grpc.ClientConn) error {
	switch s.Role {
	case "global":
		r, err := globalpb.NewDirectoryServiceClient(conn).Status(ctx, &globalpb.StatusRequest{})
		if err == nil {
			s.global(r)
		}
		return err
	case "router":
		r, err := routerpb.NewRouterServiceClient(conn).Status(ctx, &routerpb.StatusRequest{})
		if err == nil {
			s.router(r)
		}
		return err
	}
	r, err := regionpb.NewRegionServiceClient(conn).Status(ctx, &regionpb.StatusRequest{})
	if err == nil {
		s.region(r)
	}
	return err
}

func (s *nodeStatus) region(r *regionpb.StatusResponse) {
	s.Region, s.Name = r.GetRegion(), r.GetNode()
	s.Ready, s.Because, s.Version = r.GetFit(), r.GetUnfitBecause(), r.GetVersion()
	s.Boot, s.Bits = r.GetBoot(), fmt.Sprintf("%016x", r.GetBits())
	s.Generation = generationText(r.GetGeneration())
	s.Root, s.Machines, s.Rows, s.Gaps, s.Withheld = r.GetRoot(), r.GetMachines(), r.GetRows(), r.GetGaps(), r.GetWithheld()
	s.Gateway, s.Reporter = r.GetGateway(), r.GetReporter()
	s.P50MS, s.P99MS = r.GetPropagationP50Ms(), r.GetPropagationP99Ms()
	s.Alarms = append(s.Alarms, r.GetAlarms()...)
	for _, m := range r.GetMembers() {
		s.Members = append(s.Members, memberStatus{m.GetNode(), m.GetState(), m.GetConnected(), m.GetAddress(), m.GetBehind()})
	}
}

func (s *nodeStatus) global(r *globalpb.StatusResponse) {
	s.Name = r.GetNode()
	s.Ready, s.Because, s.Version = r.GetServing(), r.GetNotServingBecause(), r.GetVersion()
	s.Boot, s.Bits = r.GetBoot(), fmt.Sprintf("%016x", r.GetBits())
	s.Alarms = append(s.Alarms, r.GetAlarms()...)
	for _, m := range r.GetMembers() {
		s.Members = append(s.Members, memberStatus{m.GetNode(), m.GetState(), m.GetConnected(), m.GetAddress(), 0})
	}
	for _, l := range r.GetLanes() {
		s.Lanes = append(s.Lanes, laneStatus{l.GetRegion(), l.GetRoot(), l.GetRows(), l.GetGaps(), l.GetWithheld()})
		s.Rows += l.GetRows()
		s.Gaps += l.GetGaps()
		s.Withheld += l.GetWithheld()
	}
}

func (s *nodeStatus) router(r *routerpb.StatusResponse) {
	s.Name, s.Ready, s.Version = r.GetNode(), r.GetReady(), r.GetVersion()
	s.GlobalNode, s.DirectoryAgeMS, s.FromLastGood = r.GetGlobalNode(), r.GetDirectoryAgeMs(), r.GetFromLastGood()
	s.Edges, s.Watches = r.GetEdges(), r.GetWatches()
	s.Alarms = append(s.Alarms, r.GetAlarms()...)
	for _, i := range r.GetRegions() {
		s.Regions = append(s.Regions, regionStatus{i.GetRegion(), i.GetLocality(), i.GetApps(), i.GetGateways(), fromOne(i.GetCoverage())})
	}
}
