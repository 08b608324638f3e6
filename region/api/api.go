// Package api serves a region node's gRPC: a daemon's writes in, queries and
// watches out. It checks what came and translates; what is done about it is in
// the packages ledger, read and watch.
//
// A write is checked whole before any of it is written, and a refusal names
// the limit, or the place in the stream, and leaves nothing behind.
package api

import (
	"context"
	"errors"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/live"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region/ledger"
	"github.com/firebreak-dev/firebreak/region/read"
	"github.com/firebreak-dev/firebreak/region/watch"
)

// Querier runs read-only SQL.
type Querier interface {
	Query(ctx context.Context, q sqlite.Query, row func(columns []string, r store.Row) error) (sqlite.Result, error)
}

// Node is what the API needs of the node around it.
type Node interface {
	// WaitPoint returns once this node has received p.
	WaitPoint(ctx context.Context, p record.Point) error
	// Wait answers for a scope.
	Wait(ctx context.Context, scope regionv1.WaitScope, points []record.Point) (*regionv1.WaitResponse, error)
	// Coverage says how far this node's answers can be believed.
	Coverage() *clusterv1.Coverage
	// Status describes the node.
	Status(ctx context.Context) (*regionv1.StatusResponse, error)
	// SchemaRefused says why the schema files of the node's configuration are
	// not loaded; empty if they are.
	SchemaRefused() string
}

// Server implements the service.
type Server struct {
	regionv1.UnimplementedRegionServiceServer

	Worker  fleet.Worker
	Ledger  *ledger.Ledger
	Reader  *read.Reader
	Hub     *watch.Hub
	Watches *watch.Server
	SQL     Querier
	Write   Execer
	Live    *live.Engine
	Schemas Schemas
	Node    Node
}

// barrierTimeout is how long a read waits for its barrier if it does not say.
const barrierTimeout = 5 * time.Second

// maxPoints bounds the points of one barrier or wait.
const maxPoints = 10_000

// barrier waits until this node has the points of a read, and shows them.
func (s *Server) barrier(ctx context.Context, after *regionv1.After) error {
	if err := s.loaded(ctx); err != nil || len(after.GetPoints()) == 0 {
		return err
	}
	points, err := pointsOf(after.GetPoints())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout(after.GetTimeoutMs(), barrierTimeout))
	defer cancel()
	for _, p := range points {
		if err := s.Node.WaitPoint(ctx, p); err != nil {
			return &behindError{point: p, err: err}
		}
	}
	return s.current(ctx)
}

// loaded waits until the index has been read: before it a node would say "no
// machines" of a full disk.
func (s *Server) loaded(ctx context.Context) error {
	select {
	case <-s.Hub.Ready():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// current waits until the index has what the store has.
func (s *Server) current(ctx context.Context) error {
	snap, err := s.Reader.Store.Snapshot(ctx)
	if err != nil {
		return err
	}
	at := snap.Position()
	if err := snap.Close(); err != nil {
		return err
	}
	return s.Hub.WaitPosition(ctx, at)
}

// timeout reads a timeout in milliseconds, at most an hour.
func timeout(ms int64, standard time.Duration) time.Duration {
	if ms <= 0 {
		return standard
	}
	return min(time.Duration(ms), time.Duration(time.Hour/time.Millisecond)) * time.Millisecond
}

func pointsOf(ps []*clusterv1.Point) ([]record.Point, error) {
	if len(ps) > maxPoints {
		return nil, invalid("%d points are over the limit of %d", len(ps), maxPoints)
	}
	out := make([]record.Point, len(ps))
	for i, p := range ps {
		if p.GetNode() == "" || p.GetVersion() == 0 {
			return nil, invalid("point %d names no changeset: want node, boot, bits and a version above 0", i+1)
		}
		out[i] = PointOf(p)
	}
	return out, nil
}

// PointOf reads a point.
func PointOf(p *clusterv1.Point) record.Point {
	return record.Point{
		Writer:  record.Writer{Node: record.Node(p.GetNode()), Boot: p.GetBoot(), Bits: p.GetBits()},
		Version: record.Version(p.GetVersion()),
	}
}

// PointProto is the other way.
func PointProto(p record.Point) *clusterv1.Point {
	return &clusterv1.Point{Node: string(p.Writer.Node), Boot: p.Writer.Boot, Bits: p.Writer.Bits, Version: uint64(p.Version)}
}

// Status implements the service.
func (s *Server) Status(ctx context.Context, _ *regionv1.StatusRequest) (*regionv1.StatusResponse, error) {
	st, err := s.Node.Status(ctx)
	return st, code(err)
}

// Wait implements the service.
func (s *Server) Wait(ctx context.Context, req *regionv1.WaitRequest) (*regionv1.WaitResponse, error) {
	points, err := pointsOf(req.GetPoints())
	if err != nil {
		return nil, code(err)
	}
	if _, known := regionv1.WaitScope_name[int32(req.GetScope())]; !known {
		return nil, code(invalid("scope %v is unknown: want node or region", req.GetScope()))
	}
	wait, cancel := context.WithTimeout(ctx, timeout(req.GetTimeoutMs(), barrierTimeout))
	defer cancel()
	out, err := s.Node.Wait(wait, req.GetScope(), points)
	return out, code(err)
}

// Watch implements the service.
func (s *Server) Watch(stream regionv1.RegionService_WatchServer) error {
	if err := s.loaded(stream.Context()); err != nil {
		return code(err)
	}
	err := s.Watches.Serve(stream)
	if errors.Is(err, watch.ErrHello) {
		err = invalid("%v", err)
	}
	return code(err)
}
