package watch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/record"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region/read"
)

// MaxInterests bounds the interests of one stream: an edge with more apps
// opens another.
const MaxInterests = 20_000

// Stream is the client's side of a session.
type Stream interface {
	Send(*regionv1.WatchResponse) error
	Recv() (*regionv1.WatchRequest, error)
	Context() context.Context
}

// Server serves sessions. Safe for concurrent use.
type Server struct {
	Hub      *Hub
	Reader   *read.Reader
	Coverage func() *clusterv1.Coverage // of this node's answers, now
	Changed  *Broadcast                 // fired when Coverage changes; may be nil
	Every    time.Duration              // how often status is sent unasked; zero means 5s
}

// ErrHello says that a stream did not begin as it must.
var ErrHello = errors.New("the first message of a watch says who watches (hello)")

// Serve serves one stream until it ends: nil if the client ended it.
func (s *Server) Serve(stream Stream) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if first.GetHello() == nil {
		return ErrHello
	}
	s.Hub.metrics.sessions.Inc()
	defer s.Hub.metrics.sessions.Dec()
	g, ctx := errgroup.WithContext(stream.Context())
	requests := make(chan *regionv1.WatchRequest) // the client waits while a request is worked on
	g.Go(func() error {
		defer close(requests)
		for {
			req, err := stream.Recv()
			if err != nil {
				return err
			}
			select {
			case requests <- req:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	ses := &session{Server: s, send: stream.Send, inbox: newInbox(), interests: map[uint64]*interest{}, subs: map[*Sub]*interest{}}
	defer ses.close()
	g.Go(func() error { return ses.run(ctx, requests) })
	return g.Wait()
}

// session is one stream; everything in it is owned by run.
type session struct {
	*Server
	send      func(*regionv1.WatchResponse) error
	inbox     *inbox
	interests map[uint64]*interest
	subs      map[*Sub]*interest
	pending   []*Sub // have more for the client than was sent in their last turn
	status    *regionv1.WatchStatus
}

// interest is what a session knows of one of its interests.
type interest struct {
	id      uint64
	sub     *Sub
	columns []string              // of the table
	held    map[record.Key]uint64 // app: the machines that the client holds, with a hash of what it was told; 0 is unknown
	sum     uint64                // over the keys of held
	syncing bool                  // synced has yet to be sent
	told    Position
}

// forget is for a client that holds nothing.
func (in *interest) forget() { in.held, in.sum = map[record.Key]uint64{}, 0 }

// hold takes note that the client holds a machine, and what it was told of it.
func (in *interest) hold(k record.Key, told uint64) {
	if _, ok := in.held[k]; !ok {
		in.sum += hashKey(k)
	}
	in.held[k] = told
}

func (in *interest) release(k record.Key) {
	if _, ok := in.held[k]; ok {
		in.sum -= hashKey(k)
	}
	delete(in.held, k)
}

// at is the client's position after a batch.
func (in *interest) at(b batch) *Position {
	return &Position{Feed: b.position, Held: in.sum, Suspects: b.suspects}
}

// chunk is how many rows are read at once, and held while they are sent.
const chunk = 256

func (s *session) run(ctx context.Context, requests <-chan *regionv1.WatchRequest) error {
	every := s.Every
	if every == 0 {
		every = 5 * time.Second
	}
	ready := make(chan struct{})
	close(ready)
	tick := time.NewTicker(every)
	defer tick.Stop()
	if err := s.tellStatus(true); err != nil {
		return err
	}
	for {
		var changed <-chan struct{}
		if s.Changed != nil {
			changed = s.Changed.Wait()
		}
		if err := s.tellStatus(false); err != nil {
			return err
		}
		if err := s.deliver(ctx); err != nil {
			return err
		}
		var more <-chan struct{}
		if len(s.pending) > 0 {
			more = ready
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-more:
		case req, ok := <-requests:
			if !ok {
				return nil
			}
			if err := s.request(ctx, req); err != nil {
				return err
			}
		case <-s.inbox.wake:
		case <-changed:
		case <-tick.C:
			if err := errors.Join(s.tellStatus(true), s.bookmarks()); err != nil {
				return err
			}
		}
	}
}

func (s *session) close() {
	for _, in := range s.interests {
		s.Hub.unsubscribe(in.sub)
	}
}

func (s *session) request(ctx context.Context, req *regionv1.WatchRequest) error {
	switch part := req.GetPart().(type) {
	case *regionv1.WatchRequest_Add:
		return s.add(ctx, part.Add)
	case *regionv1.WatchRequest_Remove:
		if in, ok := s.interests[part.Remove]; ok {
			s.Hub.unsubscribe(in.sub)
			delete(s.interests, part.Remove)
			delete(s.subs, in.sub)
		}
	}
	return nil // acknowledgements mean something to rings only
}

// add begins an interest: from its position if that can be, else from a
// snapshot.
func (s *session) add(ctx context.Context, req *regionv1.WatchInterest) error {
	what, columns, err := s.what(req)
	if err != nil {
		return s.event(&interest{id: req.GetId()}, nil, &regionv1.WatchResponse{Event: &regionv1.WatchResponse_Refused{
			Refused: &regionv1.WatchRefused{Reason: err.Error()}}})
	}
	in := &interest{id: req.GetId(), columns: columns, sub: s.Hub.subscribe(what, s.inbox), syncing: true}
	s.interests[in.id] = in
	s.subs[in.sub] = in
	if len(req.GetPosition()) == 0 {
		return s.snapshot(ctx, in)
	}
	p, err := DecodePosition(req.GetPosition())
	if err == nil {
		var held []record.Key
		if held, err = s.Hub.resume(ctx, in.sub, p); err == nil {
			in.forget()
			for _, k := range held {
				in.hold(k, 0)
			}
			s.Hub.metrics.resumes.Inc()
			return nil
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.resync(ctx, in, err.Error())
}

func (s *session) what(req *regionv1.WatchInterest) (What, []string, error) {
	id := req.GetId()
	switch {
	case id == 0:
		return What{}, nil, errors.New("interest 0 is the stream itself: choose another id")
	case s.interests[id] != nil:
		return What{}, nil, fmt.Errorf("interest %d is on this stream already", id)
	case len(s.interests) >= MaxInterests:
		return What{}, nil, fmt.Errorf("a stream has at most %d interests: open another", MaxInterests)
	}
	switch w := req.GetWhat().(type) {
	case *regionv1.WatchInterest_App:
		app := fleet.App(w.App)
		return What{App: app}, nil, app.Check()
	case *regionv1.WatchInterest_Table:
		return s.table(w.Table, nil)
	case *regionv1.WatchInterest_Key:
		if len(w.Key.GetKey()) == 0 {
			return What{}, nil, errors.New("the key has no column")
		}
		return s.table(w.Key.GetTable(), w.Key.GetKey())
	}
	return What{}, nil, errors.New("an interest is an app, a table or a key")
}

// table checks a table's name and, if one is given, the key of a row.
func (s *session) table(name string, key []*clusterv1.Value) (What, []string, error) {
	var names []string
	for _, t := range s.Reader.Store.Tables() {
		if names = append(names, t.Name); t.Name != name {
			continue
		}
		what := What{Table: name}
		if key == nil {
			return what, t.Names(), nil
		}
		if len(key) != len(t.Key) {
			return What{}, nil, fmt.Errorf("the key of table %s has %d columns, not %d", name, len(t.Key), len(key))
		}
		vals := make([]record.Value, len(key))
		for i, v := range key {
			vals[i] = read.FromProto(v)
		}
		k, err := record.EncodeKey(vals...)
		what.Key = k
		return what, t.Names(), err
	}
	return What{}, nil, fmt.Errorf("there is no replicated table %q; there are %q", name, names)
}

// snapshot begins an interest from nothing.
func (s *session) snapshot(ctx context.Context, in *interest) error {
	s.Hub.metrics.snapshots.Inc()
	in.forget()
	in.syncing = true
	if err := s.event(in, nil, &regionv1.WatchResponse{Event: &regionv1.WatchResponse_Snapshot{Snapshot: &regionv1.WatchSnapshot{}}}); err != nil {
		return err
	}
	switch what := in.sub.what; {
	case what.App != "":
		s.Hub.snapshotApp(in.sub)
	case what.Key != "":
		s.Hub.fill(in.sub, []record.Key{what.Key})
	default:
		keys, err := s.Reader.Keys(ctx, what.Table)
		if err != nil {
			return err
		}
		s.Hub.fill(in.sub, keys)
	}
	return nil
}

func (s *session) resync(ctx context.Context, in *interest, reason string) error {
	err := s.event(in, nil, &regionv1.WatchResponse{Event: &regionv1.WatchResponse_Resync{Resync: &regionv1.WatchResync{Reason: reason}}})
	if err != nil {
		return err
	}
	return s.snapshot(ctx, in)
}

// event sends one event of an interest; p is the position that it completes.
func (s *session) event(in *interest, p *Position, ev *regionv1.WatchResponse) error {
	ev.Interest = in.id
	if p != nil {
		ev.Position = p.Encode()
		in.told = *p
	}
	s.Hub.metrics.events.Inc()
	return s.send(ev)
}
