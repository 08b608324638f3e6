package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	regionpb "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

func (e *env) listCommand() *cobra.Command {
	req := &regionpb.ListMachinesRequest{}
	c := e.asks(&cobra.Command{
		Use: "list", Short: "List the machines that one region node knows",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkFilter(req); err != nil {
				return exit.With(exit.Usage, err)
			}
			return e.onNode(c.Context(), func(ctx context.Context, n regionpb.RegionServiceClient) error {
				machines, err := list(ctx, n, req)
				if err != nil {
					return err
				}
				return e.printMachines(machines)
			})
		},
	})
	c.Flags().StringVar(&req.App, "app", "", "of this app only")
	c.Flags().StringVar(&req.Worker, "worker", "", "of this worker only")
	c.Flags().BoolVar(&req.Ended, "ended", false, "those that ended and are not settled too")
	return c
}

func checkFilter(req *regionpb.ListMachinesRequest) error {
	var errs []error
	if req.App != "" {
		errs = append(errs, fleet.App(req.App).Check())
	}
	if req.Worker != "" {
		errs = append(errs, fleet.Worker(req.Worker).Check())
	}
	return errors.Join(errs...)
}

func list(ctx context.Context, n regionpb.RegionServiceClient, req *regionpb.ListMachinesRequest) ([]machine, error) {
	s, err := n.ListMachines(ctx, req)
	if err != nil {
		return nil, err
	}
	out := []machine{}
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, err
		}
		for _, one := range m.GetMachines() {
			out = append(out, fromMachine(one))
		}
	}
}

func (e *env) getCommand() *cobra.Command {
	return e.asks(&cobra.Command{
		Use: "get ID", Short: "Show every claim of a machine, highest first",
		Long: `Show every claim of a machine, highest first.

Exit code 3: there is none, and the node is fit. 4: there is none, but the node
may lack some.`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			if err := fleet.MachineID(args[0]).Check(); err != nil {
				return exit.With(exit.Usage, err)
			}
			return e.onNode(c.Context(), func(ctx context.Context, n regionpb.RegionServiceClient) error {
				return e.get(ctx, n, args[0])
			})
		},
	})
}

func (e *env) get(ctx context.Context, n regionpb.RegionServiceClient, id string) error {
	// Fitness first: an answer of a node that was fit before it is complete.
	s, err := n.Status(ctx, &regionpb.StatusRequest{})
	if err != nil {
		return err
	}
	r, err := n.GetMachine(ctx, &regionpb.GetMachineRequest{Id: id})
	if err != nil {
		return err
	}
	machines := []machine{}
	for _, m := range r.GetClaims() {
		machines = append(machines, fromMachine(m))
	}
	if err := e.printMachines(machines); err != nil {
		return err
	}
	switch {
	case len(machines) > 0:
		return nil
	case s.GetFit():
		return exit.With(exit.NotFound, fmt.Errorf("no machine %q in region %s", id, s.GetRegion()))
	}
	return exit.With(exit.Partial, fmt.Errorf("no machine %q here, but this node may lack some: %s", id, s.GetUnfitBecause()))
}

func (e *env) printMachines(machines []machine) error {
	switch e.format {
	case formatJSON:
		return e.json(struct {
			Machines []machine `json:"machines"`
		}{machines})
	case formatNDJSON:
		for _, m := range machines {
			if err := e.json(m); err != nil {
				return err
			}
		}
		return nil
	}
	var rows [][]string
	for _, m := range machines {
		rows = append(rows, []string{m.Worker, m.ID, m.App, m.State, m.Health, m.serves(), m.marks()})
	}
	return e.table([]string{"WORKER", "ID", "APP", "STATE", "HEALTH", "SERVES", "MARKS"}, rows)
}

// serves gives addresses and ports.
func (m machine) serves() string {
	ports := make([]string, len(m.Services))
	for i, s := range m.Services {
		ports[i] = strconv.FormatUint(uint64(s.Port), 10)
	}
	return strings.Join(m.Addresses, ",") + ":" + strings.Join(ports, ",")
}

// marks gives what is unusual about a machine.
func (m machine) marks() string {
	if m.Derived == nil {
		return ""
	}
	var out []string
	for _, mark := range []struct {
		on   bool
		word string
	}{{m.Suspect, "suspect"}, {m.Contested, "contested"}, {m.Unconfirmed, "unconfirmed"}, {!m.Routable, "not routable"}} {
		if mark.on {
			out = append(out, mark.word)
		}
	}
	return strings.Join(append(out, m.WhyNot...), ", ")
}
