package region

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	"github.com/firebreak-dev/firebreak/region/table"
)

// Run serves until ctx ends, and then drains: readiness goes, streams end, the
// mesh says that this node restarts, and the store is closed last. An error
// means that the process should end.
func (n *Node) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, n.close()) }()
	all, failed := errgroup.WithContext(ctx)
	// The engine outlives the services: what they acknowledged is still sent.
	engine, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	defer stopEngine()
	n.mesh.Leave(mesh.Restarting)
	for name, loop := range map[string]func(context.Context) error{
		"mesh":     func(ctx context.Context) error { return n.mesh.Run(ctx, (*handler)(n)) },
		"replica":  n.runner.Run,
		"hub":      n.hub.Run,
		"live":     n.live.Run,
		"watchdog": n.dog.Run,
		"identity": n.cfg.Identity.Run,
		"control":  n.control.Run,
	} {
		all.Go(func() error { return named(name, engine, loop) })
	}
	all.Go(func() error {
		defer stopEngine()
		return n.serve(failed)
	})
	return all.Wait()
}

// serve runs what uses the engine, until ctx ends.
func (n *Node) serve(ctx context.Context) error {
	services, ctx := errgroup.WithContext(ctx)
	start := func(name string, loop func(context.Context) error) {
		services.Go(func() error { return named(name, ctx, loop) })
	}
	start("gRPC", func(ctx context.Context) error { return rpc.Serve(ctx, n.server, n.grpc) })
	if n.local != nil {
		start("socket", func(ctx context.Context) error { return rpc.Serve(ctx, n.local, n.socket) })
	}
	if n.admin != nil {
		start("admin", n.admin.Run)
	}
	if n.http != nil {
		start("HTTP", n.http.Run)
	}
	if n.reporter != nil {
		start("reporter", n.reporter.Run)
	}
	start("store", n.db.Watch)
	start("schema", n.files.run)
	if n.copies != nil {
		start("checkpoints", n.copies.Run)
	}
	start("fitness", n.fit.run)
	start("members", n.members.run)
	start("probes", n.probes.run)
	start("doubt", n.doubt.run)
	start("clock", n.clock.Run)
	start("settle", n.settle)
	start("worker row", n.describe)
	services.Go(func() error {
		<-ctx.Done()
		n.stopping.Store(true)
		return nil
	})
	return services.Wait()
}

// named runs a loop and says which one failed.
func named(name string, ctx context.Context, loop func(context.Context) error) error {
	err := loop(ctx)
	if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

// describe writes what the configuration says of this worker into its row.
func (n *Node) describe(ctx context.Context) error {
	select {
	case <-n.hub.Ready():
	case <-ctx.Done():
		return nil
	}
	gateway := ""
	if n.cfg.Gateway {
		gateway = n.grpcAddress()
	}
	return n.retry(ctx, "write the worker's row", func() error {
		_, err := n.ledger.SetWorker(ctx, func(w *table.Worker) { w.Locality, w.Gateway = n.cfg.Locality, gateway })
		return err
	})
}

// retry repeats what only a fault of the disk can make fail.
func (n *Node) retry(ctx context.Context, what string, do func() error) error {
	pause := backoff.New(backoff.Config{Base: time.Second, Max: 30 * time.Second}, uint64(seed(n)))
	for {
		err := do()
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if failed := n.db.Failed(); failed != nil {
			return fmt.Errorf("%s: %w", what, failed)
		}
		n.log.Warn("local write failed, will be repeated", "what", what, "err", err)
		if backoff.Wait(ctx, pause.Next()) != nil {
			return nil
		}
	}
}

// The pace of the removal of ended machines and of ends that wait.
const (
	settleEvery = 500 * time.Millisecond
	settleSlow  = 10 * time.Second // while some node is missing
	settleTime  = 5 * time.Second  // for one round of asking
)

// settle makes the ends that wait, and removes those that everybody has.
func (n *Node) settle(ctx context.Context) error {
	pause := settleEvery
	for backoff.Wait(ctx, pause) == nil {
		round, cancel := context.WithTimeout(ctx, settleTime)
		if err := n.ledger.EndPending(round); err != nil {
			n.log.Debug("ends wait until this node is caught up", "err", err)
		}
		removed, waiting, err := n.ledger.Settle(round)
		cancel()
		if err != nil {
			n.log.Debug("ended machines wait", "waiting", waiting, "err", err)
		}
		n.metrics.settled.Add(float64(removed))
		n.metrics.unsettled.Set(float64(waiting))
		if pause = min(2*pause, settleSlow); waiting == 0 || removed > 0 {
			pause = settleEvery
		}
	}
	return nil
}
