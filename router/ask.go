package router

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// What one region's answer may cost the router.
const (
	maxAnswerRows  = 100_000
	maxAnswerBytes = 32 << 20
)

// answer is what a region said, or why it said nothing.
type answer struct {
	part      coverage.Part
	columns   []string
	rows      []*clusterv1.Row
	newestEnd time.Time // wall time of the newest end there; zero for none
	code      codes.Code
}

// ask puts one SELECT to the region and returns within ctx. It never fails:
// what went wrong is the answer's coverage.
func (c *regionClient) ask(ctx context.Context, req *regionv1.QueryRequest) (a answer) {
	defer func() {
		a.part.Region = c.name
		c.metrics.asks.WithLabelValues(string(c.name), a.part.State.String()).Inc()
	}()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	default:
		return failed(coverage.Refused, "too many questions to this region are in hand")
	}
	if !c.allow() {
		return failed(coverage.Unreachable, "left alone for now: it failed several times in a row")
	}
	begun := c.now()
	a = c.askGateways(ctx, req)
	switch {
	case errors.Is(context.Cause(ctx), context.Canceled) && a.code == codes.Canceled:
		c.done(true) // nobody waited for it: it says nothing about the region
	case a.part.State == coverage.Timeout && c.now().Since(begun) < time.Second:
		c.done(true) // the caller was in a hurry
	default:
		c.done(a.part.State != coverage.Timeout && a.part.State != coverage.Unreachable)
	}
	return a
}

// askGateways tries the gateways in turn: the next one when one fails or
// answers from unfit state, and, once, when one is later than the region
// usually is. The first live answer wins; else the best one.
func (c *regionClient) askGateways(ctx context.Context, req *regionv1.QueryRequest) answer {
	list, err := c.gateways()
	if err != nil {
		return failed(coverage.Unreachable, err.Error())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan answer, len(list)) // one each: nobody is left behind
	next, pending := 0, 0
	try := func() {
		if next < len(list) {
			g := list[next]
			next, pending = next+1, pending+1
			go func() { results <- c.askOne(ctx, g, req) }()
		}
	}
	try()
	hedge := time.NewTimer(c.hedgeAfter())
	defer hedge.Stop()
	var best answer
	for pending > 0 {
		select {
		case a := <-results:
			pending--
			if a.part.State == coverage.Live || a.code == codes.InvalidArgument {
				return a
			}
			if best.part.State == 0 || a.part.State < best.part.State {
				best = a
			}
			if ctx.Err() == nil {
				try()
			}
		case <-hedge.C:
			if next < len(list) && c.mayHedge() {
				c.metrics.hedges.WithLabelValues(string(c.name)).Inc()
				try()
			}
		case <-ctx.Done():
			if best.part.State != 0 {
				return best
			}
			return c.classify(ctx.Err())
		}
	}
	return best
}

// askOne asks one gateway.
func (c *regionClient) askOne(ctx context.Context, g gateway, req *regionv1.QueryRequest) answer {
	begun := c.now()
	a, err := c.read(ctx, g, req)
	if err != nil {
		a = c.classify(err)
	}
	switch a.part.State {
	case coverage.Timeout, coverage.Unreachable:
		c.told(g.address, 0, cancelled(ctx, err))
	default:
		c.told(g.address, c.now().Since(begun), nil)
	}
	return a
}

// cancelled tells an attempt that was given up from one that failed.
func cancelled(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Canceled
	}
	return err
}

// read reads one answer whole: rows that were cut are no answer.
func (c *regionClient) read(ctx context.Context, g gateway, req *regionv1.QueryRequest) (a answer, err error) {
	defer c.guard(&err)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sent := c.now().Time()
	stream, err := regionv1.NewRegionServiceClient(g.conn).Query(ctx, req)
	if err != nil {
		return answer{}, err
	}
	size := 0
	for {
		resp, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return answer{}, status.Error(codes.DataLoss, "the answer was cut: it has no end")
		case err != nil:
			return answer{}, err
		}
		if len(resp.GetColumns()) > 0 {
			a.columns = resp.GetColumns()
		}
		for _, row := range resp.GetRows() {
			if len(row.GetValues()) != len(a.columns) {
				return answer{}, status.Errorf(codes.DataLoss, "a row of %d values under %d columns", len(row.GetValues()), len(a.columns))
			}
		}
		a.rows = append(a.rows, resp.GetRows()...)
		size += proto.Size(resp)
		if len(a.rows) > maxAnswerRows || size > maxAnswerBytes {
			return answer{}, status.Errorf(codes.ResourceExhausted, "the answer is over the router's limit of %d rows or %d bytes", maxAnswerRows, maxAnswerBytes)
		}
		if end := resp.GetEnd(); end != nil {
			if end.GetRows() != uint64(len(a.rows)) {
				return answer{}, status.Errorf(codes.DataLoss, "the answer has %d rows and says %d", len(a.rows), end.GetRows())
			}
			a.part = fromRegion(end.GetCoverage(), sent)
			if ms := end.GetNewestEndAgeMs(); ms >= 0 {
				a.newestEnd = c.now().Time().Add(-coverage.Age(ms))
			}
			_, _ = stream.Recv() // the stream's own end came along: waiting for it costs less than to reset the stream
			return a, nil
		}
	}
}

// fromRegion reads what a region says of its own answer: only that it is live
// or stale is its to say. It is live as of the moment at which it was asked.
func fromRegion(c *clusterv1.Coverage, asked time.Time) coverage.Part {
	p := coverage.FromProto(c)
	switch p.State {
	case coverage.Live:
		p.AsOf, p.Age = asked, 0
	case coverage.Stale:
		p.AsOf = time.Time{}
	default:
		p = coverage.Part{State: coverage.Refused, Detail: fmt.Sprintf("it answered as %v", p.State), Withheld: p.Withheld}
	}
	return p
}

func failed(s coverage.State, detail string) answer {
	return answer{part: coverage.Part{State: s, Detail: detail}, code: codes.Unavailable}
}

// classify says what an error of a call means for the region.
func (c *regionClient) classify(err error) answer {
	st := status.FromContextError(err)
	if s, ok := status.FromError(err); ok {
		st = s
	}
	a := failed(coverage.Refused, st.Message())
	a.code = st.Code()
	switch st.Code() {
	case codes.DeadlineExceeded:
		a.part.State, a.part.Detail = coverage.Timeout, "no answer in time"
	case codes.Canceled:
		a.part.State, a.part.Detail = coverage.Timeout, "not waited for"
	case codes.Unavailable:
		a.part.State = coverage.Unreachable
	case codes.Unknown:
		a.part.Detail = err.Error()
	}
	return a
}
