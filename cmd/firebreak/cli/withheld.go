package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/record"
	adminpb "github.com/firebreak-dev/firebreak/proto/firebreak/admin/v1"
)

// withheldRecord is a record that a node has received and does not show.
type withheldRecord struct {
	Lane   string `json:"lane,omitempty"` // global: region of the lane
	Table  string `json:"table"`
	Key    string `json:"key"`
	Point  string `json:"point"`
	Hash   string `json:"hash"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
	Since  int64  `json:"since_unix_ms"`
	Stub   bool   `json:"stub"` // its cells were discarded
	Bytes  uint64 `json:"bytes"`
}

// withheldCells is what show adds.
type withheldCells struct {
	withheldRecord
	Deleted bool              `json:"deleted"`
	Cells   map[string]string `json:"cells"`
}

func fromWithheld(w *adminpb.WithheldRecord) withheldRecord {
	at := record.Point{
		Writer:  record.Writer{Node: record.Node(w.GetNode()), Boot: w.GetBoot(), Bits: w.GetBits()},
		Version: record.Version(w.GetVersion()),
	}
	return withheldRecord{
		Lane: w.GetLane(), Table: w.GetTable(), Key: w.GetKey(), Point: at.String(), Hash: w.GetHash(),
		Reason: w.GetReason(), Detail: w.GetDetail(), Since: w.GetSinceUnixMs(), Stub: w.GetStub(), Bytes: w.GetSize(),
	}
}

// onStore runs ask on the region or global node of the flags.
func (e *env) onStore(ctx context.Context, ask func(context.Context, adminpb.AdminServiceClient) error) error {
	if e.target.node == "" && e.target.socket == "" {
		return exit.With(exit.Usage, errors.New("this command asks one region or global node: give --node or --socket"))
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	places, d, err := e.target.nodesToAsk("", nil)
	if err != nil {
		return err
	}
	return e.askFirst(ctx, "", places, d, func(ctx context.Context, conn *grpc.ClientConn, _ place) error {
		return ask(ctx, adminpb.NewAdminServiceClient(conn))
	})
}

func (e *env) withheldCommand() *cobra.Command {
	c := &cobra.Command{Use: "withheld", Short: "What a node has received and does not show"}
	c.AddCommand(
		e.asks(&cobra.Command{
			Use: "list", Short: "List withheld records, with why and since when", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error { return e.onStore(c.Context(), e.listWithheld) },
		}),
		e.withheldOne("show", "Show one record, whole as far as it is kept", e.showWithheld),
		e.withheldOne("release", "Judge one anew, and show it if nothing speaks against it",
			func(ctx context.Context, a adminpb.AdminServiceClient, hash string) error {
				_, err := a.ReleaseWithheld(ctx, &adminpb.ReleaseWithheldRequest{Hash: hash})
				return e.ended("released", hash, err)
			}),
		e.withheldOne("discard", "Drop the bytes of one, and keep a stub that counts as received",
			func(ctx context.Context, a adminpb.AdminServiceClient, hash string) error {
				_, err := a.DiscardWithheld(ctx, &adminpb.DiscardWithheldRequest{Hash: hash})
				return e.ended("discarded", hash, err)
			}),
	)
	return c
}

func (e *env) withheldOne(use, short string, run func(context.Context, adminpb.AdminServiceClient, string) error) *cobra.Command {
	return e.asks(&cobra.Command{
		Use: use + " HASH", Short: short,
		Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			return e.onStore(c.Context(), func(ctx context.Context, a adminpb.AdminServiceClient) error {
				err := run(ctx, a, args[0])
				switch s := status.Convert(err); s.Code() {
				case codes.NotFound:
					return exit.With(exit.NotFound, errors.New(s.Message()))
				case codes.InvalidArgument:
					return exit.With(exit.Usage, errors.New(s.Message()))
				}
				return err
			})
		},
	})
}

// ended prints what became of a withheld record.
func (e *env) ended(how, hash string, err error) error {
	if err != nil {
		return err
	}
	if e.format == formatTable {
		_, err = fmt.Fprintln(e.out, how, hash)
		return err
	}
	return e.json(struct {
		Hash string `json:"hash"`
		Done string `json:"done"`
	}{hash, how})
}

func (e *env) listWithheld(ctx context.Context, a adminpb.AdminServiceClient) error {
	s, err := a.ListWithheld(ctx, &adminpb.ListWithheldRequest{})
	list := []withheldRecord{}
	for err == nil {
		var m *adminpb.ListWithheldResponse
		if m, err = s.Recv(); err == nil {
			for _, w := range m.GetRecords() {
				list = append(list, fromWithheld(w))
			}
		}
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	switch e.format {
	case formatJSON:
		return e.json(struct {
			Withheld []withheldRecord `json:"withheld"`
		}{list})
	case formatNDJSON:
		for _, w := range list {
			if err := e.json(w); err != nil {
				return err
			}
		}
		return nil
	}
	var rows [][]string
	for _, w := range list {
		table := w.Table
		if w.Lane != "" {
			table = w.Lane + ": " + table
		}
		reason := w.Reason
		if w.Stub {
			reason += " (stub)"
		}
		age := time.Since(time.UnixMilli(w.Since)).Round(time.Second)
		rows = append(rows, []string{w.Hash, reason, age.String(), table, w.Key, w.Point, w.Detail})
	}
	return e.table([]string{"HASH", "REASON", "AGE", "TABLE", "KEY", "FROM", "DETAIL"}, rows)
}

func (e *env) showWithheld(ctx context.Context, a adminpb.AdminServiceClient, hash string) error {
	r, err := a.ShowWithheld(ctx, &adminpb.ShowWithheldRequest{Hash: hash})
	if err != nil {
		return err
	}
	out := withheldCells{withheldRecord: fromWithheld(r.GetRecord()), Deleted: r.GetDeleted(), Cells: map[string]string{}}
	for _, c := range r.GetCells() {
		out.Cells[c.GetColumn()] = c.GetValue()
	}
	if e.format != formatTable {
		return e.json(out)
	}
	rows := [][]string{
		{"table", out.Table}, {"key", out.Key}, {"from", out.Point}, {"reason", out.Reason}, {"detail", out.Detail},
		{"since", time.UnixMilli(out.Since).UTC().Format(time.RFC3339)}, {"deleted", strconv.FormatBool(out.Deleted)}, {"stub", strconv.FormatBool(out.Stub)},
	}
	for _, c := range r.GetCells() {
		rows = append(rows, []string{"cell " + c.GetColumn(), c.GetValue()})
	}
	return e.table([]string{"WHAT", "VALUE"}, rows)
}
