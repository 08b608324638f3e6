package fleetbench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/bench/world"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/survey"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/load"
	"github.com/firebreak-dev/firebreak/internal/bench/machine"
	"github.com/firebreak-dev/firebreak/internal/bench/stat"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

const (
	raceApp  = "bench"
	raceFrom = 200                    // updates per second to begin with
	raceTop  = 12_800                 // where the search ends
	raceFor  = 2 * time.Second        // of every rate
	raceLag  = 250 * time.Millisecond // at p99 and beyond, a rate is not held
	raceRows = 5000                   // machines of each node: none is written twice within what is held
)

// race is a region of processes that are written to in turn. One node, the
// last, is watched.
type race struct {
	f       *federation.Federation
	nodes   []federation.Node
	daemons []regionv1.RegionServiceClient
	stop    func() // ends the watch and waits for it
	rows    int    // machines there are

	mu   sync.Mutex // guards what follows
	n    int        // writes so far
	wait map[string]time.Time
	lags []float64 // seconds
}

func newRace(ctx context.Context, f *federation.Federation) (*race, error) {
	r := &race{f: f, nodes: f.Plan().Of(federation.Region), wait: map[string]time.Time{}}
	for _, n := range r.nodes {
		c, err := f.DaemonClient(n)
		if err != nil {
			return nil, err
		}
		r.daemons = append(r.daemons, c)
	}
	watch, cancel := context.WithCancel(ctx)
	stream, err := r.daemons[len(r.daemons)-1].Watch(watch)
	if err == nil {
		err = r.sync(stream)
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("watch: %w", err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); r.follow(stream) }()
	r.stop = func() { cancel(); <-ended }
	return r, nil
}

func (r *race) close() { r.stop() }

// sync asks for the app, and waits until the watch has what there is.
func (r *race) sync(stream regionv1.RegionService_WatchClient) error {
	for _, req := range []*regionv1.WatchRequest{
		{Part: &regionv1.WatchRequest_Hello{Hello: &regionv1.WatchHello{Client: "bench"}}},
		{Part: &regionv1.WatchRequest_Add{Add: &regionv1.WatchInterest{Id: 1, What: &regionv1.WatchInterest_App{App: raceApp}}}},
	} {
		if err := stream.Send(req); err != nil {
			return err
		}
	}
	for {
		ev, err := stream.Recv()
		if err != nil || ev.GetSynced() != nil {
			return err
		}
	}
}

// ackEvery is after how many events the watch acknowledges.
const ackEvery = 64

// follow notes when writes are seen, until the watch ends: one that ended by
// itself leaves writes unseen, and that is an error of who waits for them.
func (r *race) follow(stream regionv1.RegionService_WatchClient) {
	for n := 1; ; n++ {
		ev, err := stream.Recv()
		if err != nil {
			return
		}
		if n%ackEvery == 0 && len(ev.GetPosition()) > 0 {
			ack := &regionv1.WatchRequest_Ack{Ack: &regionv1.WatchAck{Interest: ev.GetInterest(), Position: ev.GetPosition()}}
			if stream.Send(&regionv1.WatchRequest{Part: ack}) != nil {
				return
			}
		}
		if m := ev.GetMachine(); m != nil {
			now := time.Now()
			r.mu.Lock()
			if due, ok := r.wait[m.GetImage()]; ok {
				delete(r.wait, m.GetImage())
				r.lags = append(r.lags, now.Sub(due).Seconds())
			}
			r.mu.Unlock()
		}
	}
}

// machineOf is one of a node's, unlike every one before it, of about 194 bytes.
func (r *race) machineOf(id int) *regionv1.Machine {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	return &regionv1.Machine{
		Id: fmt.Sprintf("m%07d", id), App: raceApp, State: regionv1.MachineState_MACHINE_STATE_STARTED, Addresses: []string{"192.0.2.1"},
		Image: fmt.Sprintf("registry/app-%05d@%012x", r.n%50_000, r.n), Metadata: fmt.Sprintf(`{"release":%d,"note":%q}`, r.n, strings.Repeat("x", 60)),
	}
}

// write publishes one machine. If it is not the watched node's own, it is
// awaited there.
func (r *race) write(ctx context.Context, i uint64, due time.Time) error {
	at := int(i % uint64(len(r.daemons)))
	m := r.machineOf(int(i/uint64(len(r.daemons))) % raceRows)
	if at < len(r.daemons)-1 {
		r.mu.Lock()
		r.wait[m.GetImage()] = due
		r.mu.Unlock()
	}
	resp, err := r.daemons[at].Publish(ctx, &regionv1.PublishRequest{Machines: []*regionv1.Machine{m}})
	if err == nil && resp.GetWritten().GetChanged() != 1 {
		err = errors.New("a machine that changed made no record")
	}
	return err
}

// lag offers a rate, and gives the p99 of the ways from when a write was due
// until it was seen. What is not seen in time makes it as long as that time.
func (r *race) lag(ctx context.Context, rate float64) (p99 float64, sent uint64, err error) {
	o, err := r.offer(ctx, rate, raceFor)
	if err != nil {
		return 0, 0, err
	}
	if float64(o.missed) > 0.01*float64(o.sent) { // it could not even be offered
		return raceFor.Seconds(), o.sent, nil
	}
	return stat.Quantile(o.lags, 0.99), o.sent, nil
}

// offered is what became of writes at a rate.
type offered struct {
	due    uint64
	sent   uint64    // of them, those that were begun
	missed uint64    // were not even begun, or not seen in time
	lags   []float64 // seconds from when a write was due until it was seen
}

// offer writes at a rate for some time, and waits for what the watched node
// has yet to see.
func (r *race) offer(ctx context.Context, rate float64, d time.Duration) (o offered, err error) {
	report, err := load.Run(ctx, load.Config{Rate: rate, Duration: d, Workers: 256}, r.write)
	if err == nil {
		err = report.First
	}
	if err != nil {
		return o, err
	}
	r.rows = max(r.rows, min(int(report.Sent), raceRows*len(r.nodes)))
	o.due, o.sent, o.missed = report.Sent+report.Unsent, report.Sent, report.Unsent
	err = world.Await(ctx, "the last writes to be seen", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if n := len(r.wait); n > 0 && len(r.lags) == 0 {
			return fmt.Errorf("none of %d was seen", n)
		}
		for _, due := range r.wait {
			if time.Since(due) < raceFor+raceLag {
				return errors.New("some may still be on their way")
			}
		}
		o.missed += uint64(len(r.wait))
		clear(r.wait)
		o.lags, r.lags = r.lags, nil
		return nil
	})
	return o, err
}

// highest is the last rate that was held, to a quarter of it; zero if not even
// a quarter of the first one was.
func (r *race) highest(ctx context.Context, b *bench.Bencher) (float64, error) {
	held, step, doubling := 0.0, float64(raceFrom), true
	for rate := step; rate <= raceTop && step >= max(held, raceFrom)/4; {
		p99, _, err := r.lag(ctx, rate)
		if err != nil {
			return 0, err
		}
		b.Say("%d nodes, %.0f updates/s: p99 lag %.1f ms", len(r.nodes), rate, 1000*p99)
		good := p99 < raceLag.Seconds()
		if good {
			held = rate
		}
		if doubling = doubling && good; doubling {
			step = rate
		} else {
			step /= 2
		}
		rate = held + step
	}
	return held, nil
}

// usage is what one update takes on one node.
type usage struct{ cpu, bytes float64 }

// usage offers a rate, and says what the processes have used per update and node.
func (r *race) usage(ctx context.Context, rate float64) (usage, error) {
	cpu, err := r.cpu()
	if err != nil {
		return usage{}, err
	}
	bytes := r.bytes(ctx)
	_, sent, err := r.lag(ctx, rate)
	if err != nil {
		return usage{}, err
	}
	after, err := r.cpu()
	each := float64(sent) * float64(len(r.nodes))
	return usage{float64((after - cpu).Microseconds()) / each, (r.bytes(ctx) - bytes) / each}, err
}

// cpu is what all processes have used so far.
func (r *race) cpu() (total time.Duration, err error) {
	for _, pid := range r.f.PIDs() {
		used, err := machine.CPUOf(pid)
		if err != nil {
			return 0, err
		}
		total += used
	}
	return total, nil
}

// bytes is what nodes have sent to each other so far.
func (r *race) bytes(ctx context.Context) (total float64) {
	for _, n := range survey.Ask(ctx, r.f).Bytes {
		total += float64(n)
	}
	return total
}

// store has the first node publish machines, and waits until the watched one
// has them.
func (r *race) store(ctx context.Context, rows int) error {
	const each = 500
	for from := 0; from < rows; from += each {
		req := &regionv1.PublishRequest{}
		for id := range each {
			req.Machines = append(req.Machines, r.machineOf(raceRows+from+id))
		}
		last := req.Machines[each-1].GetImage()
		r.mu.Lock()
		r.wait[last] = time.Now()
		r.mu.Unlock()
		if _, err := r.daemons[0].Publish(ctx, req); err != nil {
			return fmt.Errorf("publish %d machines: %w", each, err)
		}
		err := world.Await(ctx, "the rows to be on the last node", func() error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if _, ok := r.wait[last]; ok {
				return errors.New("they are not there")
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	r.rows += rows
	return nil
}
