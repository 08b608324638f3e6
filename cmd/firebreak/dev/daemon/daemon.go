// Package daemon stands for the daemons on the hosts of a federation. Each
// knows what its worker runs, tells its node over the unix socket, and after
// any failure reconciles: it sends the full list, which is right whatever its
// node has missed. A machine runs before its node hears of it, and is stopped
// once the node has heard, or could not be told, that it is over.
//
// Changes of one machine reach the node in their order. Changes of different
// machines that are waiting travel together.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/propagation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// Change is one thing that happens on a worker.
type Change struct {
	ID        fleet.MachineID
	App       fleet.App // of a publish
	Gone      bool      // the machine is over, else it is published
	Destroyed bool      // over for good
	Health    Health    // what its checks say now, of a machine that goes on; else unspecified
}

// Health is what a machine's checks say.
type Health = regionv1.HealthStatus

// Host runs the worker's machines.
type Host interface {
	// Start runs a machine, or goes on with it, and returns where it answers.
	Start(id fleet.MachineID, app fleet.App) netip.AddrPort
	Stop(id fleet.MachineID)
	SetFailing(id fleet.MachineID, failing bool)
	Running() []fleet.MachineID
	// Told and ToldAll say that the node has acknowledged what machines are now.
	Told(ids ...fleet.MachineID)
	ToldAll()
}

// Bounds.
const (
	maxWaiting  = 10_000           // changes; an Offer beyond waits
	callTimeout = 20 * time.Second // of one call to the node
)

// Config of a Daemon.
type Config struct {
	Place    truth.Place
	Client   regionv1.RegionServiceClient // of the worker's own node
	Host     Host
	Truth    *truth.Model
	Tracker  *propagation.Tracker
	Numbers  *atomic.Uint64 // numbers the writes of all daemons
	Progress func(line string)
	Seed     uint64 // of the pauses between attempts
}

// Daemon is one worker's daemon.
type Daemon struct {
	// Set by New, then constant.
	cfg Config

	told atomic.Int64

	mu      sync.Mutex
	waiting []step
	health  map[fleet.MachineID]Health // of machines whose checks have said anything
	held    bool                       // changes wait to happen
	again   bool                       // the node has restarted: it wants the full list
	busy    bool                       // steps are in the node's hands, or it has to reconcile
	failing error                      // why the last call failed; nil after a good one
	changed chan struct{}              // closed and replaced at every change of the above
}

// step is a change with what the model said of it when it was offered.
type step struct {
	Change
	write propagation.Write // of a publish
	last  bool              // of an end: its app left the region
	app   fleet.App
}

// listed is a machine of the full list.
type listed struct {
	truth.Machine
	health Health
}

// New makes a daemon. Run starts it.
func New(cfg Config) *Daemon {
	return &Daemon{cfg: cfg, busy: true, health: map[fleet.MachineID]Health{}, changed: make(chan struct{})}
}

// Offer makes changes happen: they are true from now on, and the node is told
// in their order. It waits while too many are waiting, and while they are held.
func (d *Daemon) Offer(ctx context.Context, changes ...Change) error {
	for {
		d.mu.Lock()
		if len(d.waiting) < maxWaiting && !d.held {
			for _, c := range changes {
				if s, ok := d.happen(c); ok {
					d.waiting = append(d.waiting, s)
				}
			}
			d.signal()
			d.mu.Unlock()
			return nil
		}
		changed := d.changed
		d.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// happen writes c into the truth. Called with mu held, so that the order of
// the truth is that of the steps; the model's lock is taken inside, and never
// the other way round. The node need not hear of the health or the end of a
// machine that is over: ok is then false.
func (d *Daemon) happen(c Change) (s step, ok bool) {
	s = step{Change: c, app: c.App}
	switch {
	case c.Gone:
		d.told.Add(1)
		delete(d.health, c.ID)
		s.app, s.last = d.cfg.Truth.End(d.cfg.Place, c.ID)
		return s, s.app != ""
	case c.Health != regionv1.HealthStatus_HEALTH_STATUS_UNSPECIFIED:
		return s, d.check(c.ID, c.Health)
	}
	d.told.Add(1)
	m := truth.Machine{Place: d.cfg.Place, ID: c.ID, App: c.App}
	isNew, first := d.cfg.Truth.Put(m)
	s.write = propagation.Write{Number: d.cfg.Numbers.Add(1), Machine: m, New: isNew, First: first}
	return s, true
}

// check notes what a machine's checks say, if it runs.
func (d *Daemon) check(id fleet.MachineID, h Health) bool {
	failing := h == regionv1.HealthStatus_HEALTH_STATUS_FAILING
	if !d.cfg.Truth.SetFailing(d.cfg.Place, id, failing) {
		return false
	}
	d.health[id] = h
	return true
}

// signal tells those who wait. Called with mu held.
func (d *Daemon) signal() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// Idle waits until the node has been told everything. The error says why it
// could not be told.
func (d *Daemon) Idle(ctx context.Context) error {
	for {
		d.mu.Lock()
		idle, changed, failing := len(d.waiting) == 0 && !d.busy && !d.again, d.changed, d.failing
		d.mu.Unlock()
		if idle {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if failing != nil {
				return fmt.Errorf("worker %v: %w", d.cfg.Place, failing)
			}
			return fmt.Errorf("worker %v: %w", d.cfg.Place, ctx.Err())
		}
	}
}

// Hold lets no more changes happen, and waits until the node knows of all that
// did: it may be stopped then, and nobody misses anything. Release follows,
// also after an error.
func (d *Daemon) Hold(ctx context.Context) error {
	d.mu.Lock()
	d.held = true
	d.mu.Unlock()
	return d.Idle(ctx)
}

// Release lets changes happen again. The node has restarted: it is told the
// full list, which confirms what it remembers.
func (d *Daemon) Release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held, d.again = false, true
	d.signal()
}

// Told returns how many changes of its rows the node can have been asked for,
// at most.
func (d *Daemon) Told() int64 { return d.told.Load() }

// Waiting returns how many changes the node has not been told yet.
func (d *Daemon) Waiting() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.waiting)
}

// Adopt takes over the machines that the node has in this worker's name. Call
// it before Run, which starts them.
func (d *Daemon) Adopt(ctx context.Context) error {
	stream, err := d.cfg.Client.ListMachines(ctx, &regionv1.ListMachinesRequest{Worker: string(d.cfg.Place.Worker)})
	if err != nil {
		return fmt.Errorf("worker %v: list: %w", d.cfg.Place, err)
	}
	for {
		part, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("worker %v: list: %w", d.cfg.Place, err)
		}
		for _, m := range part.Machines {
			d.adopt(m)
		}
	}
}

func (d *Daemon) adopt(m *regionv1.Machine) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := fleet.MachineID(m.Id)
	d.cfg.Truth.Adopt([]truth.Machine{{Place: d.cfg.Place, ID: id, App: fleet.App(m.App)}})
	if m.Health != regionv1.HealthStatus_HEALTH_STATUS_UNSPECIFIED {
		d.check(id, m.Health)
	}
}

// Run reconciles and then tells the node what happens, until ctx ends.
func (d *Daemon) Run(ctx context.Context) error {
	retry := backoff.New(backoff.Config{Base: 100 * time.Millisecond, Max: 3 * time.Second}, d.cfg.Seed)
	reconcile := true
	for {
		var err error
		if !reconcile {
			d.await(ctx)
		}
		if steps, again := d.take(); reconcile || again {
			err = d.reconcile(ctx, d.takeAll())
		} else {
			err = d.tell(ctx, steps)
		}
		if ctx.Err() != nil {
			return nil
		}
		d.done(err)
		if reconcile = err != nil; !reconcile {
			retry.Reset()
		} else if backoff.Wait(ctx, retry.Next()) != nil {
			return nil
		}
	}
}

// await waits until there is something to tell.
func (d *Daemon) await(ctx context.Context) {
	for {
		d.mu.Lock()
		some, changed := len(d.waiting) > 0 || d.again, d.changed
		d.mu.Unlock()
		if some {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// take takes all steps that wait, and says whether the node wants the full list
// instead.
func (d *Daemon) take() (steps []step, again bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	steps, again = d.waiting, d.again
	d.waiting, d.again, d.busy = nil, false, true
	d.signal()
	return steps, again
}

// takeAll returns the full list of what the worker runs. It takes the place of
// every step that waits: what they say is in it.
func (d *Daemon) takeAll() []listed {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting, d.busy = nil, true
	d.signal()
	var out []listed
	for _, m := range d.cfg.Truth.Snapshot().Of(d.cfg.Place) {
		out = append(out, listed{m, d.health[m.ID]})
	}
	return out
}

func (d *Daemon) done(err error) {
	d.mu.Lock()
	news := (err != nil) != (d.failing != nil)
	d.failing, d.busy = err, err != nil
	d.signal()
	d.mu.Unlock()
	switch {
	case news && err != nil:
		d.cfg.Progress(fmt.Sprintf("worker %v cannot tell its node: %v; it will reconcile", d.cfg.Place, err))
	case news:
		d.cfg.Progress(fmt.Sprintf("worker %v has reconciled", d.cfg.Place))
	}
}

var errUnknown = errors.New("the node does not know machines that it was told of")
