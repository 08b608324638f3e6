package replicatest

import (
	"context"
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/replica/runner"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/memory"
)

// Disk is a node's disk, and how its last start ended.
type Disk struct {
	*memory.Disk
	clean bool
	last  record.Writer
}

// Copy returns an image of the disk as it is.
func (d Disk) Copy() Disk { return Disk{d.Disk.Copy(), d.clean, d.last} }

// Node is one node of a world. Store and Core are nil while it is down.
type Node struct {
	Name  record.Node
	Disk  Disk
	Skew  time.Duration // of its wall clock
	Store *memory.Store
	Core  *replica.Core

	// Wrote is told of every changeset that the node commits; may be nil.
	Wrote func(record.Changeset)
	// Saw is told of every entry of the node's feed, its own writes included;
	// may be nil.
	Saw func(store.Entry)
	// Reports collects what the cores of all starts reported.
	Reports []replica.Report

	world  *World
	index  int
	life   int             // counts starts and ends
	began  []record.Writer // of this start, or the last one
	feed   store.Feed
	answer *runner.Answers
	wakeAt time.Duration
}

// done is a context that has ended: a feed asked with it does not wait.
var done = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

const (
	applyTime = 2 * time.Millisecond
	serveTime = time.Millisecond
)

func newNode(w *World, name record.Node) *Node {
	return &Node{Name: name, Disk: Disk{Disk: &memory.Disk{}}, world: w, index: len(w.nodes)}
}

// Up reports whether the node runs.
func (n *Node) Up() bool { return n.Core != nil }

func (n *Node) wall() time.Time { return epoch.Add(n.world.now + n.Skew) }

// Start opens the store on the node's disk and connects it with all others.
func (n *Node) Start() {
	w := n.world
	cfg := memory.Config{Fleet: "f", Cluster: "region/r", Node: n.Name, Tables: w.cfg.Tables, Now: n.wall, Rand: w.random.Uint64, Disk: n.Disk.Disk}
	if w.cfg.Continue {
		cfg.Unsafe = func([]record.Writer) (w record.Writer) {
			if n.Disk.clean {
				w = n.Disk.last
			}
			return w
		}
	}
	var err error
	if n.Store, err = memory.Open(cfg); err != nil {
		panic(fmt.Sprintf("open %s: %v", n.Name, err)) // only for a mistake in a test
	}
	n.life++
	n.Disk.clean, n.began = false, []record.Writer{n.Store.Writer()}
	snap, err := n.Store.Snapshot(context.Background())
	if err != nil {
		panic(err)
	}
	ws, _ := snap.Writers()
	ns, _ := snap.Nodes()
	n.answer = runner.NewAnswers(n.Store.Snapshot)
	n.Core = replica.New(replica.Config{Packing: w.cfg.Packing, Seed: w.random.Uint64(), Close: w.cfg.Close, Boots: runner.Boots(ns)}, n.Store.Writer(), runner.States(ws), w.now, n.wall())
	if n.feed, err = n.Store.Feed(snap.Position()); err != nil {
		panic(err)
	}
	w.log('s', n, n, nil)
	n.Core.Step(w.now, replica.Members{Nodes: w.names()})
	for _, o := range w.nodes {
		if o != n && o.Up() {
			n.step(replica.Connected{Peer: o.Name})
			o.step(replica.Connected{Peer: n.Name})
		}
	}
	n.wake()
}

// Stop ends the node cleanly.
func (n *Node) Stop() {
	n.Disk.last = n.Store.Writer()
	n.end(func() { _ = n.Store.Close() })
	n.Disk.clean = true
}

// Crash ends the node as a power cut does.
func (n *Node) Crash() { n.end(n.Store.Crash) }

func (n *Node) end(how func()) {
	w := n.world
	w.log('e', n, n, nil)
	how()
	n.life++
	n.Store, n.Core, n.feed, n.wakeAt = nil, nil, nil, 0
	for _, o := range w.nodes {
		if o.Up() {
			o.step(replica.Lost{Peer: n.Name})
		}
	}
}

// Write runs one transaction. A refused one gives a zero commit.
func (n *Node) Write(fn func(store.Tx) error) store.Commit {
	c, err := n.Store.Update(context.Background(), fn)
	n.pump()
	if err != nil {
		return store.Commit{}
	}
	return c
}

func (n *Node) step(e replica.Event) {
	n.Core.Step(n.world.now, e)
	n.pump()
}

// pump does what the core wants done until it wants nothing more.
func (n *Node) pump() {
	for {
		entries, err := n.feed.Next(done)
		if err == nil {
			n.committed(entries)
		}
		r := n.Core.Ready()
		for _, s := range r.Sends {
			n.world.send(n, s)
		}
		if r.Apply != nil {
			n.world.at(n.world.now+applyTime, n, func() { n.apply(r.Apply) })
		}
		for _, s := range r.Serves {
			n.world.at(n.world.now+serveTime, n, func() { n.serve(s) })
		}
		if r.Take != nil {
			n.world.at(n.world.now+applyTime, n, func() { n.take(*r.Take) })
		}
		if r.Check {
			n.world.at(n.world.now+serveTime, n, func() {
				checked, err := runner.CheckRows(context.Background(), n.Store.Snapshot)
				if err != nil {
					panic(err)
				}
				n.step(checked)
			})
		}
		if r.Restamp || !r.Close.IsZero() {
			n.world.at(n.world.now+applyTime, n, func() { n.closing(r.Close) })
		}
		n.Reports = append(n.Reports, r.Reports...)
		if r.Renew == 0 {
			break
		}
		writer, err := n.Store.Renew(context.Background(), r.Renew)
		if err != nil {
			panic(err)
		}
		n.began = append(n.began, writer)
		n.Core.Step(n.world.now, replica.Renewed{Writer: writer})
	}
	n.wake()
}

func (n *Node) committed(entries []store.Entry) {
	for _, e := range entries {
		if n.Saw != nil {
			n.Saw(e)
		}
		if e.Local != nil && n.Wrote != nil {
			n.Wrote(*e.Local)
		}
	}
	n.Core.Step(n.world.now, replica.Committed{Entries: runner.Entries(entries)})
}

func (n *Node) apply(batch []record.Delivery) {
	out, err := n.Store.Apply(context.Background(), batch)
	if err != nil {
		panic(err)
	}
	n.step(replica.Applied{Outcomes: runner.Outcomes(out)})
}

func (n *Node) serve(s replica.Serve) {
	frames, err := n.answer.Serve(context.Background(), s, n.wall())
	if err != nil {
		panic(err)
	}
	n.step(replica.Served{To: s.To, ID: s.ID, Frames: frames})
}

func (n *Node) take(p replica.TakePage) {
	err := n.Store.TakeListing(context.Background(), runner.ListingPage(p))
	n.step(replica.TookPage{Failed: err != nil})
}

// closing does one step of the node's closing.
func (n *Node) closing(w record.Writer) {
	if w.IsZero() {
		left, err := n.Store.Restamp(context.Background(), 2)
		n.step(replica.Restamped{Left: left, Failed: err != nil})
		return
	}
	c, err := n.Store.CloseEarlier(context.Background(), w)
	if err == nil && c.Point.Version > 0 {
		n.world.Closings++
	}
	n.step(replica.ClosedEarlier{Failed: err != nil})
}

// over returns the boot up to which a node's owned records are over here, and
// the one up to which this node is complete of it.
func (n *Node) over(of record.Node) (over, complete uint64) {
	snap, err := n.Store.Snapshot(context.Background())
	if err != nil {
		panic(err)
	}
	nodes, err := snap.Nodes()
	if err != nil {
		panic(err)
	}
	for _, x := range nodes {
		if x.Node == of {
			return x.Over(), x.Complete
		}
	}
	return 0, 0
}

// has reports whether p counts as received.
func (n *Node) has(p record.Point) bool {
	_, complete := n.over(p.Writer.Node)
	return p.Writer.Boot <= complete || n.Core.Received(p.Writer).Has(p.Version)
}

// ResetClock begins anew with the clock of shared tables, as an operator does
// once the wall is right again.
func (n *Node) ResetClock() store.ClockReset {
	r, err := n.Store.ResetClock(context.Background())
	if err != nil {
		panic(err)
	}
	n.began = append(n.began, r.Writer)
	n.Core.Step(n.world.now, replica.Renewed{Writer: r.Writer})
	n.pump()
	return r
}

// collectOwned drops tombstones of owned rows, however young: age is no part
// of what makes that safe.
func (n *Node) collectOwned() store.Collected {
	c, err := n.Store.Collect(context.Background(), store.Ages{Owned: time.Nanosecond, Shared: 1 << 62}, 100)
	if err != nil {
		panic(err)
	}
	n.pump()
	return c
}

// Collect drops tombstones that are older than the default ages.
func (n *Node) Collect() store.Collected {
	c, err := n.Store.Collect(context.Background(), store.Ages{Owned: store.OwnedAge, Shared: store.SharedAge}, 100)
	if err != nil {
		panic(err)
	}
	n.pump()
	return c
}

// wake has the core's next Tick happen.
func (n *Node) wake() {
	at := max(n.Core.Wake(), n.world.now+time.Millisecond)
	if n.wakeAt > n.world.now && n.wakeAt <= at {
		return
	}
	n.wakeAt = at
	n.world.at(at, n, func() {
		if n.wakeAt == n.world.now {
			n.wakeAt = 0
		}
		n.Core.Tick(n.world.now, n.wall())
		n.pump()
	})
}

// send puts a frame on its way, once, twice or not at all.
func (w *World) send(from *Node, s replica.Send) {
	w.Frames, w.Bytes = w.Frames+1, w.Bytes+len(s.Frame)
	if s.Push {
		w.Pushes++
	}
	kind := replica.KindOf(s.Frame)
	t := w.Sent[kind]
	w.Sent[kind] = Traffic{t.Frames + 1, t.Bytes + len(s.Frame)}
	to := w.node(s.To)
	copies := 1
	if !to.Up() || w.cut[[2]record.Node{from.Name, s.To}] || w.cfg.Loss > 0 && w.random.Float64() < w.cfg.Loss {
		copies = 0
	} else if w.cfg.Duplicate > 0 && w.random.Float64() < w.cfg.Duplicate {
		copies = 2
	}
	w.log('f', from, to, s.Frame)
	for range copies {
		delay := w.cfg.Delay/2 + time.Duration(w.random.Int64N(int64(w.cfg.Delay)+1))
		w.at(w.now+delay, to, func() { to.step(replica.Arrived{From: from.Name, Frame: s.Frame}) })
	}
}

func (w *World) node(name record.Node) *Node {
	for _, n := range w.nodes {
		if n.Name == name {
			return n
		}
	}
	panic("no node " + string(name))
}
