package meshbench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/cmd/bench/row"
	"github.com/firebreak-dev/firebreak/cmd/bench/world"
	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/mesh/quic"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/replica/runner"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/region/table"
)

// node is the engine of a region node: its store, mesh and replication.
type node struct {
	db     *sqlite.DB
	mesh   *quic.Mesh
	runner *runner.Runner
	make   *row.Maker
	wire   *wire
	stop   func() error

	metrics *prometheus.Registry // of its mesh

	mu    sync.Mutex // guards what follows
	peers map[record.Node]bool
	dead  int                  // times that a peer was taken for dead
	given map[record.Node]bool // up as dead
}

// Frame, PeerChanged and Answer are the node as the mesh sees it.
func (n *node) Frame(from mesh.Peer, flow mesh.Flow, frame []byte) {
	n.runner.Frame(from, flow.Class, frame)
}

func (n *node) PeerChanged(p mesh.Peer, connected bool) {
	n.mu.Lock()
	n.peers[p.Node] = connected
	if dead := p.State == mesh.Dead; dead != n.given[p.Node] {
		if n.given[p.Node] = dead; dead {
			n.dead++
		}
	}
	n.mu.Unlock()
	n.runner.PeerChanged(p, connected)
}

func (n *node) Answer(ctx context.Context, from mesh.Peer, question []byte) ([]byte, error) {
	return n.runner.Answer(ctx, from, question)
}

func (n *node) connected() (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, up := range n.peers {
		if up {
			count++
		}
	}
	return count
}

func (n *node) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.mesh.Run(ctx, n) })
	g.Go(func() error { return n.runner.Run(ctx) })
	return g.Wait()
}

// region is nodes on loopback that know each other.
type region struct {
	*world.World
	nodes    []*node
	packing  *replica.Packing
	cuttable bool         // nodes have sockets that can be cut
	skew     atomic.Int64 // nanoseconds by which the nodes' clocks are wrong
	sent     traffic

	mu     sync.Mutex // guards what follows
	wait   map[record.Point]*flight
	early  map[record.Point][]time.Time // seen before the writer knew its version
	landed []landing
}

// flight is a row on its way to the other nodes.
type flight struct {
	from time.Time
	left int
	last time.Duration
}

// landing is a row that is visible on one more node.
type landing struct {
	took time.Duration
	last bool // on the last node: took is the row's whole way
}

func newRegion(ctx context.Context, dir string, n int, seed uint64) (*region, error) {
	return newRegionWith(ctx, dir, n, seed, false)
}

// newRegionWith can give the nodes sockets that can be cut. They are slower
// than the operating system's own.
func newRegionWith(ctx context.Context, dir string, n int, seed uint64, cuttable bool) (_ *region, err error) {
	w, err := world.New(dir)
	if err != nil {
		return nil, err
	}
	packing, err := replica.NewPacking(table.Dictionaries()...)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	r := &region{World: w, cuttable: cuttable, packing: packing, wait: map[record.Point]*flight{}, early: map[record.Point][]time.Time{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	for i := range n {
		if err := r.add(ctx, i, seed); err != nil {
			return nil, fmt.Errorf("node %d: %w", i, err)
		}
	}
	return r, world.Await(ctx, "the nodes to meet", r.met)
}

// met says which node is not connected with all others.
func (r *region) met() error {
	for i, x := range r.nodes {
		if c := x.connected(); c < len(r.nodes)-1 {
			return fmt.Errorf("node %d is connected with %d of %d", i, c, len(r.nodes)-1)
		}
	}
	return nil
}

// add starts one more node; it is stopped when the region is closed.
func (r *region) add(ctx context.Context, i int, seed uint64) error {
	x, err := r.start(ctx, i, seed)
	if err != nil {
		return err
	}
	r.nodes = append(r.nodes, x)
	r.Until(func() error { return r.nodes[i].stop() }) // the one that is there then
	return nil
}

// start starts node i on its files.
func (r *region) start(ctx context.Context, i int, seed uint64) (_ *node, err error) {
	name := record.Node(row.Worker(i))
	dir, err := r.Dir(string(name))
	if err != nil {
		return nil, err
	}
	x := &node{make: row.NewMaker(seed + uint64(i)), peers: map[record.Node]bool{}, given: map[record.Node]bool{}, wire: &wire{}, metrics: prometheus.NewRegistry()}
	var close []func() error
	defer func() {
		if err != nil {
			err = errors.Join(err, undo(close))
		}
	}()
	x.db, err = sqlite.Open(ctx, sqlite.Config{
		Path: filepath.Join(dir, "node.db"), Fleet: world.Fleet, Cluster: "region/bench", Node: name,
		Tables: []schema.Table{row.Table()}, Durability: sqlite.OS,
		Now: func() time.Time { return time.Now().Add(time.Duration(r.skew.Load())) },
	})
	if err != nil {
		return nil, err
	}
	close = append(close, x.db.Close)
	if err := r.join(x, name); err != nil {
		return nil, err
	}
	if x.runner, err = runner.New(runner.Config{Node: name, Store: x.db, Mesh: x.mesh, Packing: r.packing, Seed: int64(i)}); err != nil {
		return nil, errors.Join(err, x.mesh.Close())
	}
	feed, err := followFrom(ctx, x.db)
	if err != nil {
		return nil, errors.Join(err, x.mesh.Close())
	}
	close = append(close, feed.Close)
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	g, life := errgroup.WithContext(life)
	g.Go(func() error { return x.run(life) })
	g.Go(func() error { return r.follow(life, x, feed) })
	x.stop = sync.OnceValue(func() error { cancel(); return errors.Join(g.Wait(), undo(close)) })
	return x, nil
}

func undo(close []func() error) (err error) {
	for _, c := range slices.Backward(close) {
		err = errors.Join(err, c())
	}
	return err
}

// followFrom opens the feed of what is committed from now on.
func followFrom(ctx context.Context, db *sqlite.DB) (store.Feed, error) {
	snap, err := db.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	feed, err := db.Feed(snap.Position())
	return feed, errors.Join(err, snap.Close())
}

// follow notes when rows of others become visible on a node.
func (r *region) follow(ctx context.Context, x *node, feed store.Feed) error {
	self := x.db.Writer().Node
	for {
		entries, err := feed.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("feed of %s: %w", self, err)
		}
		now := time.Now()
		r.mu.Lock()
		for _, e := range entries {
			for _, c := range e.Changes {
				if c.Point.Writer.Node != self {
					r.seen(c.Point, now)
				}
			}
		}
		r.mu.Unlock()
	}
}

// seen is called with mu held.
func (r *region) seen(p record.Point, now time.Time) {
	f := r.wait[p]
	if f == nil {
		r.early[p] = append(r.early[p], now)
		return
	}
	took := now.Sub(f.from)
	f.left--
	f.last = max(f.last, took)
	r.landed = append(r.landed, landing{took: took})
	if f.left == 0 {
		delete(r.wait, p)
		r.landed = append(r.landed, landing{took: f.last, last: true})
	}
}

// write has a node write one row. Its way counts from when it was due.
func (r *region) write(ctx context.Context, i int, id int, due time.Time) error {
	x := r.nodes[i]
	r.mu.Lock()
	values := store.Row(x.make.Row(row.Key{Worker: i, ID: id}))
	r.mu.Unlock()
	c, err := x.db.Update(ctx, func(tx store.Tx) error { return tx.Put(row.Table().Name, values) })
	if err != nil {
		return err
	}
	if c.Records != 1 {
		return fmt.Errorf("%d records of a row that changed", c.Records)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wait[c.Point] = &flight{from: due, left: len(r.nodes) - 1}
	for _, at := range r.early[c.Point] {
		r.seen(c.Point, at)
	}
	delete(r.early, c.Point)
	return nil
}

// take returns what has landed, once nothing is on its way any more.
func (r *region) take(ctx context.Context) (out []landing, err error) {
	err = world.Await(ctx, "all rows to be everywhere", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.wait) > 0 {
			return fmt.Errorf("%d rows are on their way", len(r.wait))
		}
		out, r.landed = r.landed, nil
		return nil
	})
	return out, err
}
