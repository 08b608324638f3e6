package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	adminpb "github.com/firebreak-dev/firebreak/proto/firebreak/admin/v1"
)

// verified is what a look at every row of a node has found.
type verified struct {
	Sound    bool     `json:"sound"`
	Rows     uint64   `json:"rows"`
	Withheld uint64   `json:"withheld"`
	Writers  uint64   `json:"writers"`
	Damage   []damage `json:"damage"`
	More     uint64   `json:"more"` // damage beyond
}

type damage struct {
	Lane  string `json:"lane,omitempty"`
	Table string `json:"table"` // empty for a writer's sum
	Key   string `json:"key"`
	What  string `json:"what"`
}

func (e *env) nodeCommand() *cobra.Command {
	c := &cobra.Command{Use: "node", Short: "One node's own state"}
	c.AddCommand(e.asks(&cobra.Command{
		Use: "verify", Short: "Read every row back and compare it with what was received",
		Long: `Read every row back, compute its content hash and the fingerprints anew, and
compare them with what is stored. Writes go on meanwhile.

Exit code 0: all is as it was received. 1: what is not is named.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return e.onStore(c.Context(), e.verify) },
	}))
	return c
}

func (e *env) verify(ctx context.Context, a adminpb.AdminServiceClient) error {
	s, err := a.Verify(ctx, &adminpb.VerifyRequest{})
	out := verified{Damage: []damage{}}
	for err == nil {
		var m *adminpb.VerifyResponse
		if m, err = s.Recv(); err != nil {
			break
		}
		out.Rows, out.Withheld = out.Rows+m.GetRows(), out.Withheld+m.GetWithheld()
		out.Writers, out.More = out.Writers+m.GetWriters(), out.More+m.GetMore()
		for _, d := range m.GetDamage() {
			out.Damage = append(out.Damage, damage{m.GetLane(), d.GetTable(), d.GetKey(), d.GetWhat()})
		}
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	out.Sound = len(out.Damage) == 0
	if err := e.printVerified(out); err != nil || out.Sound {
		return err
	}
	return exit.With(exit.Failed, fmt.Errorf("%d rows or sums are not what was received", uint64(len(out.Damage))+out.More))
}

func (e *env) printVerified(v verified) error {
	if e.format != formatTable {
		return e.json(v)
	}
	if v.Sound {
		_, err := fmt.Fprintf(e.out, "%d rows of %d writers are as they were received, %d of them withheld\n", v.Rows, v.Writers, v.Withheld)
		return err
	}
	var rows [][]string
	for _, d := range v.Damage {
		rows = append(rows, []string{d.Lane, d.Table, d.Key, d.What})
	}
	if v.More > 0 {
		rows = append(rows, []string{"", "", "", "and " + strconv.FormatUint(v.More, 10) + " more"})
	}
	return e.table([]string{"LANE", "TABLE", "KEY", "WHAT"}, rows)
}
