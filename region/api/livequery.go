package api

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/live"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region/read"
)

// Execer runs SQL that writes.
type Execer interface {
	Exec(ctx context.Context, r sqlite.Request) ([]sqlite.Affected, store.Commit, error)
}

// Exec implements the service.
func (s *Server) Exec(ctx context.Context, req *regionv1.ExecRequest) (*regionv1.ExecResponse, error) {
	r := sqlite.Request{LocalTables: req.GetLocalTables(), Timeout: timeout(req.GetTimeoutMs(), 0)}
	for _, st := range req.GetStatements() {
		r.Statements = append(r.Statements, sqlite.Statement{SQL: st.GetSql(), Args: values(st.GetArgs())})
	}
	results, commit, err := s.Write.Exec(ctx, r)
	if err != nil {
		return nil, execError(err)
	}
	out := &regionv1.ExecResponse{Written: &regionv1.Written{Changed: uint64(commit.Records), DelayedMs: commit.Delayed.Milliseconds()}}
	if commit.Point.Version > 0 {
		out.Written.Points = append(out.Written.Points, PointProto(commit.Point))
	}
	for _, p := range commit.Standing {
		out.Written.Standing = append(out.Written.Standing, PointProto(p))
	}
	for _, res := range results {
		one := &regionv1.StatementResult{RowsAffected: res.Rows, Columns: res.Columns}
		for _, row := range res.Result {
			one.Rows = append(one.Rows, read.RowProto(row))
		}
		out.Results = append(out.Results, one)
	}
	return out, nil
}

// execError says that a statement is at fault, unless something else is.
func execError(err error) error {
	var at *sqlite.StatementError
	if errors.As(err, &at) && codeOf(err) == codes.Internal {
		return code(&invalidError{err})
	}
	return code(err)
}

func values(args []*clusterv1.Value) []record.Value {
	out := make([]record.Value, len(args))
	for i, a := range args {
		out[i] = read.FromProto(a)
	}
	return out
}

// WatchQuery implements the service.
func (s *Server) WatchQuery(req *regionv1.WatchQueryRequest, stream regionv1.RegionService_WatchQueryServer) error {
	ctx := stream.Context()
	if err := s.barrier(ctx, req.GetAfter()); err != nil {
		return code(err)
	}
	w, err := s.openWatch(ctx, req)
	if err != nil {
		return liveError(err)
	}
	defer w.Release()
	if req.GetFrom() > 0 {
		if err := w.Check(ctx, req.GetFrom()); err != nil {
			return liveError(err)
		}
	}
	opened := &regionv1.QueryWatch{Id: w.ID().String(), Columns: w.Columns()}
	if err := stream.Send(&regionv1.WatchQueryResponse{Event: &regionv1.WatchQueryResponse_Opened{Opened: opened}}); err != nil {
		return err
	}
	return s.follow(ctx, w, req.GetFrom(), stream.Send)
}

func (s *Server) openWatch(ctx context.Context, req *regionv1.WatchQueryRequest) (*live.Watch, error) {
	if req.GetId() == "" {
		return s.Live.Open(ctx, req.GetSql(), values(req.GetArgs()))
	}
	id, err := uuid.Parse(req.GetId())
	if err != nil {
		return nil, invalid("watch id %q is no UUID", req.GetId())
	}
	w, err := s.Live.Find(ctx, id)
	if err == nil && req.GetSql() != "" && !w.Is(req.GetSql(), values(req.GetArgs())) {
		w.Release()
		return nil, invalid("watch %v is of another query", id)
	}
	return w, err
}

// follow tells a watch from a change on. A reader that is too slow for what is
// kept begins anew.
func (s *Server) follow(ctx context.Context, w *live.Watch, last uint64, send func(*regionv1.WatchQueryResponse) error) error {
	if last == 0 {
		var err error
		if last, err = sendRows(ctx, w, send); err != nil {
			return liveError(err)
		}
	}
	for {
		changes, err := w.Next(ctx, last)
		if errors.Is(err, live.ErrBehind) {
			resync := &regionv1.QueryResync{Reason: err.Error()}
			if err := send(&regionv1.WatchQueryResponse{Event: &regionv1.WatchQueryResponse_Resync{Resync: resync}}); err != nil {
				return err
			}
			if last, err = sendRows(ctx, w, send); err != nil {
				return liveError(err)
			}
			continue
		}
		if err != nil {
			return liveError(err)
		}
		last = changes[len(changes)-1].ID
		for _, c := range live.Newest(changes) {
			if err := send(&regionv1.WatchQueryResponse{Event: &regionv1.WatchQueryResponse_Change{Change: changeProto(c)}}); err != nil {
				return err
			}
		}
	}
}

// sendRows sends a snapshot and returns the change that it includes.
func sendRows(ctx context.Context, w *live.Watch, send func(*regionv1.WatchQueryResponse) error) (uint64, error) {
	snap, err := w.Snapshot(ctx)
	if err != nil {
		return 0, err
	}
	defer snap.Close()
	for {
		rows, err := snap.Next()
		if err != nil {
			return 0, err
		}
		if len(rows) == 0 {
			return snap.Change, send(&regionv1.WatchQueryResponse{Event: &regionv1.WatchQueryResponse_Synced{Synced: snap.Change}})
		}
		for _, r := range rows {
			if err := send(&regionv1.WatchQueryResponse{Event: &regionv1.WatchQueryResponse_Row{Row: rowProto(r)}}); err != nil {
				return 0, err
			}
		}
	}
}

func rowProto(r live.Row) *regionv1.QueryRow {
	return &regionv1.QueryRow{Id: r.ID, Cells: read.RowProto(r.Cells)}
}

func changeProto(c live.Change) *regionv1.QueryChange {
	kind := map[live.Kind]regionv1.QueryChangeKind{
		live.Insert: regionv1.QueryChangeKind_QUERY_CHANGE_KIND_INSERT,
		live.Update: regionv1.QueryChangeKind_QUERY_CHANGE_KIND_UPDATE,
		live.Delete: regionv1.QueryChangeKind_QUERY_CHANGE_KIND_DELETE,
	}[c.Kind]
	return &regionv1.QueryChange{Number: c.ID, Kind: kind, Row: rowProto(c.Row)}
}

// liveError gives a watch's error its code.
func liveError(err error) error {
	var refused *live.RefusedError
	switch {
	case errors.As(err, &refused):
		return code(&invalidError{err})
	case errors.Is(err, live.ErrUnknown):
		return status.Error(codes.NotFound, err.Error())
	case errors.Is(err, live.ErrFuture), errors.Is(err, live.ErrBehind):
		return status.Error(codes.OutOfRange, err.Error())
	case errors.Is(err, live.ErrTooLarge), errors.Is(err, live.ErrTooMany):
		return status.Error(codes.ResourceExhausted, err.Error())
	case errors.Is(err, live.ErrStopping):
		return status.Error(codes.Unavailable, err.Error())
	case errors.Is(err, live.ErrSchema), errors.Is(err, live.ErrLost):
		return status.Error(codes.Aborted, err.Error())
	case errors.Is(err, live.ErrFault):
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	return code(err)
}
