package runner_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica/replicatest"
	"github.com/firebreak-dev/firebreak/internal/replica/runner"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/memory"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// hub joins runners by channels: a mesh without a network.
type hub struct {
	sqlite bool // stores are real
	mu     sync.Mutex
	nodes  map[record.Node]*node
	cut    func(from, to record.Node, class mesh.Class) bool // frames that vanish
	full   func(from, to record.Node, class mesh.Class) bool // frames that are refused
}

func newHub() *hub { return &hub{nodes: map[record.Node]*node{}} }

type frame struct {
	from  record.Node
	class mesh.Class
	bytes []byte
}

// node is a store, its runner, and its end of the hub.
type node struct {
	*runner.Runner
	hub   *hub
	name  record.Node
	store store.Store
	disk  *memory.Disk
	inbox chan frame
	stop  func()

	mu      sync.Mutex
	ownTail int
	writer  record.Writer
}

const lane = "lane"

func (n *node) Send(to record.Node, flow mesh.Flow, b []byte) error {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	peer := n.hub.nodes[to]
	switch {
	case peer == nil:
		return mesh.ErrNoPeer
	case flow.Lane != lane:
		return fmt.Errorf("lane %q", flow.Lane)
	case n.hub.full != nil && n.hub.full(n.name, to, flow.Class):
		return mesh.ErrFull
	case n.hub.cut != nil && n.hub.cut(n.name, to, flow.Class):
		return nil
	}
	select {
	case peer.inbox <- frame{n.name, flow.Class, slices.Clone(b)}:
		return nil
	default:
		return mesh.ErrFull
	}
}

func (n *node) Ask(ctx context.Context, to record.Node, q []byte) ([]byte, error) {
	n.hub.mu.Lock()
	peer := n.hub.nodes[to]
	n.hub.mu.Unlock()
	if peer == nil {
		return nil, mesh.ErrNoPeer
	}
	return peer.Answer(ctx, mesh.Peer{Node: n.name}, q)
}

func (n *node) Peers() []mesh.Peer { return nil }

func (n *node) SetWriter(boot, bits uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.writer = record.Writer{Node: n.name, Boot: boot, Bits: bits}
}

func tables() []schema.Table { return replicatest.Tables() }

// join starts a node on a disk and connects it with all others.
func (h *hub) join(t *testing.T, name record.Node, disk *memory.Disk, change func(*runner.Config)) *node {
	t.Helper()
	return h.open(t, name, disk, 0, change)
}

// joinAt is join with a clock that is off by skew.
func (h *hub) joinAt(t *testing.T, name record.Node, disk *memory.Disk, skew time.Duration) *node {
	t.Helper()
	return h.open(t, name, disk, skew, nil)
}

func (h *hub) open(t *testing.T, name record.Node, disk *memory.Disk, skew time.Duration, change func(*runner.Config)) *node {
	t.Helper()
	if disk == nil {
		disk = &memory.Disk{}
	}
	st := newStore(t, h, name, disk, skew)
	n := &node{hub: h, name: name, store: st, disk: disk, inbox: make(chan frame, 1024)}
	cfg := runner.Config{Node: name, Lane: lane, Store: st, Mesh: n, Seed: int64(len(name)), OnOwnTail: func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.ownTail++
	}}
	if change != nil {
		change(&cfg)
	}
	var err error
	if n.Runner, err = runner.New(cfg); err != nil {
		t.Fatal(err)
	}
	h.start(t, n)
	return n
}

func newStore(t *testing.T, h *hub, name record.Node, disk *memory.Disk, skew time.Duration) store.Store {
	t.Helper()
	var st store.Store
	var err error
	if h.sqlite {
		st, err = sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "node.db"), Fleet: "f", Cluster: "region/r", Node: name, Tables: tables()})
	} else {
		st, err = memory.Open(memory.Config{Fleet: "f", Cluster: "region/r", Node: name, Tables: tables(), Disk: disk, Now: func() time.Time { return time.Now().Add(skew) }})
	}
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func (h *hub) start(t *testing.T, n *node) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Errorf("run %s: %v", n.name, err)
		}
	})
	wg.Go(func() {
		for {
			select {
			case f := <-n.inbox:
				n.Frame(mesh.Peer{Node: f.from}, f.class, f.bytes)
			case <-ctx.Done():
				return
			}
		}
	})
	h.mu.Lock()
	others := make([]*node, 0, len(h.nodes))
	for _, o := range h.nodes {
		others = append(others, o)
	}
	h.nodes[n.name] = n
	h.mu.Unlock()
	w := n.store.Writer()
	for _, o := range others {
		ow := o.store.Writer()
		n.PeerChanged(mesh.Peer{Node: o.name, Boot: ow.Boot, Bits: ow.Bits}, true)
		o.PeerChanged(mesh.Peer{Node: n.name, Boot: w.Boot, Bits: w.Bits}, true)
	}
	var once sync.Once
	n.stop = func() {
		once.Do(func() {
			h.mu.Lock()
			delete(h.nodes, n.name)
			h.mu.Unlock()
			for _, o := range others {
				o.PeerChanged(mesh.Peer{Node: n.name}, false)
			}
			cancel()
			wg.Wait()
			if err := n.store.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(n.stop)
}

// put writes rows, each as a transaction of its own.
func (n *node) put(t *testing.T, val int, ids ...string) (c store.Commit) {
	t.Helper()
	for _, id := range ids {
		c = n.write(t, func(tx store.Tx) error {
			return tx.Put(replicatest.Owned, store.Row{record.Of(string(n.name)), record.Of(id), record.Of(val)})
		})
	}
	return c
}

func (n *node) write(t *testing.T, fn func(store.Tx) error) store.Commit {
	t.Helper()
	c, err := n.store.Update(t.Context(), fn)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// value is a visible row's, NULL if there is none.
func (n *node) value(t *testing.T, owner record.Node, id string) (v record.Value) {
	t.Helper()
	snap, err := n.store.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	err = snap.Scan("things", []record.Value{record.Of(string(owner)), record.Of(id)}, func(row store.Row, _ record.Point, _ int64) error {
		v = row[2]
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// within returns a context that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
