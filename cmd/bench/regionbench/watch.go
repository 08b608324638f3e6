package regionbench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/bench/row"
	"github.com/firebreak-dev/firebreak/cmd/bench/world"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/load"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/bench/stat"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/mesh/quic"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region"
)

const (
	watchedRate = 100  // writes per second that are watched
	busyRate    = 1000 // rows per second beside them
	watchedApps = 100  // that the watches share
)

// watched is a node with watches on its apps.
type watched struct {
	*world.World
	addr    string // of the node
	daemon  regionv1.RegionServiceClient
	clients []regionv1.RegionServiceClient // of the watches
	keyed   bool                           // watches are by key
	apps    int                            // that have watches
	watch   int                            // watches of each

	mu    sync.Mutex // guards what follows
	n     int        // writes so far
	wait  map[string]*waiting
	times []float64 // microseconds
}

// waiting is a write whose events are awaited.
type waiting struct {
	n    int    // of all writes
	id   string // of its machine
	due  time.Time
	left int
	done chan struct{}
}

func watchLatency(ctx context.Context, b *bench.Bencher) error {
	b.Note("latency counts from when the write was due, its commit and its call included; a write is of an app that 1 or 10 watches have")
	b.Pairs(4)
	for _, watches := range []int{1, 1000} {
		if err := watchWith(ctx, b, watches); err != nil {
			return fmt.Errorf("%d watches: %w", watches, err)
		}
	}
	return nil
}

func watchWith(ctx context.Context, b *bench.Bencher, watches int) (err error) {
	dir, err := b.MemoryDir(64 << 20)
	if err != nil {
		return err
	}
	w, err := newWatched(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	w.apps, w.watch = min(watches, watchedApps), max(1, watches/watchedApps)
	for i := range watches {
		if err := w.open(ctx, i); err != nil {
			return fmt.Errorf("watch %d: %w", i, err)
		}
	}
	for _, busy := range []bool{false, true} {
		name := fmt.Sprintf("%d watches, idle", watches)
		do := w.block
		if busy {
			name = fmt.Sprintf("%d watches, %d rows/s", watches, busyRate)
			do = w.busyBlock
		}
		err := b.Compare(ctx, bench.Pair{
			Name: name, Multiple: watchedRate, Most: watchedRate, Subject: bench.Side{Name: "watch", Do: do},
			Measures: []bench.Measure{
				{Name: "p50 from write to event", Unit: "µs", Of: bench.Value("p50"), How: bench.Alone, Target: result.AtMost(2000)},
				{Name: "p99 from write to event", Unit: "µs", Of: bench.Value("p99"), How: bench.Alone, Target: result.AtMost(20_000)},
			},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func newWatched(ctx context.Context, dir string) (_ *watched, err error) {
	base, err := world.New(dir)
	if err != nil {
		return nil, err
	}
	w := &watched{World: base, apps: 1, watch: 1, wait: map[string]*waiting{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, base.Close())
		}
	}()
	source, err := base.Identity(identity.ID{Role: identity.Node, Region: "iad", Name: row.Worker(1)})
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "s")
	n, err := region.New(ctx, region.Config{
		Fleet: world.Fleet, Region: "iad", Node: fleet.Worker(row.Worker(1)), Generation: quic.Generation{Number: 1, Bits: 7},
		Data: filepath.Join(dir, "node"), Identity: source, Gossip: "127.0.0.1:0", GRPC: "127.0.0.1:0", Socket: socket, Durability: sqlite.OS,
	})
	if err != nil {
		return nil, err
	}
	base.Go(n.Run)
	conn, err := rpc.DialSocket(socket)
	if err != nil {
		return nil, err
	}
	base.Until(conn.Close)
	w.daemon = regionv1.NewRegionServiceClient(conn)
	if err := world.Await(ctx, "the node to answer", func() error {
		_, err := w.daemon.Status(ctx, &regionv1.StatusRequest{})
		return err
	}); err != nil {
		return nil, err
	}
	w.addr = n.Addresses().GRPC
	return w, nil
}

// perConnection is how many watches share a connection.
const perConnection = 250

// open starts a watch of one app and returns once it is synced.
func (w *watched) open(ctx context.Context, i int) error {
	if i%perConnection == 0 {
		conn, err := w.Dial(w.addr, identity.ID{Role: identity.Client, Name: "edge"}, identity.InRegion(world.Fleet, "iad", identity.Node))
		if err != nil {
			return err
		}
		w.clients = append(w.clients, regionv1.NewRegionServiceClient(conn))
	}
	stop, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w.Until(func() error { cancel(); return nil })
	stream, err := w.clients[len(w.clients)-1].Watch(stop)
	if err != nil {
		return err
	}
	for _, req := range []*regionv1.WatchRequest{
		{Part: &regionv1.WatchRequest_Hello{Hello: &regionv1.WatchHello{Client: fmt.Sprint("bench-", i)}}},
		{Part: &regionv1.WatchRequest_Add{Add: &regionv1.WatchInterest{Id: 1, What: &regionv1.WatchInterest_App{App: watchedApp(i)}}}},
	} {
		if err := stream.Send(req); err != nil {
			return err
		}
	}
	for {
		ev, err := stream.Recv()
		if err != nil {
			return err
		}
		if ev.GetSynced() != nil {
			break
		}
	}
	go w.follow(stream)
	return nil
}

func watchedApp(i int) string { return fmt.Sprintf("watched-%02d", i%watchedApps) }

// ackEvery is after how many events a watch acknowledges.
const ackEvery = 64

// follow notes when events come, until its stream ends.
func (w *watched) follow(stream regionv1.RegionService_WatchClient) {
	for n := 1; ; n++ {
		ev, err := stream.Recv()
		if err != nil {
			return // closed; a write whose event does not come fails the block
		}
		if n%ackEvery == 0 && len(ev.GetPosition()) > 0 {
			ack := &regionv1.WatchRequest_Ack{Ack: &regionv1.WatchAck{Interest: ev.GetInterest(), Position: ev.GetPosition()}}
			if stream.Send(&regionv1.WatchRequest{Part: ack}) != nil {
				return
			}
		}
		if m := ev.GetMachine(); m != nil {
			w.seen(m.GetImage(), time.Now())
		}
		if v := ev.GetRow().GetRow().GetValues(); len(v) > imageColumn {
			w.seen(string(v[imageColumn].GetText()), time.Now())
		}
	}
}

// imageColumn is the place of the image in a row of machines.
const imageColumn = 7

func (w *watched) seen(image string, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.wait[image]
	if x == nil {
		return
	}
	w.arrived(image, x, now)
	if !w.keyed {
		return
	}
	// Few keys change often: a watch that is late skips what was overtaken.
	for i, y := range w.wait {
		if y.id == x.id && y.n < x.n {
			w.arrived(i, y, now)
		}
	}
}

// arrived is called with mu held.
func (w *watched) arrived(image string, x *waiting, now time.Time) {
	w.times = append(w.times, float64(now.Sub(x.due).Nanoseconds())/1e3)
	if x.left--; x.left == 0 {
		delete(w.wait, image)
		close(x.done)
	}
}

// write publishes one machine of a watched app, and waits for its events.
func (w *watched) write(ctx context.Context, due time.Time) error {
	w.mu.Lock()
	w.n++
	n := w.n
	image := fmt.Sprint("image-", n)
	id, app := fmt.Sprint("m", n%100), watchedApp(n%w.apps)
	if w.keyed {
		id, app = keyID(n%fewKeys), keyApp
	}
	x := &waiting{n: n, id: id, due: due, left: w.watch, done: make(chan struct{})}
	w.wait[image] = x
	w.mu.Unlock()
	if err := w.publish(ctx, id, app, image); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	select {
	case <-x.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("event of %s did not come: %w", image, ctx.Err())
	}
}

func (w *watched) publish(ctx context.Context, id, app, image string) error {
	resp, err := w.daemon.Publish(ctx, &regionv1.PublishRequest{Machines: []*regionv1.Machine{{
		Id: id + "-" + app, App: app, State: regionv1.MachineState_MACHINE_STATE_STARTED, Addresses: []string{"192.0.2.1"}, Image: image,
	}}})
	if err == nil && resp.GetWritten().GetChanged() != 1 {
		err = errors.New("a machine that changed made no record")
	}
	return err
}

func (w *watched) block(ctx context.Context, ops int) (bench.Values, error) {
	r, err := load.Run(ctx, load.Config{Rate: watchedRate, Count: uint64(ops)}, func(ctx context.Context, _ uint64, due time.Time) error { return w.write(ctx, due) })
	if err == nil {
		err = r.First
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	times := w.times
	w.times = nil
	if err == nil && len(times) != ops*w.watch {
		err = fmt.Errorf("%d events for %d writes, want %d each", len(times), ops, w.watch)
	}
	return bench.Values{"p50": stat.Quantile(times, 0.5), "p99": stat.Quantile(times, 0.99)}, err
}

// busyBlock is block beside other writes, of apps that nobody watches. They
// may be late: the machine may be slower than their rate.
func (w *watched) busyBlock(ctx context.Context, ops int) (bench.Values, error) {
	beside, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := load.Run(beside, load.Config{Rate: busyRate}, func(ctx context.Context, i uint64, _ time.Time) error {
			w.mu.Lock()
			w.n++
			n := w.n
			w.mu.Unlock()
			return w.publish(ctx, fmt.Sprint("m", i%500), "other", fmt.Sprint("other-", n))
		})
		ended <- err
	}()
	v, err := w.block(ctx, ops)
	cancel()
	return v, errors.Join(err, <-ended)
}
