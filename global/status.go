package global

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/firebreak-dev/firebreak/global/directory"
	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/store"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
)

// Status implements globalv1.DirectoryServiceServer.
func (s *directoryService) Status(ctx context.Context, _ *globalv1.StatusRequest) (*globalv1.StatusResponse, error) {
	n := s.node
	state, w := n.state.Load(), n.list.store.Writer()
	out := &globalv1.StatusResponse{
		Fleet: n.cfg.Fleet, Node: string(n.cfg.Node), Boot: w.Boot, Bits: w.Bits, Version: n.cfg.Version,
		Serving: state.serving, NotServingBecause: state.because,
	}
	for _, p := range n.mesh.Peers() {
		out.Members = append(out.Members, &globalv1.Member{
			Node: string(p.Node), State: stateName(p.State), Connected: n.peers.connected(p.Node), Address: p.Address,
		})
	}
	out.Lanes = append(out.Lanes, laneStatus(ctx, n.list, 0))
	for _, l := range n.lanes.sorted() {
		rows := 0
		l.view(func(c *directory.Core) {
			rows = c.Rows()
			out.Alarms = append(out.Alarms, c.Alarms(n.now())...)
		})
		out.Lanes = append(out.Lanes, laneStatus(ctx, l.ledger, rows))
	}
	failures := n.lanes.failures()
	for _, region := range slices.Sorted(maps.Keys(failures)) {
		out.Alarms = append(out.Alarms, fmt.Sprintf("region %s is not served by this node, restart it: %v", region, failures[region]))
	}
	if state.alone {
		out.Alarms = append(out.Alarms, "this node has met no other global node since its start and serves what its disk holds")
	}
	return out, nil
}

func laneStatus(ctx context.Context, l *ledger, rows int) *globalv1.LaneStatus {
	if l.runner == nil {
		return &globalv1.LaneStatus{Region: l.lane} // not open; alarmed
	}
	root := l.runner.Root()
	return &globalv1.LaneStatus{
		Region: l.lane, Root: hex.EncodeToString(root[:]), Rows: uint64(rows),
		Gaps: gaps(l), Withheld: uint64(len(withheld(ctx, l.store))),
	}
}

// gaps counts the versions that are known of and not received.
func gaps(l *ledger) (n uint64) {
	for _, set := range l.runner.Received() {
		for _, g := range set.Gaps {
			n += g.Len()
		}
	}
	return n
}

// withheld lists what a lane has received and does not show.
func withheld(ctx context.Context, db store.Store) []store.Withheld {
	snap, err := db.Snapshot(ctx)
	if err != nil {
		return nil
	}
	defer func() { _ = snap.Close() }()
	list, err := snap.Withheld()
	if err != nil {
		return nil
	}
	return list
}

func stateName(s mesh.State) string {
	switch s {
	case mesh.Alive:
		return "alive"
	case mesh.Suspected:
		return "suspected"
	case mesh.Dead:
		return "dead"
	case mesh.Restarting:
		return "restarting"
	case mesh.Draining:
		return "draining"
	}
	return "unknown"
}
