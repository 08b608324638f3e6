package router

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/reduce"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
	"github.com/firebreak-dev/firebreak/router/plan"
)

const (
	queryTime    = 5 * time.Second // without a deadline from the caller
	maxQueryTime = 5 * time.Minute
	maxSQL       = 64 << 10
	rowsPerSend  = 500
	bytesPerSend = 1 << 20
)

// Query runs one SELECT in each region that matters.
func (s *service) Query(req *routerv1.QueryRequest, stream routerv1.RouterService_QueryServer) error {
	policy, err := checkQuery(req)
	if err != nil {
		return err
	}
	p, listAge, err := s.planQuery(req)
	if err != nil {
		return err
	}
	ctx, cancel := withQueryTime(stream.Context(), req.GetTimeoutMs())
	defer cancel()
	u := &union{stream: stream, reduce: req.GetReduce(), parts: p.Known}
	if err := s.fanOut(ctx, req, p.Ask, policy, u); err != nil {
		return err
	}
	if st := u.sameRefusal(); st != nil {
		return st.Err()
	}
	parts := u.parts
	if _, byApp := req.GetWhere().(*routerv1.QueryRequest_App); byApp {
		parts = plan.Settle(parts, u.newestEnd, s.copy.now().Time())
	}
	if err := u.finish(stream.Context()); err != nil {
		return err
	}
	return u.end(&routerv1.QueryEnd{
		Complete: coverage.Complete(parts, listAge), Satisfied: policy.Satisfied(parts), Coverage: coverage.Protos(parts),
	})
}

func checkQuery(req *routerv1.QueryRequest) (plan.Policy, error) {
	if req.GetSql() == "" {
		return plan.Policy{}, status.Error(codes.InvalidArgument, "SQL is empty")
	}
	if n := max(len(req.GetSql()), len(req.GetReduce())); n > maxSQL {
		return plan.Policy{}, status.Errorf(codes.InvalidArgument, "SQL of %d bytes is over the limit of %d", n, maxSQL)
	}
	switch req.GetPolicy() {
	case routerv1.Policy_POLICY_UNSPECIFIED, routerv1.Policy_POLICY_ALL:
		return plan.Policy{Kind: plan.All}, nil
	case routerv1.Policy_POLICY_ANY:
		return plan.Policy{Kind: plan.Any}, nil
	case routerv1.Policy_POLICY_QUORUM:
		if req.GetQuorum() < 1 || req.GetQuorum() > 1<<16 {
			return plan.Policy{}, status.Errorf(codes.InvalidArgument, "a quorum of %d regions makes no sense", req.GetQuorum())
		}
		return plan.Policy{Kind: plan.Quorum, Quorum: int(req.GetQuorum())}, nil
	}
	return plan.Policy{}, status.Errorf(codes.InvalidArgument, "unknown policy %v", req.GetPolicy())
}

// planQuery decides whom to ask, and how old the list of regions is that the
// answer is about. A list that the caller named is its own.
func (s *service) planQuery(req *routerv1.QueryRequest) (plan.Plan, time.Duration, error) {
	_, ever := s.copy.age()
	names := s.copy.names()
	if len(names) == 0 {
		return plan.Plan{}, 0, errNoRegion
	}
	known := func(r fleet.Region) bool { return slices.Contains(names, r) }
	switch w := req.GetWhere().(type) {
	case *routerv1.QueryRequest_App:
		app := fleet.App(w.App)
		if err := app.Check(); err != nil {
			return plan.Plan{}, 0, status.Error(codes.InvalidArgument, err.Error())
		}
		return plan.ForApp(s.copy.standings(app)), ever, nil
	case *routerv1.QueryRequest_Region:
		return plan.ForRegions([]fleet.Region{fleet.Region(w.Region)}, known), 0, nil
	case *routerv1.QueryRequest_Regions:
		wanted := make([]fleet.Region, len(w.Regions.GetRegions()))
		for i, r := range w.Regions.GetRegions() {
			wanted[i] = fleet.Region(r)
		}
		if len(wanted) == 0 {
			return plan.Plan{}, 0, status.Error(codes.InvalidArgument, "the list of regions is empty")
		}
		return plan.ForRegions(wanted, known), 0, nil
	}
	return plan.ForRegions(names, known), ever, nil
}

func withQueryTime(ctx context.Context, ms int64) (context.Context, context.CancelFunc) {
	limit := queryTime
	if ms > 0 {
		limit = min(coverage.Age(ms), maxQueryTime)
	}
	if at, ok := ctx.Deadline(); ok {
		limit = min(limit, plan.SoftDeadline(time.Until(at)))
	}
	return context.WithTimeout(ctx, max(limit, time.Millisecond))
}

// fanOut asks the regions in parallel and hands each answer to u as it comes,
// until the policy needs no more. Regions that are then still out are said to
// be not waited for.
func (s *service) fanOut(ctx context.Context, req *routerv1.QueryRequest, regions []fleet.Region, policy plan.Policy, u *union) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, len(regions)) // one each: nobody is left behind
	ask := &regionv1.QueryRequest{Sql: req.GetSql(), Args: req.GetArgs(), MaxRows: req.GetMaxRows(), App: req.GetApp()}
	if at, ok := ctx.Deadline(); ok {
		ask.TimeoutMs = max(1, time.Until(at).Milliseconds())
	}
	if len(regions) == 1 {
		answers <- s.clients.get(regions[0]).ask(ctx, ask)
	} else {
		for _, region := range regions {
			go func() { answers <- s.clients.get(region).ask(ctx, ask) }()
		}
	}
	for left := len(regions) - 1; left >= 0; left-- {
		a := <-answers
		if err := u.add(a); err != nil {
			return err
		}
		if left > 0 {
			if err := u.flush(); err != nil {
				return err
			}
		}
		if policy.Enough(u.parts) {
			cancel() // the rest returns at once, as not waited for
		}
	}
	return nil
}

// union collects what regions answered.
type union struct {
	stream    routerv1.RouterService_QueryServer
	reduce    string
	parts     []coverage.Part
	columns   []string
	held      []*clusterv1.Row        // for reduce
	pending   *routerv1.QueryResponse // not sent yet, for what comes next may go with it
	sent      uint64
	newestEnd time.Time
	invalid   []answer // regions that found the question itself wrong
	asked     int
}

// add takes one region's answer and passes its rows on, unless they are to be
// reduced.
func (u *union) add(a answer) error {
	u.asked++
	if a.part.State == coverage.Live || a.part.State == coverage.Stale {
		if u.columns == nil {
			u.columns = a.columns
			if u.reduce == "" && len(a.columns) > 0 {
				u.pending = &routerv1.QueryResponse{Columns: a.columns}
			}
		}
		if !slices.Equal(u.columns, a.columns) {
			a.part.State, a.part.Detail = coverage.Refused, "its columns differ from those of the regions before it"
			a.rows, a.newestEnd = nil, time.Time{}
		}
	} else {
		a.rows = nil
	}
	if a.code == codes.InvalidArgument {
		u.invalid = append(u.invalid, a)
	}
	if u.reduce != "" && len(u.held)+len(a.rows) > reduce.MaxRows {
		a.part.State, a.part.Detail, a.rows = coverage.Refused, "with its rows the union is over the limit of what can be reduced", nil
	}
	u.parts = append(u.parts, a.part)
	if a.newestEnd.After(u.newestEnd) {
		u.newestEnd = a.newestEnd
	}
	if u.reduce != "" {
		u.held = append(u.held, a.rows...)
		return nil
	}
	return u.send(string(a.part.Region), a.rows)
}

// send passes rows on in parts.
func (u *union) send(region string, rows []*clusterv1.Row) error {
	for len(rows) > 0 {
		n, size := 0, 0
		for n < len(rows) && n < rowsPerSend && (n == 0 || size < bytesPerSend) {
			size += rowSize(rows[n])
			n++
		}
		if u.pending == nil || len(u.pending.Rows) > 0 { // columns go with the first rows
			if err := u.flush(); err != nil {
				return err
			}
			u.pending = &routerv1.QueryResponse{}
		}
		u.pending.Region, u.pending.Rows = region, rows[:n]
		u.sent += uint64(n)
		rows = rows[n:]
	}
	return nil
}

// flush sends what is pending.
func (u *union) flush() error {
	if u.pending == nil {
		return nil
	}
	m := u.pending
	u.pending = nil
	return u.stream.Send(m)
}

// end sends the last message, which has what is pending.
func (u *union) end(end *routerv1.QueryEnd) error {
	if u.pending == nil {
		u.pending = &routerv1.QueryResponse{}
	}
	end.Rows = u.sent
	u.pending.End = end
	return u.flush()
}

func rowSize(r *clusterv1.Row) int {
	n := 8
	for _, v := range r.GetValues() {
		n += 12 + len(v.GetText()) + len(v.GetBlob())
	}
	return n
}

// sameRefusal returns the error of the question itself, if every region that
// was asked found it wrong: that is no matter of coverage.
func (u *union) sameRefusal() *status.Status {
	if u.asked == 0 || len(u.invalid) < u.asked {
		return nil
	}
	return status.New(codes.InvalidArgument, u.invalid[0].part.Detail)
}

// finish reduces the union and sends what comes of it.
func (u *union) finish(ctx context.Context) error {
	if u.reduce == "" || u.columns == nil {
		return nil
	}
	columns, rows, err := reduce.Rows(ctx, u.columns, fromRows(u.held), u.reduce)
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "reduce: %v", err)
	}
	u.pending = &routerv1.QueryResponse{Columns: columns}
	return u.send("", toRows(rows))
}
