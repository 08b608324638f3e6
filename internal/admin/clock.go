package admin

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/store"
	adminv1 "github.com/firebreak-dev/firebreak/proto/firebreak/admin/v1"
)

// WithClock makes s reset a clock of shared tables. Roles without such tables
// have none.
func (s *Service) WithClock(reset func(context.Context) (store.ClockReset, error)) *Service {
	s.reset = reset
	return s
}

// ResetClock implements the service.
func (s *Service) ResetClock(ctx context.Context, _ *adminv1.ResetClockRequest) (*adminv1.ResetClockResponse, error) {
	if s.reset == nil {
		return nil, status.Error(codes.FailedPrecondition, "a clock reset is for region nodes: no other role has shared tables")
	}
	r, err := s.reset(ctx)
	if err != nil {
		return nil, code(err)
	}
	return &adminv1.ResetClockResponse{
		Boot: r.Writer.Boot, Bits: r.Writer.Bits, VoidAfterUnixMs: r.Above.UnixMilli(), Again: uint64(r.Again),
	}, nil
}
