package fault

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/link"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/traffic"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
)

// Fleet is what the engine needs of a federation.
type Fleet interface {
	Plan() federation.Plan
	Kill(ctx context.Context, n federation.Node) error
	Stop(ctx context.Context, n federation.Node) error
	Start(ctx context.Context, n federation.Node) error
	Down() []federation.Node
	WaitReady(ctx context.Context, nodes []federation.Node) error
}

// Config of an Engine.
type Config struct {
	Fleet  Fleet
	Links  *link.Links  // between the nodes
	Sink   traffic.Sink // takes changes of the workers in the order of placement
	Truth  *truth.Model
	Bug    Bug
	Rate   float64                      // ordinary changes per second, of all regions
	Sample func(context.Context) Sample // what the nodes have counted so far
}

// Engine breaks things and mends them, one command at a time.
type Engine struct {
	// Set by New, then constant.
	cfg   Config
	asked chan request
	ended chan struct{}

	// Owned by Run.
	storms  sync.WaitGroup
	calm    context.CancelFunc // ends the storms
	stormed []storm
	poisons int     // so far
	tainted []storm // poisoned rows, and those beside them

	mu     sync.Mutex
	faults []*Fault
	upkeep []*Fault // that is none, see Upkeep
}

type request struct {
	ctx    context.Context // of who asks; a request is no longer than it
	cmd    Command
	say    func(string)
	result chan error
}

// New makes an engine. Run starts it.
func New(cfg Config) *Engine {
	return &Engine{cfg: cfg, asked: make(chan request), ended: make(chan struct{})}
}

var errStopped = errors.New("the federation has stopped")

// Do carries out one command and returns when it is done: a heal, when every
// node is ready again. Others wait meanwhile.
func (e *Engine) Do(ctx context.Context, c Command, say func(string)) error {
	if err := c.Check(e.cfg.Fleet.Plan()); err != nil {
		return err
	}
	r := request{ctx, c, say, make(chan error, 1)}
	select {
	case e.asked <- r:
	case <-e.ended:
		return errStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	return <-r.result
}

// Run carries out what Do asks for, until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	defer close(e.ended)
	defer e.storms.Wait()
	storms, calm := context.WithCancel(ctx)
	defer func() { calm() }()
	for {
		e.calm = calm
		select {
		case <-ctx.Done():
			return nil
		case r := <-e.asked:
			both, stop := context.WithCancel(r.ctx)
			undo := context.AfterFunc(ctx, stop)
			r.result <- e.do(both, storms, r)
			undo()
			stop()
			if r.cmd.Kind == Heal {
				storms, calm = context.WithCancel(ctx)
			}
		}
	}
}

func (e *Engine) do(ctx, storms context.Context, r request) error {
	if r.cmd.Kind == Heal {
		err := e.heal(ctx, r.say)
		e.healed(time.Now())
		return err
	}
	nodes, err := r.cmd.Target.Resolve(e.cfg.Fleet.Plan())
	if err != nil {
		return err
	}
	f := e.begin(ctx, r.cmd, nodes)
	r.say(r.cmd.effect(nodes))
	r.say(r.cmd.spared(e.cfg.Fleet.Plan(), nodes))
	switch r.cmd.Kind {
	case Partition, Delay, Loss:
		return e.cfg.Links.Add(ctx, r.cmd.rule(nodes))
	case Kill:
		return e.endAll(ctx, nodes, e.cfg.Fleet.Kill)
	case Stop:
		return e.endAll(ctx, nodes, e.cfg.Fleet.Stop)
	case Poison:
		return e.poison(ctx, nodes, r.say)
	case Storm:
		e.storm(storms, nodes)
	case MassDelete:
		return e.massDelete(ctx, nodes, r.say)
	case Upgrade:
		if err := e.upgrade(ctx, r.cmd.AtOnce, nodes, r.say); err != nil {
			return err
		}
		e.finished(f)
	}
	return nil
}

// rule is what a fault does to the links.
func (c Command) rule(nodes []federation.Node) link.Rule {
	cut := c.Kind == Partition
	r := link.Rule{Across: cut, Quality: link.Quality{Delay: c.Delay, Loss: c.Loss, Cut: cut}}
	for _, n := range nodes {
		r.Nodes = append(r.Nodes, link.Node(n.String()))
	}
	return r
}

// endAll ends nodes side by side.
func (e *Engine) endAll(ctx context.Context, nodes []federation.Node, end func(context.Context, federation.Node) error) error {
	errs := make([]error, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { errs[i] = end(ctx, n) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (e *Engine) startAll(ctx context.Context, nodes []federation.Node) error {
	var errs []error
	for _, n := range nodes {
		errs = append(errs, e.cfg.Fleet.Start(ctx, n))
	}
	return errors.Join(errs...)
}

// upgrade restarts nodes, as a new version would be rolled out. Their machines
// run on.
func (e *Engine) upgrade(ctx context.Context, atOnce bool, nodes []federation.Node, say func(string)) error {
	steps := [][]federation.Node{nodes}
	if !atOnce {
		steps = nil
		for _, n := range nodes {
			steps = append(steps, []federation.Node{n})
		}
	}
	for i, step := range steps {
		if err := errors.Join(e.endAll(ctx, step, e.cfg.Fleet.Stop), e.startAll(ctx, step)); err != nil {
			return err
		}
		if err := e.cfg.Fleet.WaitReady(ctx, step); err != nil {
			return err
		}
		say(fmt.Sprintf("upgraded %d of %d", (i+1)*len(step), len(nodes)))
	}
	return nil
}

// heal mends everything.
func (e *Engine) heal(ctx context.Context, say func(string)) error {
	if err := e.repair(ctx); err != nil {
		return err
	}
	if err := e.cfg.Links.Mend(ctx); err != nil {
		return err
	}
	e.calm()
	e.storms.Wait()
	if err := e.clearUp(ctx); err != nil {
		return err
	}
	down := e.cfg.Fleet.Down()
	if err := e.startAll(ctx, down); err != nil {
		return err
	}
	if err := e.release(ctx, say); err != nil { // a node that withholds machines is not ready
		return err
	}
	if err := e.cfg.Fleet.WaitReady(ctx, e.cfg.Fleet.Plan().Nodes); err != nil {
		return err
	}
	say(fmt.Sprintf("healed: the network is whole, %d nodes were started again, all are ready", len(down)))
	return nil
}
