package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	adminpb "github.com/firebreak-dev/firebreak/proto/firebreak/admin/v1"
)

func (e *env) clockCommand() *cobra.Command {
	c := &cobra.Command{Use: "clock", Short: "The clock by which a node stamps rows of shared tables"}
	c.AddCommand(e.asks(&cobra.Command{
		Use: "reset", Short: "Begin anew, once the host's clock is right after it was ahead",
		Long: `A node whose clock was far ahead has stamped rows of shared tables with times to
come: others withhold them, and it cannot write such rows itself until then. Once
the host's clock is right, this makes those stamps void on every node and stamps
the rows again, as they are. The node does so by itself when its clock has been
that of all its peers for a minute.

Exit code 1: the host's clock is still not that of its peers.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return e.onStore(c.Context(), e.resetClock) },
	}))
	return c
}

func (e *env) resetClock(ctx context.Context, a adminpb.AdminServiceClient) error {
	r, err := a.ResetClock(ctx, &adminpb.ResetClockRequest{})
	if err != nil {
		return err
	}
	if e.format != formatTable {
		return e.json(struct {
			VoidAfter int64  `json:"void_after_unix_ms"`
			Again     uint64 `json:"again"`
		}{r.GetVoidAfterUnixMs(), r.GetAgain()})
	}
	_, err = fmt.Fprintf(e.out, "what this node stamped after %s is void; %d records of that were stamped again\n",
		time.UnixMilli(r.GetVoidAfterUnixMs()).UTC().Format(time.RFC3339Nano), r.GetAgain())
	return err
}
