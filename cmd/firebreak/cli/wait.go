package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/record"
	clusterpb "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionpb "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// lack says who lacks a changeset and why.
type lack struct {
	Node   string `json:"node"`
	Point  string `json:"point"`
	Reason string `json:"reason"`
}

type waitAnswer struct {
	Reached bool   `json:"reached"`
	Lacks   []lack `json:"lacks"`
}

func (e *env) waitCommand() *cobra.Command {
	var scope string
	c := e.asks(&cobra.Command{
		Use:   "wait POINT...",
		Short: "Wait until writes have arrived, on one node or in its region",
		Long: `Wait until writes have arrived. POINT is node/boot/bits@version, as the commands
that write print it.

Exit code 0: they have. 1: not within --timeout; who lacks what is printed.`,
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			req := &regionpb.WaitRequest{TimeoutMs: e.timeout.Milliseconds()}
			switch scope {
			case "node":
				req.Scope = regionpb.WaitScope_WAIT_SCOPE_NODE
			case "region":
				req.Scope = regionpb.WaitScope_WAIT_SCOPE_REGION
			default:
				return exit.With(exit.Usage, fmt.Errorf("scope %q: want node or region", scope))
			}
			for _, a := range args {
				p, err := parsePoint(a)
				if err != nil {
					return exit.With(exit.Usage, err)
				}
				req.Points = append(req.Points, p)
			}
			e.timeout += waitMargin
			return e.onNode(c.Context(), func(ctx context.Context, n regionpb.RegionServiceClient) error { return e.wait(ctx, n, req) })
		},
	})
	c.Flags().StringVar(&scope, "scope", "node", "node (the one asked) or region (all its live nodes)")
	offer(c, "scope", "node", "region")
	return c
}

// waitMargin is for the answer, so that the node's own deadline ends first and
// says who lacks what.
const waitMargin = 3 * time.Second

func (e *env) wait(ctx context.Context, n regionpb.RegionServiceClient, req *regionpb.WaitRequest) error {
	r, err := n.Wait(ctx, req)
	if err != nil {
		return err
	}
	a := waitAnswer{Reached: r.GetReached(), Lacks: []lack{}}
	for _, l := range r.GetLacks() {
		a.Lacks = append(a.Lacks, lack{l.GetNode(), pointTexts([]*clusterpb.Point{l.GetPoint()})[0], l.GetReason()})
	}
	if e.format != formatTable {
		if err := e.json(a); err != nil {
			return err
		}
	} else {
		var rows [][]string
		for _, l := range a.Lacks {
			rows = append(rows, []string{l.Node, l.Point, l.Reason})
		}
		if len(rows) > 0 {
			if err := e.table([]string{"NODE", "LACKS", "BECAUSE"}, rows); err != nil {
				return err
			}
		}
	}
	if !a.Reached {
		return exit.With(exit.Failed, errors.New("not reached in time"))
	}
	return nil
}

// parsePoint reads node/boot/bits@version.
func parsePoint(s string) (*clusterpb.Point, error) {
	writer, version, ok := strings.Cut(s, "@")
	if !ok {
		return nil, fmt.Errorf("point %q: want node/boot/bits@version", s)
	}
	w, err := record.ParseWriter(writer)
	if err != nil {
		return nil, fmt.Errorf("point: %w", err)
	}
	v, err := strconv.ParseUint(version, 10, 64)
	if err != nil || v == 0 {
		return nil, fmt.Errorf("point %q: version %q is no number from 1", s, version)
	}
	return &clusterpb.Point{Node: string(w.Node), Boot: w.Boot, Bits: w.Bits, Version: v}, nil
}
