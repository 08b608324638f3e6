package global

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/global/directory"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence/wire"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
)

// directoryService answers routers and operators.
type directoryService struct {
	globalv1.UnimplementedDirectoryServiceServer
	node *Node
}

// Lookup implements globalv1.DirectoryServiceServer.
func (s *directoryService) Lookup(_ context.Context, in *globalv1.LookupRequest) (*globalv1.LookupResponse, error) {
	app := fleet.App(in.GetApp())
	if err := app.Check(); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := s.node.serves(); err != nil {
		return nil, err
	}
	out := &globalv1.LookupResponse{}
	for _, l := range s.node.lanes.sorted() {
		l.view(func(c *directory.Core) {
			if class := c.Class(app); class > 0 {
				out.Regions = append(out.Regions, &globalv1.Found{
					Region: string(l.region), Class: uint32(class), ConfirmedAgeMs: ageMs(c, s.node.now()),
				})
			}
		})
	}
	return out, nil
}

// ListRegions implements globalv1.DirectoryServiceServer.
func (s *directoryService) ListRegions(context.Context, *globalv1.ListRegionsRequest) (*globalv1.ListRegionsResponse, error) {
	if err := s.node.serves(); err != nil {
		return nil, err
	}
	out := &globalv1.ListRegionsResponse{}
	for _, l := range s.node.lanes.sorted() {
		info := &globalv1.RegionInfo{Region: string(l.region)}
		l.view(func(c *directory.Core) {
			now := s.node.now()
			g, _ := c.Generation()
			info.Generation, info.Apps, info.ConfirmedAgeMs = wire.Generation(g), uint64(c.Present()), ageMs(c, now)
			if r, ok := c.Region(); ok {
				info.Record = wire.Region(r)
			}
			for _, w := range c.Confirmed(now) {
				info.Reporters = append(info.Reporters, string(w))
			}
			for _, app := range c.HeldApps() {
				info.Held = append(info.Held, string(app))
			}
		})
		out.Regions = append(out.Regions, info)
	}
	return out, nil
}

func ageMs(c *directory.Core, now directory.Instant) int64 {
	if age, ok := c.Age(now); ok {
		return age.Milliseconds()
	}
	return -1
}

// operatorService writes the list of regions.
type operatorService struct {
	globalv1.UnimplementedOperatorServiceServer
	node *Node
}

// AddRegion implements globalv1.OperatorServiceServer. Adding a region that is
// there changes nothing and returns what it has. The answer comes once this
// node takes reports for it.
func (s *operatorService) AddRegion(ctx context.Context, in *globalv1.AddRegionRequest) (*globalv1.AddRegionResponse, error) {
	region := fleet.Region(in.GetRegion())
	if err := region.Check(); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	g := wire.ToGeneration(in.GetGeneration())
	if in.GetGeneration() == nil {
		g = presence.Generation{Number: 1, Bits: randomToken()}
	}
	if g.Number == 0 || g.Number > 1<<32 {
		return nil, status.Errorf(codes.InvalidArgument, "generation number %d is not in 1 to 2^32", g.Number)
	}
	if err := s.node.serves(); err != nil {
		return nil, err
	}
	g, existed, err := s.node.lanes.addRegion(ctx, region, g)
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "write the list of regions: %v", err)
	}
	if err := s.node.lanes.await(ctx, region); err != nil {
		return nil, status.Errorf(codes.Unavailable, "the region is in the list, and not open here yet: %v", err)
	}
	return &globalv1.AddRegionResponse{Generation: wire.Generation(g), Existed: existed}, nil
}
