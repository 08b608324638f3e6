package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/cell"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/shell"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
	clusterpb "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionpb "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// session keeps one connection to a region node for as long as use runs. How
// long each question may take is for use to say.
func (e *env) session(ctx context.Context, use func(context.Context, regionpb.RegionServiceClient, place) error) error {
	if e.target.node == "" && e.target.socket == "" {
		return exit.With(exit.Usage, errors.New("this command asks one region node: give --node or --socket"))
	}
	places, d, err := e.target.nodesToAsk("region", nil)
	if err != nil {
		return err
	}
	return e.askFirst(ctx, "region", places, d, func(ctx context.Context, conn *grpc.ClientConn, p place) error {
		return use(ctx, regionpb.NewRegionServiceClient(conn), p)
	})
}

// nodeDB is a region node as a database of a shell.
type nodeDB struct {
	node    regionpb.RegionServiceClient
	timeout time.Duration // of a statement
	local   bool          // CREATE and DROP of the node's own tables
}

// Query implements [shell.Database].
func (d *nodeDB) Query(ctx context.Context, sql string) (shell.Result, error) {
	r, err := d.read(ctx, sql)
	return shell.Result{Columns: r.columns, Rows: plainRows(r.rows)}, err
}

// read runs a SELECT whose answer must be whole.
func (d *nodeDB) read(ctx context.Context, sql string, args ...cell.Value) (queryResult, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	req := &regionpb.QueryRequest{Sql: sql, TimeoutMs: d.timeout.Milliseconds()}
	for _, a := range args {
		req.Args = append(req.Args, a.Proto())
	}
	s, err := d.node.Query(ctx, req)
	if err != nil {
		return queryResult{}, inWords(err)
	}
	r, err := receiveRegion(s)
	if err != nil {
		return queryResult{}, inWords(err)
	}
	if !r.ended {
		return queryResult{}, errors.New("the answer has no end: ask again")
	}
	return r, nil
}

func plainRows(rows []regionRow) [][]cell.Value {
	out := make([][]cell.Value, len(rows))
	for i, r := range rows {
		out[i] = r.row
	}
	return out
}

// Exec implements [shell.Database].
func (d *nodeDB) Exec(ctx context.Context, sql string) (shell.Result, error) {
	a, err := d.write(ctx, []*regionpb.Statement{{Sql: sql}})
	if err != nil || len(a.Results) == 0 {
		return shell.Result{}, err
	}
	one := a.Results[0]
	return shell.Result{Columns: one.Columns, Rows: one.Rows, Affected: one.Affected, Points: a.Points, Standing: a.Standing, Wrote: true}, nil
}

// executed is the answer of exec. Its keys are a contract.
type executed struct {
	Results   []statementResult `json:"results"`
	Changed   uint64            `json:"changed"`
	Points    []string          `json:"points"`
	Standing  []string          `json:"standing,omitempty"`
	DelayedMs int64             `json:"delayed_ms,omitempty"` // for the node's budget of writes
}

type statementResult struct {
	Affected int64          `json:"rows_affected"`
	Columns  []string       `json:"columns,omitempty"` // of RETURNING
	Rows     [][]cell.Value `json:"rows,omitempty"`
}

// write runs statements as one transaction.
func (d *nodeDB) write(ctx context.Context, stmts []*regionpb.Statement) (executed, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	r, err := d.node.Exec(ctx, &regionpb.ExecRequest{Statements: stmts, LocalTables: d.local})
	if err != nil {
		return executed{}, inWords(err)
	}
	w := r.GetWritten()
	out := executed{Changed: w.GetChanged(), Points: pointTexts(w.GetPoints()), Standing: pointTexts(w.GetStanding()), DelayedMs: w.GetDelayedMs()}
	for _, res := range r.GetResults() {
		one := statementResult{Affected: res.GetRowsAffected(), Columns: res.GetColumns()}
		for _, row := range res.GetRows() {
			one.Rows = append(one.Rows, cell.FromRow(row))
		}
		out.Results = append(out.Results, one)
	}
	return out, nil
}

// inWords is a server's error in its own words, with the code that its status
// means.
func inWords(err error) error {
	if s, ok := status.FromError(err); ok {
		return exit.With(exit.Code(err), errors.New(s.Message()))
	}
	return err
}

// bindAll gives each statement the next of args, as many as it has parameters.
func bindAll(stmts []string, args []*clusterpb.Value) ([]*regionpb.Statement, error) {
	var out []*regionpb.Statement
	given := len(args)
	for i, sql := range stmts {
		n := len(sqltext.Parameters(sql))
		if n > len(args) {
			return nil, fmt.Errorf("statement %d needs %d arguments, there are %d left of %d", i+1, n, len(args), given)
		}
		out = append(out, &regionpb.Statement{Sql: sql, Args: args[:n:n]})
		args = args[n:]
	}
	if len(args) > 0 {
		return nil, fmt.Errorf("%d of %d arguments belong to no parameter", len(args), given)
	}
	return out, nil
}
