package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region/read"
)

// maxQueryTime bounds a query, its reader's slowness included: a reader that
// does not read must not keep one of the few that the store has.
const maxQueryTime = 5 * time.Second

// queuedMessages of an answer wait for a reader that is slower than the disk.
const queuedMessages = 4

// Query implements the service.
func (s *Server) Query(req *regionv1.QueryRequest, stream regionv1.RegionService_QueryServer) error {
	var about []fleet.App
	if app := fleet.App(req.GetApp()); app != "" {
		if err := app.Check(); err != nil {
			return code(&invalidError{err})
		}
		about = append(about, app)
	}
	if err := s.barrier(stream.Context(), req.GetAfter()); err != nil {
		return code(err)
	}
	q := sqlite.Query{Caller: caller(stream.Context()), SQL: req.GetSql(), MaxRows: int(min(req.GetMaxRows(), 1<<31-1))}
	q.Args = make([]record.Value, len(req.GetArgs()))
	for i, a := range req.GetArgs() {
		q.Args[i] = read.FromProto(a)
	}
	limit := min(timeout(req.GetTimeoutMs(), maxQueryTime), maxQueryTime)
	ctx, cancel := context.WithTimeout(stream.Context(), limit)
	defer cancel()
	// What is said of the rows is judged before they are read: what made it so
	// is in them.
	end := &regionv1.QueryEnd{Coverage: s.Node.Coverage(), NewestEndAgeMs: s.newestEnd(about)}
	a := &answer{done: ctx.Done(), out: make(chan *regionv1.QueryResponse, queuedMessages)}
	ended := make(chan error, 1)
	go func() {
		defer close(a.out)
		res, err := s.SQL.Query(ctx, q, a.row)
		if err == nil {
			end.Rows = uint64(res.Rows)
			err = a.end(end)
		}
		ended <- err
	}()
	for msg := range a.out {
		if err := stream.Send(msg); err != nil {
			cancel()
			<-ended
			return err
		}
	}
	return queryError(stream.Context(), <-ended, limit)
}

// caller names who asks, for the log and for status.
func caller(ctx context.Context) string {
	if id, ok := rpc.PeerID(ctx); ok {
		return id.String()
	}
	return ""
}

// newestEnd is the age of the newest end of these apps, or of any if there are
// none; negative if none is known.
func (s *Server) newestEnd(of []fleet.App) int64 {
	if age := s.Hub.NewestEnd(of...); age >= 0 {
		return age.Milliseconds()
	}
	return -1
}

// answer cuts the rows of a query into messages of bounded size.
type answer struct {
	done <-chan struct{} // the query that fills it is over
	out  chan *regionv1.QueryResponse
	next regionv1.QueryResponse
	size int
}

func (a *answer) row(columns []string, r store.Row) error {
	if r == nil {
		a.next.Columns = columns
		return nil
	}
	row := read.RowProto(r)
	a.size += proto.Size(row)
	a.next.Rows = append(a.next.Rows, row)
	if a.size < bytesPerMessage && len(a.next.Rows) < rowsPerMessage {
		return nil
	}
	return a.flush()
}

func (a *answer) flush() error {
	msg := &regionv1.QueryResponse{Columns: a.next.Columns, Rows: a.next.Rows, End: a.next.End}
	a.next.Columns, a.next.Rows, a.size = nil, nil, 0
	select {
	case a.out <- msg:
		return nil
	case <-a.done:
		return context.DeadlineExceeded
	}
}

func (a *answer) end(end *regionv1.QueryEnd) error {
	a.next.End = end
	return a.flush()
}

// queryError says that the statement is at fault, unless something else is.
func queryError(caller context.Context, err error, limit time.Duration) error {
	switch {
	case err == nil || caller.Err() != nil:
		return code(err)
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.ResourceExhausted, fmt.Sprintf("query was ended: over the limit of %v (time, the reader's included)", limit))
	case codeOf(err) == codes.Internal:
		return code(&invalidError{err})
	}
	return code(err)
}
