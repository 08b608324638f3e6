package machine

import (
	"fmt"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region/table"
)

// Facts are what, beside the rows of its id, is known of one machine.
type Facts struct {
	Health      table.HealthRow // zero for none
	Draining    bool
	Suspect     bool // its node is dead or restarting
	Unconfirmed bool
}

// Answer is what readers are told of a row, given the verdict on it.
func Answer(m table.Machine, v claim.Verdict, f Facts) *regionv1.Machine {
	why := claim.WhyNot(v, claim.Facts{Health: f.Health.Status, Draining: f.Draining, Addresses: m.Addresses})
	out := &regionv1.Machine{
		Worker: string(m.Worker), Id: string(m.ID), App: string(m.App),
		State: stateProto(m.State), Why: whyProto(m.Why),
		Addresses: m.Addresses, Image: m.Image, Resources: m.Resources, Metadata: m.Metadata,
		Epoch: m.Epoch, Grant: m.Grant, MovedTo: m.MovedTo,
		Health: healthProto(f.Health.Status), HealthSinceUnixMs: f.Health.Since,
		Current: v.Current, Routable: len(why) == 0, WhyNot: why,
		Suspect: f.Suspect && m.State != claim.Ended, Contested: v.Contested, Unconfirmed: f.Unconfirmed,
	}
	for _, s := range m.Services {
		out.Services = append(out.Services, &regionv1.Service{Name: s.Name, Port: s.Port, Protocol: s.Protocol})
	}
	return out
}

func stateProto(s claim.State) regionv1.MachineState {
	switch s {
	case claim.Starting:
		return regionv1.MachineState_MACHINE_STATE_STARTING
	case claim.Started:
		return regionv1.MachineState_MACHINE_STATE_STARTED
	case claim.Stopping:
		return regionv1.MachineState_MACHINE_STATE_STOPPING
	case claim.Moved:
		return regionv1.MachineState_MACHINE_STATE_MOVED
	case claim.Ended:
		return regionv1.MachineState_MACHINE_STATE_ENDED
	}
	return regionv1.MachineState_MACHINE_STATE_UNSPECIFIED
}

func whyProto(w claim.Why) regionv1.EndWhy {
	switch w {
	case claim.Withdrawn:
		return regionv1.EndWhy_END_WHY_WITHDRAWN
	case claim.Destroyed:
		return regionv1.EndWhy_END_WHY_DESTROYED
	case claim.Failed:
		return regionv1.EndWhy_END_WHY_FAILED
	case claim.WhyMoved:
		return regionv1.EndWhy_END_WHY_MOVED
	case claim.Yielded:
		return regionv1.EndWhy_END_WHY_YIELDED
	}
	return regionv1.EndWhy_END_WHY_UNSPECIFIED
}

func healthProto(h claim.Health) regionv1.HealthStatus {
	switch h {
	case claim.Passing:
		return regionv1.HealthStatus_HEALTH_STATUS_PASSING
	case claim.Warning:
		return regionv1.HealthStatus_HEALTH_STATUS_WARNING
	case claim.Failing:
		return regionv1.HealthStatus_HEALTH_STATUS_FAILING
	}
	return regionv1.HealthStatus_HEALTH_STATUS_UNSPECIFIED
}

func healthOf(h regionv1.HealthStatus) (claim.Health, error) {
	switch h {
	case regionv1.HealthStatus_HEALTH_STATUS_UNSPECIFIED:
		return 0, nil
	case regionv1.HealthStatus_HEALTH_STATUS_PASSING:
		return claim.Passing, nil
	case regionv1.HealthStatus_HEALTH_STATUS_WARNING:
		return claim.Warning, nil
	case regionv1.HealthStatus_HEALTH_STATUS_FAILING:
		return claim.Failing, nil
	}
	return 0, fmt.Errorf("health %v is unknown: want passing, warning or failing", h)
}

// CheckHealth reads one entry of a health report.
func CheckHealth(p *regionv1.Health) (table.HealthRow, error) {
	h := table.HealthRow{ID: fleet.MachineID(p.GetId())}
	if err := h.ID.Check(); err != nil {
		return h, err
	}
	var err error
	if h.Status, err = healthOf(p.GetStatus()); err != nil {
		return h, fmt.Errorf("machine %q: %w", h.ID, err)
	}
	return h, nil
}

// CheckWhy reads the reason of a withdrawal: withdrawn unless said otherwise.
func CheckWhy(w regionv1.EndWhy) (claim.Why, error) {
	switch w {
	case regionv1.EndWhy_END_WHY_UNSPECIFIED, regionv1.EndWhy_END_WHY_WITHDRAWN:
		return claim.Withdrawn, nil
	case regionv1.EndWhy_END_WHY_DESTROYED:
		return claim.Destroyed, nil
	case regionv1.EndWhy_END_WHY_FAILED:
		return claim.Failed, nil
	}
	return 0, fmt.Errorf("why %v is not given by a withdrawal: want withdrawn, destroyed or failed", w)
}
