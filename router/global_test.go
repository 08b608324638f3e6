package router_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
)

// global is a global node that knows what the regions of the world report,
// less what is hidden from it.
type global struct {
	globalv1.UnimplementedDirectoryServiceServer
	world *world
	addr  string
	stop  func()

	mu      sync.Mutex
	hidden  map[string]bool // regions that do not confirm
	classes map[[2]string]uint32
	stamp   uint64
	moved   chan struct{}
}

// report takes what the region has of app into the directory.
func (g *global) report(region, app string) {
	r := g.world.regions[region]
	r.mu.Lock()
	n := len(r.apps[app])
	r.mu.Unlock()
	g.change(func() { g.classes[[2]string{region, app}] = uint32(presence.ClassOf(n)) })
}

func (g *global) change(fn func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fn()
	g.stamp++
	close(g.moved)
	g.moved = make(chan struct{})
}

var testGeneration = &clusterv1.Generation{Number: 1, Bits: 7}

func (g *global) entries() []*globalv1.DirectoryEntry {
	g.mu.Lock()
	defer g.mu.Unlock()
	rank := []byte(fmt.Sprintf("%020d", g.stamp+1))
	var out []*globalv1.DirectoryEntry
	for _, name := range slices.Sorted(maps.Keys(g.world.regions)) {
		out = append(out,
			&globalv1.DirectoryEntry{Region: name, Rank: rank, Generation: &globalv1.RegionGeneration{Region: name, Generation: testGeneration}},
			&globalv1.DirectoryEntry{Region: name, Rank: rank, Record: g.world.record(name)})
	}
	for _, k := range slices.SortedFunc(maps.Keys(g.classes), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		p := &globalv1.Presence{App: k[1], Class: g.classes[k], Stamp: 1000, Reporter: k[0] + "-w1", Generation: testGeneration}
		if p.Class == 0 {
			p.SinceUnixMs = 1
		}
		out = append(out, &globalv1.DirectoryEntry{Region: k[0], Rank: rank, Presence: p})
	}
	return out
}

func (w *world) record(name string) *globalv1.RegionRecord {
	r := w.regions[name]
	r.mu.Lock()
	defer r.mu.Unlock()
	return &globalv1.RegionRecord{Region: name, Generation: testGeneration, Stamp: 1000, Reporter: name + "-w1", Gateways: r.gateways, Locality: "l-" + name}
}

// confirmation is what the region's reporter says: the digest of its truth.
func (w *world) confirmation(name string) *globalv1.Confirmation {
	h := presence.NewHasher(testFleet, fleet.Region(name))
	rec := w.record(name)
	pr := presence.Region{Name: fleet.Region(name), Locality: rec.Locality}
	for _, g := range rec.Gateways {
		pr.Gateways = append(pr.Gateways, presence.Gateway{Node: fleet.Worker(g.Node), Address: g.Address})
	}
	digest := h.Region(pr)
	r := w.regions[name]
	r.mu.Lock()
	defer r.mu.Unlock()
	for app, list := range r.apps {
		if len(list) > 0 {
			digest = digest.Add(h.App(fleet.App(app)))
		}
	}
	return &globalv1.Confirmation{
		Region: name, Generation: testGeneration, Reporter: name + "-w1", Algorithm: presence.DigestAlgorithm, Digest: digest.Bytes(), AgeMs: 1,
	}
}

func (g *global) Watch(stream globalv1.DirectoryService_WatchServer) error {
	tokens, errs := make(chan uint64), make(chan error, 1)
	go func() {
		for {
			req, err := stream.Recv()
			if err != nil {
				errs <- err
				return
			}
			tokens <- req.GetToken()
		}
	}()
	if err := stream.Send(&globalv1.WatchResponse{Part: &globalv1.WatchResponse_Snapshot{Snapshot: &globalv1.DirectorySnapshot{Fleet: testFleet, Node: "g1"}}}); err != nil {
		return err
	}
	synced := false
	for {
		g.mu.Lock()
		moved := g.moved
		g.mu.Unlock()
		for _, e := range g.entries() {
			if err := stream.Send(&globalv1.WatchResponse{Part: &globalv1.WatchResponse_Entry{Entry: e}}); err != nil {
				return err
			}
		}
		if !synced {
			synced = true
			_ = stream.Send(&globalv1.WatchResponse{Part: &globalv1.WatchResponse_Synced{Synced: &globalv1.DirectorySynced{}}})
		}
		select {
		case err := <-errs:
			return err
		case <-moved:
		case token := <-tokens:
			out := &globalv1.Confirmations{Token: token}
			for _, name := range slices.Sorted(maps.Keys(g.world.regions)) {
				g.mu.Lock()
				hidden := g.hidden[name]
				g.mu.Unlock()
				if !hidden {
					out.Confirmations = append(out.Confirmations, g.world.confirmation(name))
				}
			}
			_ = stream.Send(&globalv1.WatchResponse{Part: &globalv1.WatchResponse_Confirmations{Confirmations: out}})
		}
	}
}
