package world

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/identity"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// Region answers every question with one row, after its delay.
type Region struct {
	regionv1.UnimplementedRegionServiceServer
	Name  string
	Addr  string // of its gateway
	Apps  []string
	delay time.Duration

	Asked atomic.Uint64 // questions that came
	Hold  atomic.Int64  // nanoseconds more before each answer; negative means that none comes
}

// AddRegion starts the gateway of a region in which some apps run.
func (w *World) AddRegion(name string, delay time.Duration, apps ...string) (*Region, error) {
	r := &Region{Name: name, Apps: apps, delay: delay}
	var err error
	r.Addr, err = w.Serve(identity.ID{Role: identity.Gateway, Region: name, Name: r.gateway()},
		func(s *grpc.Server) { regionv1.RegisterRegionServiceServer(s, r) })
	return r, err
}

func (r *Region) gateway() string { return r.Name + "-g1" }

// wait is the way to the region and back.
func (r *Region) wait(ctx context.Context) error {
	d := r.delay
	hold := r.Hold.Load()
	if hold < 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	if d += time.Duration(hold); d == 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Query implements the region's API.
func (r *Region) Query(_ *regionv1.QueryRequest, stream regionv1.RegionService_QueryServer) error {
	r.Asked.Add(1)
	if err := r.wait(stream.Context()); err != nil {
		return err
	}
	one := &clusterv1.Row{Values: []*clusterv1.Value{{Kind: &clusterv1.Value_Integer{Integer: 1}}}}
	if err := stream.Send(&regionv1.QueryResponse{Columns: []string{"n"}, Rows: []*clusterv1.Row{one}}); err != nil {
		return err
	}
	return stream.Send(&regionv1.QueryResponse{End: &regionv1.QueryEnd{
		Rows: 1, NewestEndAgeMs: -1, Coverage: &clusterv1.Coverage{Region: r.Name, State: clusterv1.CoverageState_COVERAGE_STATE_LIVE},
	}})
}

// Watch implements the region's API: a router follows the whole region, and
// nothing ever happens in it.
func (r *Region) Watch(stream regionv1.RegionService_WatchServer) error {
	<-stream.Context().Done()
	return stream.Context().Err()
}

var generation = &clusterv1.Generation{Number: 1, Bits: 7}

// global is a global node that knows what the regions run.
type global struct {
	globalv1.UnimplementedDirectoryServiceServer
	regions []*Region
}

// AddGlobal starts a global node that knows the regions and confirms them.
func (w *World) AddGlobal(regions ...*Region) (string, error) {
	g := &global{regions: regions}
	return w.Serve(identity.ID{Role: identity.Global, Name: "g1"}, func(s *grpc.Server) { globalv1.RegisterDirectoryServiceServer(s, g) })
}

// Watch implements the directory's API.
func (g *global) Watch(stream globalv1.DirectoryService_WatchServer) error {
	parts := []*globalv1.WatchResponse{{Part: &globalv1.WatchResponse_Snapshot{Snapshot: &globalv1.DirectorySnapshot{Fleet: Fleet, Node: "g1"}}}}
	for _, r := range g.regions {
		for _, e := range r.entries() {
			parts = append(parts, &globalv1.WatchResponse{Part: &globalv1.WatchResponse_Entry{Entry: e}})
		}
	}
	parts = append(parts, &globalv1.WatchResponse{Part: &globalv1.WatchResponse_Synced{Synced: &globalv1.DirectorySynced{}}})
	for _, p := range parts {
		if err := stream.Send(p); err != nil {
			return err
		}
	}
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		out := &globalv1.Confirmations{Token: req.GetToken()}
		for _, r := range g.regions {
			out.Confirmations = append(out.Confirmations, r.confirmation())
		}
		if err := stream.Send(&globalv1.WatchResponse{Part: &globalv1.WatchResponse_Confirmations{Confirmations: out}}); err != nil {
			return err
		}
	}
}

func (r *Region) record() *globalv1.RegionRecord {
	return &globalv1.RegionRecord{
		Region: r.Name, Generation: generation, Stamp: 1000, Reporter: r.gateway(), Locality: "l-" + r.Name,
		Gateways: []*globalv1.Gateway{{Node: r.gateway(), Address: r.Addr}},
	}
}

func (r *Region) entries() []*globalv1.DirectoryEntry {
	rank := []byte(fmt.Sprintf("%020d", 1))
	out := []*globalv1.DirectoryEntry{
		{Region: r.Name, Rank: rank, Generation: &globalv1.RegionGeneration{Region: r.Name, Generation: generation}},
		{Region: r.Name, Rank: rank, Record: r.record()},
	}
	for _, app := range r.Apps {
		out = append(out, &globalv1.DirectoryEntry{Region: r.Name, Rank: rank, Presence: &globalv1.Presence{
			App: app, Class: uint32(presence.ClassOf(1)), Stamp: 1000, Reporter: r.gateway(), Generation: generation,
		}})
	}
	return out
}

// confirmation is the digest of what the region runs.
func (r *Region) confirmation() *globalv1.Confirmation {
	h := presence.NewHasher(Fleet, fleet.Region(r.Name))
	rec := r.record()
	digest := h.Region(presence.Region{
		Name: fleet.Region(r.Name), Locality: rec.Locality,
		Gateways: []presence.Gateway{{Node: fleet.Worker(r.gateway()), Address: r.Addr}},
	})
	for _, app := range r.Apps {
		digest = digest.Add(h.App(fleet.App(app)))
	}
	return &globalv1.Confirmation{
		Region: r.Name, Generation: generation, Reporter: r.gateway(), Algorithm: presence.DigestAlgorithm, Digest: digest.Bytes(), AgeMs: 1,
	}
}
