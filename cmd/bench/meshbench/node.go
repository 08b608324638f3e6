package meshbench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/cmd/bench/row"
	"github.com/firebreak-dev/firebreak/cmd/bench/world"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/mesh/quic"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica/runner"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// node is the engine of a region node: its store, mesh and replication.
type node struct {
	db     *sqlite.DB
	mesh   *quic.Mesh
	runner *runner.Runner
	make   *row.Maker

	mu    sync.Mutex // guards peers
	peers map[record.Node]bool
}

// Frame, PeerChanged and Answer are the node as the mesh sees it.
func (n *node) Frame(from mesh.Peer, flow mesh.Flow, frame []byte) {
	n.runner.Frame(from, flow.Class, frame)
}

func (n *node) PeerChanged(p mesh.Peer, connected bool) {
	n.mu.Lock()
	n.peers[p.Node] = connected
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
	nodes []*node

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

func newRegion(ctx context.Context, dir string, n int, seed uint64) (_ *region, err error) {
	w, err := world.New(dir)
	if err != nil {
		return nil, err
	}
	r := &region{World: w, wait: map[record.Point]*flight{}, early: map[record.Point][]time.Time{}}
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
	return r, world.Await(ctx, "the nodes to meet", func() error {
		for i, x := range r.nodes {
			if c := x.connected(); c < n-1 {
				return fmt.Errorf("node %d is connected with %d of %d", i, c, n-1)
			}
		}
		return nil
	})
}

func (r *region) add(ctx context.Context, i int, seed uint64) error {
	name := record.Node(row.Worker(i))
	dir, err := r.Dir(string(name))
	if err != nil {
		return err
	}
	x := &node{make: row.NewMaker(seed + uint64(i)), peers: map[record.Node]bool{}}
	x.db, err = sqlite.Open(ctx, sqlite.Config{
		Path: filepath.Join(dir, "node.db"), Fleet: world.Fleet, Cluster: "region/bench", Node: name,
		Tables: []schema.Table{row.Table()}, Durability: sqlite.OS,
	})
	if err != nil {
		return err
	}
	r.Until(x.db.Close)
	source, err := r.Identity(identity.ID{Role: identity.Node, Region: "bench", Name: string(name)})
	if err != nil {
		return err
	}
	var seeds []string
	for _, o := range r.nodes[:min(len(r.nodes), 3)] {
		seeds = append(seeds, o.mesh.Addr())
	}
	at := x.db.Writer()
	x.mesh, err = quic.Listen(quic.Config{
		Identity: source, Fleet: world.Fleet, Cluster: "region/bench", Generation: quic.Generation{Number: 1, Bits: 7},
		Node: name, Boot: at.Boot, Bits: at.Bits, Bind: "127.0.0.1:0", Seeds: seeds,
	})
	if err != nil {
		return err
	}
	if x.runner, err = runner.New(runner.Config{Node: name, Store: x.db, Mesh: x.mesh, Seed: int64(i)}); err != nil {
		return errors.Join(err, x.mesh.Close())
	}
	snap, err := x.db.Snapshot(ctx)
	if err != nil {
		return err
	}
	feed, err := x.db.Feed(snap.Position())
	if err = errors.Join(err, snap.Close()); err != nil {
		return err
	}
	r.Until(feed.Close)
	r.nodes = append(r.nodes, x)
	r.Go(x.run)
	r.Go(func(ctx context.Context) error { return r.follow(ctx, x, feed) })
	return nil
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
