package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/cell"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	clusterpb "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionpb "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerpb "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// queryFlags are what query asks for.
type queryFlags struct {
	region, app string
	args        []string
	policy      string
	quorum      uint32
	maxRows     uint64
	reduce      string
}

// queryAnswer is the answer of query -o json. Its keys are a contract.
type queryAnswer struct {
	Columns  []string       `json:"columns"`
	Rows     [][]cell.Value `json:"rows"`
	Coverage coverages      `json:"coverage"`
	Complete bool           `json:"complete"`
}

// regionRow is a row and where it comes from.
type regionRow struct {
	region string
	row    []cell.Value
}

// queryResult is what one server answered, as far as it came.
type queryResult struct {
	columns  []string
	rows     []regionRow
	coverage coverages
	complete bool
	ended    bool // the server said that this is all
}

func (e *env) queryCommand() *cobra.Command {
	var q queryFlags
	c := e.asks(&cobra.Command{
		Use:   "query SQL",
		Short: "Run one read-only SELECT in every region, some, or on one node",
		Long: `Run one read-only SELECT. A router asks every region; --region asks one, --app
those that run an app. With --node or --socket one region node answers alone.

What arrived is printed whatever happens. Exit code 4: some region is not
covered, so rows may be missing.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), e.timeout)
			defer cancel()
			return e.query(ctx, args[0], q)
		},
	})
	f := c.Flags()
	f.StringVar(&q.region, "region", "", "ask this region only")
	f.StringVar(&q.app, "app", "", "ask the regions where this app may run")
	f.StringArrayVar(&q.args, "arg", nil, `value of the next "?": a number, null, {"blob":"hex"}, "quoted text" or text`)
	f.StringVar(&q.policy, "policy", "all", "when the answer is good enough: all, any or quorum")
	f.Uint32Var(&q.quorum, "quorum", 0, "regions that must answer under --policy quorum")
	f.Uint64Var(&q.maxRows, "max-rows", 0, "rows of each region; 0 means its limit")
	f.StringVar(&q.reduce, "reduce", "", `SELECT over the union of all regions, which is the table "rows"`)
	c.MarkFlagsMutuallyExclusive("region", "app")
	offer(c, "policy", "all", "any", "quorum")
	return c
}

func (e *env) query(ctx context.Context, sql string, q queryFlags) error {
	args, err := queryArgs(q.args)
	if err := errors.Join(err, q.check(sql)); err != nil {
		return exit.With(exit.Usage, err)
	}
	if e.target.node != "" || e.target.socket != "" {
		return e.queryNode(ctx, sql, q, args)
	}
	req, err := q.request(sql, args, e.timeout.Milliseconds())
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	places, d, err := e.target.routersToAsk()
	if err != nil {
		return err
	}
	return e.askFirst(ctx, "router", places, d, func(ctx context.Context, conn *grpc.ClientConn, _ place) error {
		s, err := routerpb.NewRouterServiceClient(conn).Query(ctx, req)
		if err != nil {
			return err
		}
		r, err := receiveRouter(s)
		return e.answer(r, err)
	})
}

// check refuses what no server can take. What the SQL means is theirs to say.
func (q queryFlags) check(sql string) error {
	switch {
	case strings.TrimSpace(sql) == "":
		return errors.New("the SQL is empty: give one SELECT")
	case !utf8.ValidString(sql) || !utf8.ValidString(q.reduce):
		return errors.New("the SQL is not valid UTF-8")
	case q.region != "":
		return fleet.Region(q.region).Check()
	case q.app != "":
		return fleet.App(q.app).Check()
	}
	return nil
}

// queryNode asks one region node; its region is all that the answer covers.
func (e *env) queryNode(ctx context.Context, sql string, q queryFlags, args []*clusterpb.Value) error {
	if q.region != "" || q.app != "" || q.reduce != "" {
		return exit.With(exit.Usage, errors.New("--region, --app and --reduce are for routers; one node answers for its own region"))
	}
	places, d, err := e.target.nodesToAsk("region", nil)
	if err != nil {
		return err
	}
	return e.askFirst(ctx, "region", places, d, func(ctx context.Context, conn *grpc.ClientConn, _ place) error {
		s, err := regionpb.NewRegionServiceClient(conn).Query(ctx, &regionpb.QueryRequest{
			Sql: sql, Args: args, MaxRows: q.maxRows, TimeoutMs: e.timeout.Milliseconds(),
		})
		if err != nil {
			return err
		}
		r, err := receiveRegion(s)
		return e.answer(r, err)
	})
}

func queryArgs(args []string) ([]*clusterpb.Value, error) {
	var out []*clusterpb.Value
	for _, a := range args {
		v, err := cell.Parse(a)
		if err != nil {
			return nil, err
		}
		out = append(out, v.Proto())
	}
	return out, nil
}

func (q queryFlags) request(sql string, args []*clusterpb.Value, timeoutMS int64) (*routerpb.QueryRequest, error) {
	req := &routerpb.QueryRequest{Sql: sql, Args: args, Quorum: q.quorum, TimeoutMs: timeoutMS, MaxRows: q.maxRows, Reduce: q.reduce}
	switch q.policy {
	case "all":
		req.Policy = routerpb.Policy_POLICY_ALL
	case "any":
		req.Policy = routerpb.Policy_POLICY_ANY
	case "quorum":
		req.Policy = routerpb.Policy_POLICY_QUORUM
	default:
		return nil, fmt.Errorf("policy %q: want all, any or quorum", q.policy)
	}
	if (q.quorum > 0) != (q.policy == "quorum") {
		return nil, errors.New("--quorum and --policy quorum belong together")
	}
	switch {
	case q.region != "":
		req.Where = &routerpb.QueryRequest_Region{Region: q.region}
	case q.app != "":
		req.Where = &routerpb.QueryRequest_App{App: q.app}
	}
	return req, nil
}

func receiveRouter(s grpc.ServerStreamingClient[routerpb.QueryResponse]) (queryResult, error) {
	var out queryResult
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return out, err
		}
		out.add(m.GetColumns(), m.GetRegion(), m.GetRows())
		if end := m.GetEnd(); end != nil {
			out.ended, out.complete, out.coverage = true, end.GetComplete(), fromCoverage(end.GetCoverage())
		}
	}
}

func receiveRegion(s grpc.ServerStreamingClient[regionpb.QueryResponse]) (queryResult, error) {
	var out queryResult
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return out, err
		}
		out.add(m.GetColumns(), "", m.GetRows())
		if end := m.GetEnd(); end != nil {
			out.ended, out.coverage = true, fromCoverage([]*clusterpb.Coverage{end.GetCoverage()})
			out.complete = fromOne(end.GetCoverage()).covered()
		}
	}
}

func (r *queryResult) add(columns []string, region string, rows []*clusterpb.Row) {
	if len(columns) > 0 && r.columns == nil {
		r.columns = columns
	}
	for _, row := range rows {
		r.rows = append(r.rows, regionRow{region, cell.FromRow(row)})
	}
}

// answer prints what arrived and judges it. An answer that broke off before
// anything arrived is the error that it broke off with.
func (e *env) answer(r queryResult, err error) error {
	if err != nil && r.columns == nil && len(r.rows) == 0 {
		return err
	}
	if r.ended && len(r.coverage) == 0 {
		return errNoRegions
	}
	if printErr := e.printQuery(r); printErr != nil {
		return printErr
	}
	e.warn(r.coverage)
	switch {
	case err != nil:
		return exit.With(exit.Partial, fmt.Errorf("the answer was cut: %s", status.Convert(err).Message()))
	case !r.ended:
		return exit.With(exit.Partial, errors.New("the answer has no end"))
	}
	return e.verdict(true, r.complete)
}

func (e *env) printQuery(r queryResult) error {
	columns := append([]string{}, r.columns...)
	if r.coverage == nil {
		r.coverage = coverages{}
	}
	switch e.format {
	case formatJSON:
		a := queryAnswer{Columns: columns, Rows: [][]cell.Value{}, Coverage: r.coverage, Complete: r.complete}
		for _, row := range r.rows {
			a.Rows = append(a.Rows, row.row)
		}
		return e.json(a)
	case formatNDJSON:
		return e.printQueryLines(columns, r)
	}
	withRegion := false
	for _, row := range r.rows {
		withRegion = withRegion || row.region != ""
	}
	if withRegion {
		columns = append([]string{"(region)"}, columns...)
	}
	var rows [][]string
	for _, row := range r.rows {
		var cells []string
		if withRegion {
			cells = append(cells, row.region)
		}
		for _, v := range row.row {
			cells = append(cells, v.Text())
		}
		rows = append(rows, cells)
	}
	return e.table(columns, rows)
}

// printQueryLines prints {"columns"}, a {"region","row"} each, and {"end"}.
func (e *env) printQueryLines(columns []string, r queryResult) error {
	if err := e.json(map[string]any{"columns": columns}); err != nil {
		return err
	}
	for _, row := range r.rows {
		if err := e.json(struct {
			Region string       `json:"region"`
			Row    []cell.Value `json:"row"`
		}{row.region, row.row}); err != nil {
			return err
		}
	}
	type end struct {
		Coverage coverages `json:"coverage"`
		Complete bool      `json:"complete"`
	}
	return e.json(map[string]end{"end": {r.coverage, r.complete}})
}
