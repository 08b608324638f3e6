// Package federation makes a whole federation on one machine: certificates of
// a throw-away authority, ports of the loopback interface, and every node on
// them, in this process or each in one of its own. It says where they are in
// dev.json once all of them are ready.
//
// A node that ends is reported and not started again: the rest goes on, as a
// fleet would. When the federation ends, every node is told to stop and waited
// for; its files stay.
package federation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/datadir"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/link"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/devfile"
	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/identity"
)

// Config of a Federation.
type Config struct {
	Dir       *datadir.Dir // held by the caller; cleared unless Former is set
	Spec      Spec
	Former    *Plan  // go on with this plan; nil makes a new one
	Processes bool   // each node is a child process, else all are in this one
	Binary    string // of the children
	Wave      int    // region nodes that start at once; they meet before more do; zero means all
	Enforce   bool   // brakes hold, else they only observe
	Schema    string // directory of schema files of every region node; empty for none
	Version   string
	Links     *link.Links       // between the nodes; nil for the host's own network
	Progress  func(line string) // tells a person what happens; required
}

// Federation is a set of nodes and how to speak to them. Safe for concurrent
// use while Run runs.
type Federation struct {
	// Set by Open, then constant.
	cfg      Config
	plan     Plan
	paths    paths
	ports    *ports
	operator *identity.Source
	client   *identity.Source
	clients  *clients

	wanted chan wanted // nodes to start while Run runs

	mu      sync.Mutex
	running []*running
	starts  map[string]int // of each node
}

// running is one started node.
type running struct {
	node       Node
	pid        int
	stopProbes func()        // nil if the node is a process of its own
	stop       func()        // asks it to end
	kill       func()        // ends it, or what it says, at once; then stop it
	asked      atomic.Bool   // to end
	ended      chan struct{} // closed when it ended
	err        error         // why; set before ended is closed
}

// Open writes the plan and the certificates and takes the ports. It starts
// nothing; Close undoes it for a federation that is not run.
func Open(cfg Config) (*Federation, error) {
	f := &Federation{
		cfg: cfg, ports: newPorts(), paths: paths{dir: cfg.Dir.Path},
		wanted: make(chan wanted), starts: map[string]int{},
	}
	if err := f.open(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (f *Federation) open() (err error) {
	if f.cfg.Former != nil {
		f.plan = *f.cfg.Former
	} else if err = f.cfg.Dir.Clear(); err != nil {
		return err
	} else if f.plan, err = NewPlan(f.cfg.Spec); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(f.paths.dir, devfile.Name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the old %s: %w", devfile.Name, err)
	}
	if err := f.Repair(); err != nil { // what a former run has left
		return err
	}
	if err := f.ports.assign(f.plan.Nodes); err != nil {
		return err
	}
	f.nameLinks()
	if err := f.cfg.Dir.Mark(f.plan); err != nil {
		return err
	}
	if err := f.paths.issue(f.plan.Nodes); err != nil {
		return err
	}
	if err := f.makeSocketDir(); err != nil {
		return err
	}
	if f.operator, err = identity.Load(f.paths.identity(operatorID)); err != nil {
		return err
	}
	if f.client, err = identity.Load(f.paths.identity(clientID)); err != nil {
		return err
	}
	f.clients = newClients(f.operator)
	return nil
}

// makeSocketDir chooses a short directory for the unix sockets if their place
// beside the databases is too long for one.
func (f *Federation) makeSocketDir() error {
	for _, n := range f.plan.Of(Region) {
		if len(f.paths.socketOf(n)) <= maxSocketPath {
			continue
		}
		dir, err := os.MkdirTemp("", "firebreak-dev-")
		if err != nil {
			return fmt.Errorf("directory of the unix sockets: %w", err)
		}
		f.paths.socket = dir
		return nil
	}
	return nil
}

// Close releases what Open took. Run has closed when it returns.
func (f *Federation) Close() error {
	f.ports.releaseAll()
	var errs []error
	if f.clients != nil {
		errs = append(errs, f.clients.close())
	}
	if f.paths.socket != "" {
		errs = append(errs, os.RemoveAll(f.paths.socket))
	}
	return errors.Join(errs...)
}

// Plan returns the nodes and their addresses.
func (f *Federation) Plan() Plan { return f.plan }

// DB returns the path of a node's database: see devfile.Node.
func (f *Federation) DB(n Node) string { return f.paths.db(n) }

// Run starts every node, waits until all are ready, writes dev.json, and calls
// work. When that returns, or ctx ends, it stops every node and waits for it.
func (f *Federation) Run(ctx context.Context, work func(context.Context) error) (err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	nodes, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer f.wait()
	defer stop()
	l, err := f.launcher(nodes)
	if err != nil {
		return err
	}
	if err := f.start(ctx, nodes, l); err != nil {
		return err
	}
	starter := make(chan struct{})
	go func() { defer close(starter); f.startWanted(nodes, l) }()
	defer func() { stop(); <-starter }()
	if err := f.devfile().Write(f.paths.dir); err != nil {
		return err
	}
	return work(ctx)
}

// start starts the nodes tier by tier; they live as long as nodes.
func (f *Federation) start(ctx, nodes context.Context, l launcher) error {
	for _, tier := range []Role{Global, Region, Router} {
		tierNodes := f.plan.Of(tier)
		for i, n := range tierNodes {
			if err := f.startNode(ctx, nodes, l, n); err != nil {
				return err
			}
			if tier == Region && f.cfg.Wave > 0 && (i+1)%f.cfg.Wave == 0 {
				if err := f.waitMet(ctx, tierNodes[i+1-f.cfg.Wave:i+1]); err != nil {
					return err
				}
			}
		}
		if tier == Global {
			if err := f.addRegions(ctx); err != nil {
				return err
			}
		}
	}
	return f.waitReady(ctx)
}

func (f *Federation) startNode(ctx, nodes context.Context, l launcher, n Node) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.ports.release(n)
	life, stop := context.WithCancel(nodes)
	r, err := l.launch(life, n)
	// A child that is being forked at this moment has the ports that were held,
	// until it runs its program.
	for try := 0; errors.Is(err, syscall.EADDRINUSE) && try < maxPortTries && backoff.Wait(ctx, portPause) == nil; try++ {
		r, err = l.launch(life, n)
	}
	if err != nil {
		stop()
		return fmt.Errorf("start node %v: %w", n, err)
	}
	r.stop = stop
	f.begun(r)
	go f.watch(nodes, r)
	return nil
}

// How long a port that is in use is waited for.
const (
	maxPortTries = 50
	portPause    = 20 * time.Millisecond
)

// watch reports a node that ends before it was told to.
func (f *Federation) watch(nodes context.Context, r *running) {
	select {
	case <-nodes.Done():
	case <-r.ended:
		r.stop()
		if nodes.Err() == nil && !r.asked.Load() {
			f.cfg.Progress(fmt.Sprintf("node %v (pid %d) ended: %v; it is not started again", r.node, r.pid, r.err))
		}
	}
}

// wait waits for the end of every node that was started.
func (f *Federation) wait() {
	for _, r := range f.started() {
		<-r.ended
		f.removeSocket(r.node)
	}
}

// removeSocket removes what a node that was killed has left, unless somebody
// has started it since.
func (f *Federation) removeSocket(n Node) {
	path := f.paths.socketOf(n)
	if path == "" {
		return
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		_ = os.Remove(path) // else the node's next run does
	}
}

func (f *Federation) started() []*running {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*running(nil), f.running...)
}

// StopProbes stops the propagation probes of the nodes in this process, so
// that a region that nobody writes to does not change.
func (f *Federation) StopProbes() {
	for _, r := range f.started() {
		if r.stopProbes != nil {
			r.stopProbes()
		}
	}
}

// PIDs returns the processes that the nodes are in, each once.
func (f *Federation) PIDs() []int {
	var out []int
	seen := map[int]bool{}
	for _, r := range f.started() {
		if !seen[r.pid] {
			out = append(out, r.pid)
		}
		seen[r.pid] = true
	}
	return out
}

func (f *Federation) devfile() devfile.Dev {
	op := f.paths.identity(operatorID)
	d := devfile.Dev{Fleet: Fleet, Operator: &devfile.Identity{Cert: op.Cert, Key: op.Key, CA: op.CA}}
	for _, r := range f.started() {
		files := f.paths.identity(r.node.ID())
		d.Nodes = append(d.Nodes, devfile.Node{
			Role: string(r.node.Role), Region: string(r.node.Region), Name: string(r.node.Name),
			PID: r.pid, DB: f.paths.db(r.node),
			Gossip: r.node.Gossip, GRPC: r.node.GRPC, Admin: r.node.Admin, HTTP: r.node.HTTP, Socket: f.paths.socketOf(r.node),
			Cert: files.Cert, Key: files.Key, CA: files.CA,
		})
	}
	return d
}
