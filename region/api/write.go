package api

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/record"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region/ledger"
	"github.com/firebreak-dev/firebreak/region/machine"
	"github.com/firebreak-dev/firebreak/region/table"
)

// maxIDs bounds one withdrawal.
const maxIDs = ledger.MaxList

// Publish implements the service.
func (s *Server) Publish(ctx context.Context, req *regionv1.PublishRequest) (*regionv1.PublishResponse, error) {
	list := newList(s.Worker, record.MaxRecords, record.MaxChangeset)
	for _, m := range req.GetMachines() {
		if err := list.add(m); err != nil {
			return nil, code(err)
		}
	}
	if err := s.ready(ctx, list); err != nil {
		return nil, code(err)
	}
	w, err := s.Ledger.Publish(ctx, list.items)
	if err != nil {
		return nil, code(err)
	}
	return &regionv1.PublishResponse{Written: written(w)}, nil
}

// PublishStream implements the service.
func (s *Server) PublishStream(stream regionv1.RegionService_PublishStreamServer) error {
	list := newList(s.Worker, ledger.MaxList, ledger.MaxListBytes)
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := list.add(req.GetMachine()); err != nil {
			return code(err)
		}
	}
	if err := s.ready(stream.Context(), list); err != nil {
		return code(err)
	}
	w, err := s.Ledger.PublishList(stream.Context(), list.items)
	if err != nil {
		return code(err)
	}
	return stream.SendAndClose(&regionv1.PublishStreamResponse{Written: written(w)})
}

// Reconcile implements the service.
func (s *Server) Reconcile(stream regionv1.RegionService_ReconcileServer) error {
	list := newList(s.Worker, ledger.MaxList, ledger.MaxListBytes)
	shrink := false
	for first := true; ; first = false {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if o := req.GetOptions(); o != nil {
			if !first {
				return code(invalid("options come first in the stream, or not at all"))
			}
			shrink = o.GetAllowShrink()
			continue
		}
		if err := list.add(req.GetMachine()); err != nil {
			return code(err)
		}
	}
	if err := s.ready(stream.Context(), list); err != nil {
		return code(err)
	}
	r, err := s.Ledger.Reconcile(stream.Context(), list.items, shrink)
	if err != nil {
		return code(err)
	}
	return stream.SendAndClose(&regionv1.ReconcileResponse{
		Written: written(r.Written), Ended: texts(r.Ended), Pending: texts(r.Pending),
	})
}

// ready checks a whole list, and that rows can be judged.
func (s *Server) ready(ctx context.Context, l *list) error {
	if err := ledger.CheckList(l.items); err != nil {
		return &invalidError{err}
	}
	return s.loaded(ctx)
}

// Withdraw implements the service.
func (s *Server) Withdraw(ctx context.Context, req *regionv1.WithdrawRequest) (*regionv1.WithdrawResponse, error) {
	why, err := machine.CheckWhy(req.GetWhy())
	if err != nil {
		return nil, code(&invalidError{err})
	}
	if n := len(req.GetIds()); n > maxIDs {
		return nil, code(invalid("%d ids are over the limit of %d", n, maxIDs))
	}
	ids := make([]fleet.MachineID, len(req.GetIds()))
	for i, id := range req.GetIds() {
		ids[i] = fleet.MachineID(id)
		if err := ids[i].Check(); err != nil {
			return nil, code(invalid("id %d: %w", i+1, err))
		}
	}
	if err := s.loaded(ctx); err != nil {
		return nil, code(err)
	}
	w, unknown, err := s.Ledger.Withdraw(ctx, ids, why)
	if err != nil {
		return nil, code(err)
	}
	return &regionv1.WithdrawResponse{Written: written(w), Unknown: texts(unknown)}, nil
}

// SetHealth implements the service.
func (s *Server) SetHealth(ctx context.Context, req *regionv1.SetHealthRequest) (*regionv1.SetHealthResponse, error) {
	rows := make([]table.HealthRow, len(req.GetHealth()))
	for i, h := range req.GetHealth() {
		var err error
		if rows[i], err = machine.CheckHealth(h); err != nil {
			return nil, code(invalid("health %d: %w", i+1, err))
		}
	}
	if err := s.loaded(ctx); err != nil {
		return nil, code(err)
	}
	w, err := s.Ledger.SetHealth(ctx, rows)
	if err != nil {
		return nil, code(err)
	}
	return &regionv1.SetHealthResponse{Written: written(w)}, nil
}

// SetWorker implements the service.
func (s *Server) SetWorker(ctx context.Context, req *regionv1.SetWorkerRequest) (*regionv1.SetWorkerResponse, error) {
	addresses, err := machine.Addresses(req.GetAddresses())
	if err == nil {
		err = machine.Object("capacity", req.GetCapacity())
	}
	if err != nil {
		return nil, code(&invalidError{err})
	}
	if n := len(req.GetCapacity()); n > fleet.MaxMetadata {
		return nil, code(invalid("capacity of %d bytes is over the limit of %d", n, fleet.MaxMetadata))
	}
	w, err := s.Ledger.SetWorker(ctx, func(row *table.Worker) {
		row.Addresses, row.Capacity, row.State = addresses, req.GetCapacity(), table.WorkerActive
		if req.GetDraining() {
			row.State = table.WorkerDraining
		}
	})
	if err != nil {
		return nil, code(err)
	}
	return &regionv1.SetWorkerResponse{Written: written(w)}, nil
}

// list gathers machines, checked one by one and bounded.
type list struct {
	self       fleet.Worker
	max, bytes int // limits
	used       int
	items      []machine.Input
}

func newList(self fleet.Worker, count, bytes int) *list {
	return &list{self: self, max: count, bytes: bytes}
}

// add takes the next machine. An error names its place.
func (l *list) add(m *regionv1.Machine) error {
	at := len(l.items) + 1
	switch {
	case m == nil:
		return invalid("machine %d: it is missing", at)
	case at > l.max:
		return invalid("machine %d: the list is over the limit of %d machines", at, l.max)
	case l.used+proto.Size(m) > l.bytes:
		return invalid("machine %d: the list is over the limit of %d bytes", at, l.bytes)
	}
	in, err := machine.Check(l.self, m)
	if err != nil {
		return &invalidError{fmt.Errorf("machine %d: %w", at, err)}
	}
	l.used += proto.Size(m)
	l.items = append(l.items, in)
	return nil
}

func written(w ledger.Written) *regionv1.Written {
	out := &regionv1.Written{Changed: w.Changed, Unchanged: w.Unchanged, DelayedMs: w.Delayed.Milliseconds()}
	for _, p := range w.Points {
		out.Points = append(out.Points, PointProto(p))
	}
	for _, p := range w.Standing {
		out.Standing = append(out.Standing, PointProto(p))
	}
	return out
}

func texts(ids []fleet.MachineID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}
