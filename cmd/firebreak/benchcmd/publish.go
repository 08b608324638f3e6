package benchcmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// machinesEach is how many machines a node has at most: then they are written
// again, with new values.
const machinesEach = 200

// publisher writes machines on region nodes in turn.
type publisher struct {
	nodes places
	app   string
	run   string // tells this run's machines from another's

	mu      sync.Mutex // guards written
	written map[place]map[string]bool
}

func openPublish(_ context.Context, f *flags) (operations, error) {
	p, err := newPublisher(f)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func newPublisher(f *flags) (*publisher, error) {
	nodes, err := f.target.dial("region")
	if err != nil {
		return nil, err
	}
	return &publisher{nodes: nodes, app: f.app, run: fmt.Sprintf("bench-%d-%d", os.Getpid(), time.Now().UnixMilli()), written: map[place]map[string]bool{}}, nil
}

func (p *publisher) do(ctx context.Context, i uint64, _ time.Time) error {
	_, err := p.publish(ctx, i)
	return err
}

// publish writes one machine and returns its value, which no other has.
func (p *publisher) publish(ctx context.Context, i uint64) (image string, err error) {
	n := p.nodes.turn(i)
	id := fmt.Sprintf("%s-%d", p.run, i/uint64(len(p.nodes))%machinesEach)
	image = fmt.Sprintf("%s@%d", p.run, i)
	p.mu.Lock()
	if p.written[n] == nil {
		p.written[n] = map[string]bool{}
	}
	p.written[n][id] = true
	p.mu.Unlock()
	resp, err := regionv1.NewRegionServiceClient(n.conn).Publish(ctx, &regionv1.PublishRequest{Machines: []*regionv1.Machine{{
		Id: id, App: p.app, State: regionv1.MachineState_MACHINE_STATE_STARTED, Addresses: []string{"192.0.2.1"}, Image: image,
	}}})
	if err == nil && resp.GetWritten().GetChanged() != 1 {
		err = fmt.Errorf("%d rows changed, want 1", resp.GetWritten().GetChanged())
	}
	return image, at(n, err)
}

// close withdraws every machine of this run.
func (p *publisher) close(ctx context.Context) error {
	p.mu.Lock()
	written := p.written
	p.written = map[place]map[string]bool{}
	p.mu.Unlock()
	var errs []error
	for n, ids := range written {
		var list []string
		for id := range ids {
			list = append(list, id)
		}
		slices.Sort(list)
		_, err := regionv1.NewRegionServiceClient(n.conn).Withdraw(ctx, &regionv1.WithdrawRequest{Ids: list, Why: regionv1.EndWhy_END_WHY_DESTROYED})
		errs = append(errs, at(n, err))
	}
	return errors.Join(append(errs, p.nodes.close())...)
}
