package watch

import (
	"context"
	"fmt"

	"github.com/zeebo/xxh3"
	"google.golang.org/protobuf/proto"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region/read"
	"github.com/firebreak-dev/firebreak/region/roster"
)

// deliver tells every interest that something waits for a chunk of it. What is
// left is in s.pending, so that requests and status get their turn.
func (s *session) deliver(ctx context.Context) error {
	subs := append(s.pending, s.Hub.dirty(s.inbox)...)
	s.pending = nil
	for _, sub := range subs {
		in, ok := s.subs[sub]
		if !ok {
			continue // removed meanwhile
		}
		more, err := s.deliverSome(ctx, in)
		if err != nil {
			return err
		}
		if more {
			s.pending = append(s.pending, sub)
		}
	}
	return nil
}

// deliverSome tells one interest at most a chunk of what waits for it.
func (s *session) deliverSome(ctx context.Context, in *interest) (more bool, err error) {
	b := s.Hub.next(in.sub, chunk)
	if b.lost {
		return true, s.resync(ctx, in, "this node read everything again, or the stream was too slow")
	}
	events, err := s.events(ctx, in, b.keys)
	if err != nil {
		return false, err
	}
	if b.last && in.syncing {
		events = append(events, &regionv1.WatchResponse{Event: &regionv1.WatchResponse_Synced{Synced: &regionv1.WatchSynced{}}})
		in.syncing = false
	}
	for i, ev := range events {
		var p *Position
		if b.last && i == len(events)-1 {
			p = in.at(b)
		}
		if err := s.event(in, p, ev); err != nil {
			return false, err
		}
	}
	return !b.last, nil
}

func (s *session) events(ctx context.Context, in *interest, keys []record.Key) ([]*regionv1.WatchResponse, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	if in.sub.what.App != "" {
		return s.machines(ctx, in, keys)
	}
	rows, err := s.Reader.Rows(ctx, in.sub.what.Table, keys)
	if err != nil {
		return nil, err
	}
	var out []*regionv1.WatchResponse
	for i, row := range rows {
		ev := &regionv1.WatchResponse{}
		w := &regionv1.WatchRow{Table: in.sub.what.Table, Columns: in.columns}
		if row != nil {
			w.Row = read.RowProto(row)
			ev.Event = &regionv1.WatchResponse_Row{Row: w}
		} else {
			cols, err := keys[i].Columns()
			if err != nil {
				return nil, fmt.Errorf("watch table %s: %w", in.sub.what.Table, err)
			}
			w.Row, w.Columns = read.RowProto(store.Row(cols)), in.columns[:len(cols)]
			ev.Event = &regionv1.WatchResponse_Deleted{Deleted: w}
		}
		out = append(out, ev)
	}
	return out, nil
}

// machines makes the events of an app's interest: a machine whose answer is
// what the client was told last makes none.
func (s *session) machines(ctx context.Context, in *interest, keys []record.Key) ([]*regionv1.WatchResponse, error) {
	names := make([]roster.Key, len(keys))
	for i, k := range keys {
		var err error
		if names[i], err = machineKey(k); err != nil {
			return nil, err
		}
	}
	answers, err := s.Reader.Machines(ctx, names)
	if err != nil {
		return nil, err
	}
	var out []*regionv1.WatchResponse
	for i, m := range answers {
		told, held := in.held[keys[i]]
		mine := m != nil && fleet.App(m.GetApp()) == in.sub.what.App
		if !mine || m.GetState() == regionv1.MachineState_MACHINE_STATE_ENDED {
			if held {
				in.release(keys[i])
				out = append(out, &regionv1.WatchResponse{Event: &regionv1.WatchResponse_Gone{Gone: &regionv1.MachineGone{
					Worker: string(names[i].Worker), Id: string(names[i].ID), Ended: m == nil || mine}}})
			}
			continue
		}
		now, err := hash(m)
		if err != nil {
			return nil, err
		}
		if !held || told != now {
			in.hold(keys[i], now)
			out = append(out, &regionv1.WatchResponse{Event: &regionv1.WatchResponse_Machine{Machine: m}})
		}
	}
	return out, nil
}

func hash(m *regionv1.Machine) (uint64, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return 0, fmt.Errorf("watch machine %q: %w", m.GetId(), err)
	}
	return max(xxh3.Hash(b), 1), nil
}

// far is how many feed entries a told position may fall behind before a
// bookmark moves it on.
const far = 1024

// bookmarks moves the positions of quiet interests on.
func (s *session) bookmarks() error {
	for _, in := range s.interests {
		b := s.Hub.next(in.sub, 0)
		if b.lost || !b.last || in.syncing || b.position.Sequence < in.told.Feed.Sequence+far {
			continue
		}
		err := s.event(in, in.at(b), &regionv1.WatchResponse{Event: &regionv1.WatchResponse_Bookmark{Bookmark: &regionv1.WatchBookmark{}}})
		if err != nil {
			return err
		}
	}
	return nil
}

// tellStatus says how far this node can be believed: when that changed, or
// when it is time.
func (s *session) tellStatus(due bool) error {
	st := &regionv1.WatchStatus{Coverage: s.Coverage(), NewestEndAgeMs: -1}
	same := s.status != nil && s.status.GetCoverage().GetState() == st.GetCoverage().GetState() &&
		s.status.GetCoverage().GetWithheld() == st.GetCoverage().GetWithheld()
	if same && !due {
		return nil
	}
	var apps []fleet.App
	for _, in := range s.interests {
		if in.sub.what.App != "" {
			apps = append(apps, in.sub.what.App)
		}
	}
	if len(apps) > 0 {
		if age := s.Hub.NewestEnd(apps...); age >= 0 {
			st.NewestEndAgeMs = age.Milliseconds()
		}
	}
	s.status = st
	return s.send(&regionv1.WatchResponse{Event: &regionv1.WatchResponse_Status{Status: st}})
}
