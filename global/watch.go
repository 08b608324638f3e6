package global

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/global/directory"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence/wire"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
)

// turn is how many entries of one region are sent before the next has its turn.
const turn = 256

// Watch implements globalv1.DirectoryServiceServer.
func (s *directoryService) Watch(stream globalv1.DirectoryService_WatchServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if err := fleet.Worker(first.GetRouter()).Check(); err != nil {
		return status.Errorf(codes.InvalidArgument, "router: %v", err)
	}
	if err := s.node.serves(); err != nil {
		return err
	}
	s.node.metrics.watches.Inc()
	defer s.node.metrics.watches.Dec()
	w := &watch{node: s.node, stream: stream, seqs: map[fleet.Region]uint64{}, tokens: make(chan uint64, 1), ended: make(chan error, 1)}
	if t := first.GetToken(); t != 0 {
		w.tokens <- t
	}
	go w.receive() // ends with the stream, when this function returns
	return w.run()
}

// watch is one router's. It holds a place in each region's sequence and no
// entries: a slow router finds each key once, as it is when its turn comes.
type watch struct {
	node   *Node
	stream globalv1.DirectoryService_WatchServer
	tokens chan uint64 // size 1: the newest
	ended  chan error  // size 1

	// Owned by run.
	seqs   map[fleet.Region]uint64
	synced bool
}

// receive takes tokens. A newer one replaces one that is not answered yet.
func (w *watch) receive() {
	for {
		m, err := w.stream.Recv()
		if err != nil {
			w.ended <- err
			return
		}
		if m.GetToken() == 0 {
			continue
		}
		select {
		case <-w.tokens:
		default:
		}
		w.tokens <- m.GetToken() // room was made, and nobody else fills it
	}
}

func (w *watch) run() error {
	b := newBell()
	w.node.lanes.watch(b)
	defer w.node.lanes.unwatch(b)
	snapshot := &globalv1.DirectorySnapshot{Fleet: w.node.cfg.Fleet, Node: string(w.node.cfg.Node)}
	if err := w.stream.Send(&globalv1.WatchResponse{Part: &globalv1.WatchResponse_Snapshot{Snapshot: snapshot}}); err != nil {
		return err
	}
	b.ring()
	for {
		select {
		case <-w.stream.Context().Done():
			return w.stream.Context().Err()
		case err := <-w.ended:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case t := <-w.tokens:
			if err := w.confirmations(t); err != nil {
				return err
			}
		case <-b:
			more, err := w.entries()
			if err != nil {
				return fmt.Errorf("send to router: %w", err)
			}
			if more {
				b.ring()
			}
		}
		if w.node.control.FreezeEgress() {
			return status.Error(codes.Unavailable, "egress of this node is frozen")
		}
	}
}

// entries sends each region's turn, and reports whether any has more. Once none
// has, the router is told that it has seen all.
func (w *watch) entries() (more bool, err error) {
	for _, l := range w.node.lanes.sorted() {
		var entries []directory.Entry
		l.view(func(c *directory.Core) { entries = c.After(w.seqs[l.region], turn) })
		for _, e := range entries {
			m := &globalv1.WatchResponse{Part: &globalv1.WatchResponse_Entry{Entry: entryMessage(l.region, e)}}
			if err := w.stream.Send(m); err != nil {
				return false, err
			}
			w.seqs[l.region] = e.Seq
		}
		w.node.metrics.entries.Add(float64(len(entries)))
		more = more || len(entries) == turn
	}
	if more || w.synced {
		return more, nil
	}
	w.synced = true
	return false, w.stream.Send(&globalv1.WatchResponse{Part: &globalv1.WatchResponse_Synced{Synced: &globalv1.DirectorySynced{}}})
}

func entryMessage(region fleet.Region, e directory.Entry) *globalv1.DirectoryEntry {
	m := &globalv1.DirectoryEntry{Region: string(region), Rank: []byte(e.Rank), Held: e.Held}
	switch {
	case e.Presence != nil:
		m.Presence = wire.Presence(*e.Presence)
	case e.Region != nil:
		m.Record = wire.Region(*e.Region)
	case e.Generation != nil:
		m.Generation = &globalv1.RegionGeneration{Region: string(region), Generation: wire.Generation(*e.Generation)}
	}
	return m
}

// confirmations answers a token with what each region's reporters last said.
func (w *watch) confirmations(token uint64) error {
	out := &globalv1.Confirmations{Token: token}
	for _, l := range w.node.lanes.sorted() {
		l.view(func(c *directory.Core) {
			for _, a := range c.Confirmations(w.node.now()) {
				out.Confirmations = append(out.Confirmations, &globalv1.Confirmation{
					Region: string(l.region), Generation: wire.Generation(a.Generation), Reporter: string(a.Reporter), Boot: a.Boot,
					Algorithm: presence.DigestAlgorithm, Digest: a.Digest.Bytes(),
					OfferedWithdrawals: a.Offered, Withheld: a.Withheld, AgeMs: a.Age.Milliseconds(),
				})
			}
		})
	}
	return w.stream.Send(&globalv1.WatchResponse{Part: &globalv1.WatchResponse_Confirmations{Confirmations: out}})
}
