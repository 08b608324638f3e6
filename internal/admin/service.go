package admin

import (
	"context"
	"os"
	"time"

	"github.com/firebreak-dev/firebreak/internal/control"
	"github.com/firebreak-dev/firebreak/internal/store"
	adminv1 "github.com/firebreak-dev/firebreak/proto/firebreak/admin/v1"
)

// Info says what a process is.
type Info struct {
	Version, Role, Fleet, Cluster, Node string
	Started                             time.Time
}

// Service is AdminService, equal in every role. Safe for concurrent use.
type Service struct {
	adminv1.UnimplementedAdminServiceServer

	info    Info
	control *control.Control
	lanes   func() []Lane
	reset   func(context.Context) (store.ClockReset, error) // nil without a clock of shared tables
}

// NewService returns the service of a process with these switches.
func NewService(info Info, switches *control.Control) *Service {
	return &Service{info: info, control: switches, lanes: func() []Lane { return nil }}
}

// Info says what this process is.
func (s *Service) Info(context.Context, *adminv1.InfoRequest) (*adminv1.InfoResponse, error) {
	return &adminv1.InfoResponse{
		Version: s.info.Version, Role: s.info.Role, Fleet: s.info.Fleet, Cluster: s.info.Cluster, Node: s.info.Node,
		StartedUnixMs: s.info.Started.UnixMilli(), Pid: int64(os.Getpid()),
	}, nil
}

// Switches returns the switches that are in force, and why the last change of
// their file is not, if it is not.
func (s *Service) Switches(context.Context, *adminv1.SwitchesRequest) (*adminv1.SwitchesResponse, error) {
	st := s.control.State()
	return &adminv1.SwitchesResponse{FreezeEgress: st.FreezeEgress, DenyNode: st.Switches.DenyNode, Source: st.Source, Error: st.Error}, nil
}
