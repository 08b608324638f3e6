package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	routerpb "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// found is one region in the answer of where.
type found struct {
	Region   string `json:"region"`
	Locality string `json:"locality"`
	Class    uint32 `json:"class"`
	AtLeast  int    `json:"at_least"` // machines, from the class
}

type whereAnswer struct {
	App            string    `json:"app"`
	Regions        []found   `json:"regions"` // nearest first
	Coverage       coverages `json:"coverage"`
	Complete       bool      `json:"complete"`
	DirectoryAgeMS int64     `json:"directory_age_ms"` // negative if never in the router's process
}

func (e *env) whereCommand() *cobra.Command {
	return e.asks(&cobra.Command{
		Use:   "where APP",
		Short: "Say in which regions an app has machines",
		Long: `Say in which regions an app has machines.

Exit code 0: found, and every region is covered. 3: no region has it, and every
region is covered. 4: some region is not covered, whatever was found.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			if err := fleet.App(args[0]).Check(); err != nil {
				return exit.With(exit.Usage, err)
			}
			ctx, cancel := context.WithTimeout(c.Context(), e.timeout)
			defer cancel()
			places, d, err := e.target.routersToAsk()
			if err != nil {
				return err
			}
			return e.askFirst(ctx, "router", places, d, func(ctx context.Context, conn *grpc.ClientConn, _ place) error {
				return e.where(ctx, conn, args[0])
			})
		},
	})
}

func (e *env) where(ctx context.Context, conn *grpc.ClientConn, app string) error {
	r, err := routerpb.NewRouterServiceClient(conn).Lookup(ctx, &routerpb.LookupRequest{App: app})
	if err != nil {
		return err
	}
	a := whereAnswer{
		App: app, Regions: []found{}, Coverage: fromCoverage(r.GetCoverage()),
		Complete: r.GetComplete(), DirectoryAgeMS: r.GetDirectoryAgeMs(),
	}
	for _, f := range r.GetRegions() {
		low, _ := presence.Class(f.GetClass()).Bounds()
		a.Regions = append(a.Regions, found{f.GetRegion(), f.GetLocality(), f.GetClass(), low})
	}
	if len(a.Regions) == 0 && len(a.Coverage) == 0 {
		return errNoRegions
	}
	if err := e.printWhere(a); err != nil {
		return err
	}
	e.warn(a.Coverage)
	return e.verdict(len(a.Regions) > 0, a.Complete)
}

func (e *env) printWhere(a whereAnswer) error {
	if e.format != formatTable {
		return e.json(a)
	}
	var rows [][]string
	for _, f := range a.Regions {
		rows = append(rows, []string{f.Region, f.Locality, strconv.Itoa(f.AtLeast), a.Coverage[f.Region].State})
	}
	return e.table([]string{"REGION", "LOCALITY", "MACHINES AT LEAST", "COVERAGE"}, rows)
}
