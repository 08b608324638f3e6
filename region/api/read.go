package api

import (
	"cmp"
	"context"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// The bounds of one message of an answer.
const (
	rowsPerMessage  = 256
	bytesPerMessage = 1 << 20
)

// GetMachine implements the service.
func (s *Server) GetMachine(ctx context.Context, req *regionv1.GetMachineRequest) (*regionv1.GetMachineResponse, error) {
	id := fleet.MachineID(req.GetId())
	if err := id.Check(); err != nil {
		return nil, code(&invalidError{err})
	}
	if err := s.barrier(ctx, req.GetAfter()); err != nil {
		return nil, code(err)
	}
	found, err := s.Reader.Machines(ctx, s.Hub.Siblings(id))
	if err != nil {
		return nil, code(err)
	}
	claims := slices.DeleteFunc(found, func(m *regionv1.Machine) bool { return m == nil })
	slices.SortFunc(claims, func(a, b *regionv1.Machine) int {
		return cmp.Or(cmp.Compare(b.GetEpoch(), a.GetEpoch()), cmp.Compare(b.GetWorker(), a.GetWorker()))
	})
	return &regionv1.GetMachineResponse{Claims: claims}, nil
}

// ListMachines implements the service: in the order of ids, the suspect ones
// last.
func (s *Server) ListMachines(req *regionv1.ListMachinesRequest, stream regionv1.RegionService_ListMachinesServer) error {
	app, worker := fleet.App(req.GetApp()), fleet.Worker(req.GetWorker())
	if app != "" {
		if err := app.Check(); err != nil {
			return code(&invalidError{err})
		}
	}
	if worker != "" {
		if err := worker.Check(); err != nil {
			return code(&invalidError{err})
		}
	}
	ctx := stream.Context()
	if err := s.barrier(ctx, req.GetAfter()); err != nil {
		return code(err)
	}
	keys := s.Hub.Keys(app, worker)
	var suspects []*regionv1.Machine
	for part := range slices.Chunk(keys, rowsPerMessage) {
		found, err := s.Reader.Machines(ctx, part)
		if err != nil {
			return code(err)
		}
		var sure []*regionv1.Machine
		for _, m := range found {
			switch {
			case m == nil, app != "" && m.GetApp() != string(app):
			case m.GetState() == regionv1.MachineState_MACHINE_STATE_ENDED && !req.GetEnded():
			case m.GetSuspect():
				suspects = append(suspects, m)
			default:
				sure = append(sure, m)
			}
		}
		if err := sendMachines(stream, sure); err != nil {
			return err
		}
	}
	return sendMachines(stream, suspects)
}

func sendMachines(stream regionv1.RegionService_ListMachinesServer, list []*regionv1.Machine) error {
	size, from := 0, 0
	for i, m := range list {
		if size += proto.Size(m); size > bytesPerMessage || i-from >= rowsPerMessage {
			if err := stream.Send(&regionv1.ListMachinesResponse{Machines: list[from:i]}); err != nil {
				return err
			}
			size, from = proto.Size(m), i
		}
	}
	if from == len(list) {
		return nil
	}
	return stream.Send(&regionv1.ListMachinesResponse{Machines: list[from:]})
}
