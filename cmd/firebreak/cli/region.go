package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/config"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/devfile"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	clusterpb "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	globalpb "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
)

func (e *env) regionCommand() *cobra.Command {
	c := &cobra.Command{Use: "region", Short: "The list of regions", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(e.regionAddCommand())
	return c
}

func (e *env) regionAddCommand() *cobra.Command {
	var generation string
	c := e.asks(&cobra.Command{
		Use:   "add REGION",
		Short: "Make a region known, and print the generation for its nodes' files",
		Long: `Make a region known at global, and print the line for its nodes' configuration
files. A region that is known already keeps its generation, which is printed.`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			req := &globalpb.AddRegionRequest{Region: args[0]}
			if err := fleet.Region(args[0]).Check(); err != nil {
				return exit.With(exit.Usage, err)
			}
			if generation != "" {
				g, err := config.ParseGeneration(generation)
				if err != nil {
					return exit.With(exit.Usage, fmt.Errorf("generation: %w", err))
				}
				req.Generation = &clusterpb.Generation{Number: g.Number, Bits: g.Bits}
			}
			ctx, cancel := context.WithTimeout(c.Context(), e.timeout)
			defer cancel()
			places, d, err := e.target.nodesToAsk("global", func(devfile.Node) bool { return true })
			if err != nil {
				return err
			}
			return e.askFirst(ctx, "global", places, d, func(ctx context.Context, conn *grpc.ClientConn, _ place) error {
				r, err := globalpb.NewOperatorServiceClient(conn).AddRegion(ctx, req)
				if err != nil {
					return err
				}
				if err := e.printRegion(args[0], r); err != nil {
					return err
				}
				if had := generationText(r.GetGeneration()); generation != "" && had != generation {
					return exit.With(exit.Failed, fmt.Errorf("region %s has generation %s and keeps it: %s was not taken", args[0], had, generation))
				}
				return nil
			})
		},
	})
	c.Flags().StringVar(&generation, "generation", "", "announce this one, as 1-0123456789abcdef; empty makes one")
	return c
}

func (e *env) printRegion(region string, r *globalpb.AddRegionResponse) error {
	if e.format != formatTable {
		return e.json(struct {
			Region     string `json:"region"`
			Generation string `json:"generation"`
			Existed    bool   `json:"existed"`
		}{region, generationText(r.GetGeneration()), r.GetExisted()})
	}
	if r.GetExisted() {
		e.note("region %s was known already", region)
	}
	_, err := fmt.Fprintf(e.out, "generation = %q\n", generationText(r.GetGeneration()))
	return err
}
