package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/record"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// maxBatch bounds the machines of one call: well below the cap of a changeset.
const maxBatch = record.MaxRecords / 2

// layers sorts steps into groups, each with one step of a machine at most, so
// that a machine's steps lie in their order in successive groups.
func layers(steps []step) [][]step {
	var out [][]step
	next := map[fleet.MachineID]int{}
	for _, s := range steps {
		i := next[s.ID]
		next[s.ID] = i + 1
		if i == len(out) {
			out = append(out, nil)
		}
		out[i] = append(out[i], s)
	}
	return out
}

// tell passes steps on. What fails is made good by the reconcile that follows.
func (d *Daemon) tell(ctx context.Context, steps []step) error {
	for _, layer := range layers(steps) {
		var published, checked []step
		ended := map[regionv1.EndWhy][]step{}
		for _, s := range layer {
			switch {
			case s.Health != regionv1.HealthStatus_HEALTH_STATUS_UNSPECIFIED:
				checked = append(checked, s)
			case !s.Gone:
				published = append(published, s)
			case s.Destroyed:
				ended[regionv1.EndWhy_END_WHY_DESTROYED] = append(ended[regionv1.EndWhy_END_WHY_DESTROYED], s)
			default:
				ended[regionv1.EndWhy_END_WHY_WITHDRAWN] = append(ended[regionv1.EndWhy_END_WHY_WITHDRAWN], s)
			}
		}
		if err := inBatches(published, func(part []step) error { return d.publish(ctx, part) }); err != nil {
			return err
		}
		if err := inBatches(checked, func(part []step) error { return d.setHealth(ctx, part) }); err != nil {
			return err
		}
		for _, why := range []regionv1.EndWhy{regionv1.EndWhy_END_WHY_WITHDRAWN, regionv1.EndWhy_END_WHY_DESTROYED} {
			if err := inBatches(ended[why], func(part []step) error { return d.withdraw(ctx, part, why) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func inBatches(steps []step, do func([]step) error) error {
	for len(steps) > 0 {
		n := min(len(steps), maxBatch)
		if err := do(steps[:n]); err != nil {
			return err
		}
		steps = steps[n:]
	}
	return nil
}

func (d *Daemon) publish(ctx context.Context, steps []step) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req := &regionv1.PublishRequest{}
	now := time.Now()
	for _, s := range steps {
		d.cfg.Tracker.Begin(s.write, now)
		req.Machines = append(req.Machines, machine(s.write.Machine, d.cfg.Host.Start(s.ID, s.App), s.write.Number))
	}
	if _, err := d.cfg.Client.Publish(ctx, req); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	now = time.Now()
	for _, s := range steps {
		d.cfg.Tracker.Acked(s.write, now)
		d.cfg.Host.Told(s.ID)
	}
	return nil
}

func (d *Daemon) setHealth(ctx context.Context, steps []step) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req := &regionv1.SetHealthRequest{}
	for _, s := range steps {
		d.cfg.Host.SetFailing(s.ID, s.Health == regionv1.HealthStatus_HEALTH_STATUS_FAILING)
		req.Health = append(req.Health, &regionv1.Health{Id: string(s.ID), Status: s.Health})
	}
	if _, err := d.cfg.Client.SetHealth(ctx, req); err != nil {
		return fmt.Errorf("set health: %w", err)
	}
	for _, s := range steps {
		d.cfg.Host.Told(s.ID)
	}
	return nil
}

func (d *Daemon) withdraw(ctx context.Context, steps []step, why regionv1.EndWhy) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req := &regionv1.WithdrawRequest{Why: why}
	for _, s := range steps {
		d.cfg.Tracker.Ended(d.cfg.Place, s.ID, s.app, s.last)
		req.Ids = append(req.Ids, string(s.ID))
	}
	answer, err := d.cfg.Client.Withdraw(ctx, req)
	for _, s := range steps {
		d.cfg.Host.Stop(s.ID)
	}
	if err != nil {
		return fmt.Errorf("withdraw: %w", err)
	}
	if len(answer.Unknown) > 0 {
		return fmt.Errorf("withdraw: %w: %d, the first is %q", errUnknown, len(answer.Unknown), answer.Unknown[0])
	}
	for _, s := range steps {
		d.cfg.Host.Told(s.ID)
	}
	return nil
}

// reconcile sends the full list. A dev's daemon knows what it wants: it allows
// any shrinking.
func (d *Daemon) reconcile(ctx context.Context, list []listed) error {
	running := d.startAll(list)
	err := d.sendList(ctx, list, running)
	d.stopOthers(list)
	if err != nil {
		return fmt.Errorf("reconcile: %w", err)
	}
	d.cfg.Host.ToldAll()
	return nil
}

func (d *Daemon) sendList(ctx context.Context, list []listed, running []netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	d.told.Add(int64(len(list)))
	stream, err := d.cfg.Client.Reconcile(ctx)
	if err != nil {
		return err
	}
	options := &regionv1.ReconcileRequest{Part: &regionv1.ReconcileRequest_Options{Options: &regionv1.ReconcileOptions{AllowShrink: true}}}
	if err = stream.Send(options); err == nil {
		for i, l := range list {
			m := machine(l.Machine, running[i], d.cfg.Numbers.Add(1))
			m.Health = l.health
			if err = stream.Send(&regionv1.ReconcileRequest{Part: &regionv1.ReconcileRequest_Machine{Machine: m}}); err != nil {
				break // the stream's own error is in CloseAndRecv
			}
		}
	}
	_, err = stream.CloseAndRecv()
	return err
}

// startAll runs what is in the list, and returns where each of it answers.
func (d *Daemon) startAll(list []listed) []netip.AddrPort {
	out := make([]netip.AddrPort, len(list))
	for i, l := range list {
		out[i] = d.cfg.Host.Start(l.ID, l.App)
		d.cfg.Host.SetFailing(l.ID, l.Failing)
	}
	return out
}

// stopOthers stops what runs and is not in the list.
func (d *Daemon) stopOthers(list []listed) {
	wanted := map[fleet.MachineID]bool{}
	for _, l := range list {
		wanted[l.ID] = true
	}
	for _, id := range d.cfg.Host.Running() {
		if !wanted[id] {
			d.cfg.Host.Stop(id)
		}
	}
}

// machine is what a daemon says of a machine.
func machine(m truth.Machine, at netip.AddrPort, number uint64) *regionv1.Machine {
	return &regionv1.Machine{
		Id: string(m.ID), App: string(m.App),
		State:     regionv1.MachineState_MACHINE_STATE_STARTED,
		Services:  []*regionv1.Service{{Name: "http", Port: uint32(at.Port()), Protocol: "tcp"}},
		Addresses: []string{at.Addr().String()},
		Image:     "registry.example/" + string(m.App) + ":1",
		Metadata:  Metadata(number),
	}
}
