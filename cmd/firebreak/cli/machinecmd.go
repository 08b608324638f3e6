package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/cell"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/record"
	clusterpb "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionpb "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// Over these a list is sent as a stream.
const (
	unaryMachines = 1000
	unaryBytes    = 1 << 20
)

// written is the answer of the commands that write.
type written struct {
	Changed   uint64   `json:"changed"`
	Unchanged uint64   `json:"unchanged"`
	Points    []string `json:"points"`   // node/boot/bits@version, for wait
	Standing  []string `json:"standing"` // of what did not change
	Unknown   []string `json:"unknown,omitempty"`
	Ended     []string `json:"ended,omitempty"`
	Pending   []string `json:"pending,omitempty"`
}

func (e *env) machineCommand() *cobra.Command {
	c := &cobra.Command{Use: "machine", Short: "Publish, withdraw and list machines on one region node", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(e.publishCommand(), e.withdrawCommand(), e.reconcileCommand(), e.listCommand(), e.getCommand())
	return c
}

// onNode runs ask on the node of the flags.
func (e *env) onNode(ctx context.Context, ask func(context.Context, regionpb.RegionServiceClient) error) error {
	if e.target.node == "" && e.target.socket == "" {
		return exit.With(exit.Usage, errors.New("this command asks one region node: give --node or --socket"))
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	places, d, err := e.target.nodesToAsk("region", nil)
	if err != nil {
		return err
	}
	return e.askFirst(ctx, "region", places, d, func(ctx context.Context, conn *grpc.ClientConn, _ place) error {
		return ask(ctx, regionpb.NewRegionServiceClient(conn))
	})
}

func (e *env) publishCommand() *cobra.Command {
	var file string
	var m machine
	var ports []string
	c := e.asks(&cobra.Command{
		Use:   "publish -f FILE | publish ID --app APP",
		Short: "Write machines in the node's name: all of them, or none",
		Long: `Write machines in the node's name, created or replaced whole: all of them, or
none. FILE has one JSON object a line ("-" is standard input); a bad line is
named by its number and nothing is sent.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			machines, err := e.machinesOf(file, args, m, ports)
			if err != nil {
				return err
			}
			return e.onNode(c.Context(), func(ctx context.Context, n regionpb.RegionServiceClient) error {
				w, err := publish(ctx, n, machines)
				if err != nil {
					return err
				}
				return e.printWritten(fromWritten(w))
			})
		},
	})
	f := c.Flags()
	f.StringVarP(&file, "file", "f", "", "NDJSON, a machine a line")
	f.StringVar(&m.App, "app", "", "app of the machine")
	f.StringVar(&m.State, "state", "started", "starting, started or stopping")
	f.StringSliceVar(&m.Addresses, "address", nil, "IP address where it serves")
	f.StringSliceVar(&ports, "port", nil, "port that it serves, as 80, 53/udp or http=80/tcp")
	f.StringVar(&m.Image, "image", "", "what it runs")
	offer(c, "state", "starting", "started", "stopping")
	return c
}

// machinesOf returns the machines of a file, or the one of the flags.
func (e *env) machinesOf(file string, args []string, m machine, ports []string) ([]*regionpb.Machine, error) {
	if (file == "") == (len(args) == 0) {
		return nil, exit.With(exit.Usage, errors.New("give a machine's id, or -f FILE"))
	}
	if file != "" {
		return e.readMachines(file)
	}
	m.ID = args[0]
	for _, p := range ports {
		s, err := parsePort(p)
		if err != nil {
			return nil, exit.With(exit.Usage, err)
		}
		m.Services = append(m.Services, s)
	}
	p, err := m.proto()
	if err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	return []*regionpb.Machine{p}, nil
}

// parsePort reads NAME=PORT/PROTOCOL, whose name and protocol may be missing.
func parsePort(s string) (service, error) {
	name, rest, ok := strings.Cut(s, "=")
	if !ok {
		name, rest = "", s
	}
	port, protocol, _ := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return service{}, fmt.Errorf("port %q: want 80, 53/udp or http=80/tcp", s)
	}
	return service{name, uint32(n), protocol}, nil
}

func publish(ctx context.Context, n regionpb.RegionServiceClient, machines []*regionpb.Machine) (*regionpb.Written, error) {
	req := &regionpb.PublishRequest{Machines: machines}
	if len(machines) <= unaryMachines && proto.Size(req) <= unaryBytes {
		r, err := n.Publish(ctx, req)
		return r.GetWritten(), err
	}
	s, err := n.PublishStream(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range machines {
		if err := s.Send(&regionpb.PublishStreamRequest{Machine: m}); errors.Is(err, io.EOF) {
			break // CloseAndRecv has the reason
		} else if err != nil {
			return nil, err
		}
	}
	r, err := s.CloseAndRecv()
	return r.GetWritten(), err
}

func (e *env) withdrawCommand() *cobra.Command {
	var why string
	c := e.asks(&cobra.Command{
		Use: "withdraw ID...", Short: "End machines of the node",
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, ids []string) error {
			v, err := enum("why", why, "END_WHY_", regionpb.EndWhy_value)
			if err != nil || !slices.Contains([]string{"withdrawn", "destroyed", "failed"}, why) {
				return exit.With(exit.Usage, fmt.Errorf("why %q: want withdrawn, destroyed or failed", why))
			}
			for _, id := range ids {
				if err := fleet.MachineID(id).Check(); err != nil {
					return exit.With(exit.Usage, err)
				}
			}
			return e.onNode(c.Context(), func(ctx context.Context, n regionpb.RegionServiceClient) error {
				r, err := n.Withdraw(ctx, &regionpb.WithdrawRequest{Ids: ids, Why: regionpb.EndWhy(v)})
				if err != nil {
					return err
				}
				w := fromWritten(r.GetWritten())
				w.Unknown = r.GetUnknown()
				if err := e.printWritten(w); err != nil {
					return err
				}
				if len(w.Unknown) == len(ids) {
					return exit.With(exit.NotFound, errors.New("this worker runs none of them"))
				}
				return nil
			})
		},
	})
	c.Flags().StringVar(&why, "why", "withdrawn", "withdrawn, destroyed (for good) or failed (never started)")
	offer(c, "why", "withdrawn", "destroyed", "failed")
	return c
}

func (e *env) reconcileCommand() *cobra.Command {
	var file string
	var shrink bool
	c := e.asks(&cobra.Command{
		Use: "reconcile -f FILE", Short: "Say what this worker runs: what is not in the list ends",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if file == "" {
				return exit.With(exit.Usage, errors.New("give the full list with -f FILE"))
			}
			machines, err := e.readMachines(file)
			if err != nil {
				return err
			}
			return e.onNode(c.Context(), func(ctx context.Context, n regionpb.RegionServiceClient) error {
				r, err := reconcile(ctx, n, machines, shrink)
				if err != nil {
					return err
				}
				w := fromWritten(r.GetWritten())
				w.Ended, w.Pending = r.GetEnded(), r.GetPending()
				return e.printWritten(w)
			})
		},
	})
	c.Flags().StringVarP(&file, "file", "f", "", "NDJSON, a machine a line: all that this worker runs")
	c.Flags().BoolVar(&shrink, "allow-shrink", false, "allow an empty list, or one that ends more than half")
	return c
}

func reconcile(ctx context.Context, n regionpb.RegionServiceClient, machines []*regionpb.Machine, shrink bool) (*regionpb.ReconcileResponse, error) {
	s, err := n.Reconcile(ctx)
	if err != nil {
		return nil, err
	}
	parts := []*regionpb.ReconcileRequest{{Part: &regionpb.ReconcileRequest_Options{Options: &regionpb.ReconcileOptions{AllowShrink: shrink}}}}
	for _, m := range machines {
		parts = append(parts, &regionpb.ReconcileRequest{Part: &regionpb.ReconcileRequest_Machine{Machine: m}})
	}
	for _, p := range parts {
		if err := s.Send(p); errors.Is(err, io.EOF) {
			break // CloseAndRecv has the reason
		} else if err != nil {
			return nil, err
		}
	}
	return s.CloseAndRecv()
}

func fromWritten(w *regionpb.Written) written {
	return written{Changed: w.GetChanged(), Unchanged: w.GetUnchanged(), Points: pointTexts(w.GetPoints()), Standing: pointTexts(w.GetStanding())}
}

func pointTexts(points []*clusterpb.Point) []string {
	out := []string{}
	for _, p := range points {
		out = append(out, record.Point{
			Writer:  record.Writer{Node: record.Node(p.GetNode()), Boot: p.GetBoot(), Bits: p.GetBits()},
			Version: record.Version(p.GetVersion()),
		}.String())
	}
	return out
}

func (e *env) printWritten(w written) error {
	if e.format != formatTable {
		return e.json(w)
	}
	fmt.Fprintf(e.out, "%d changed, %d unchanged\n", w.Changed, w.Unchanged)
	for _, list := range []struct {
		what string
		ids  []string
	}{{"written as", w.Points}, {"ended", w.Ended}, {"will end once the node is caught up", w.Pending}, {"not run by this worker", w.Unknown}} {
		if len(list.ids) > 0 {
			fmt.Fprintf(e.out, "%s: %s\n", list.what, cell.Printable(strings.Join(list.ids, " ")))
		}
	}
	return nil
}
