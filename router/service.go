package router

import (
	"context"
	"errors"
	"fmt"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// service answers the router's API. Safe for concurrent use.
type service struct {
	routerv1.UnimplementedRouterServiceServer

	// Set by New, then constant.
	cfg      Config
	copy     *copyOf
	clients  *regions
	watchers *watchers
	metrics  *metrics
}

// ListRegions describes the regions of the directory.
func (s *service) ListRegions(context.Context, *routerv1.ListRegionsRequest) (*routerv1.ListRegionsResponse, error) {
	if len(s.copy.names()) == 0 {
		return nil, errNoRegion
	}
	return &routerv1.ListRegionsResponse{Regions: s.describe()}, nil
}

func (s *service) describe() []*routerv1.RegionInfo {
	var out []*routerv1.RegionInfo
	for _, name := range s.copy.names() {
		rec, apps := s.copy.record(name)
		st, ok := s.copy.standing(name, "")
		if !ok {
			continue
		}
		info := &routerv1.RegionInfo{Region: string(name), Locality: rec.Locality, Apps: uint64(apps), Coverage: st.Part.Proto()}
		for _, g := range rec.Gateways {
			info.Gateways = append(info.Gateways, g.Address)
		}
		out = append(out, info)
	}
	return out
}

// Status describes this router. It answers whatever else is down.
func (s *service) Status(context.Context, *routerv1.StatusRequest) (*routerv1.StatusResponse, error) {
	here, ever := s.copy.age()
	resp := &routerv1.StatusResponse{
		Fleet: s.cfg.Fleet, Node: string(s.cfg.Node), Version: s.cfg.Version, Ready: s.notReady() == nil,
		GlobalNode: s.copy.following(), DirectoryAgeMs: milliseconds(here), FromLastGood: here < 0 && ever >= 0,
		Regions: s.describe(), Watches: uint64(s.watchers.count()),
	}
	for _, r := range resp.Regions {
		resp.Edges += r.GetApps()
	}
	if n := s.copy.marked(); n > 0 {
		resp.Alarms = append(resp.Alarms, fmt.Sprintf("rows that the global node lacks, kept until that is confirmed: %d", n))
	}
	if err := s.notReady(); err != nil {
		resp.Alarms = append(resp.Alarms, err.Error())
	}
	return resp, nil
}

// notReady says why the router can answer nothing, or nil.
func (s *service) notReady() error {
	if len(s.copy.names()) == 0 {
		return errors.New(NoRegion)
	}
	return nil
}

// changed is told of every change of the directory.
func (s *service) changed(region fleet.Region, app fleet.App) { s.watchers.changed(region, app) }
