package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/watchdog"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
	"github.com/firebreak-dev/firebreak/router/directory"
)

const (
	tokenEvery  = 2 * time.Second
	globalQuiet = 10 * time.Second // without an answer to a token: another global node
	lookAround  = 30 * time.Second // with marked rows: another global node is asked
)

// follower follows one global node and fails over to the next.
type follower struct {
	// Set by New, then constant.
	router  string
	targets []string
	dial    func(addr string) (*grpc.ClientConn, error)
	copy    *copyOf
	changed func(region fleet.Region, app fleet.App) // an app's standing in a region may differ; app "" means any
	log     *slog.Logger
	metrics *metrics
	loop    *watchdog.Loop
}

// errLookAround ends a healthy session so that another global node is asked
// about rows that this one's snapshot lacked.
var errLookAround = errors.New("asking another global node about rows that this one lacks")

// run follows until ctx ends.
func (f *follower) run(ctx context.Context) error {
	defer f.loop.Rest()
	if len(f.targets) == 0 {
		f.loop.Rest()
		<-ctx.Done()
		return nil
	}
	wait := backoff.New(backoff.Config{Base: 200 * time.Millisecond, Max: 5 * time.Second}, rand.Uint64())
	for i := rand.IntN(len(f.targets)); ctx.Err() == nil; i++ {
		f.loop.Mark()
		target := f.targets[i%len(f.targets)]
		held, err := f.follow(ctx, target)
		f.copy.unfollow()
		if ctx.Err() != nil {
			return nil
		}
		f.metrics.failovers.Inc()
		f.log.Warn("global node lost", "peer", target, "err", err)
		if held {
			wait.Reset()
		}
		if backoff.Wait(ctx, wait.Next()) != nil {
			return nil
		}
	}
	return nil
}

// follow holds one session and reports whether it got as far as a snapshot.
func (f *follower) follow(ctx context.Context, target string) (held bool, err error) {
	conn, err := f.dial(target)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := globalv1.NewDirectoryServiceClient(conn).Watch(ctx)
	if err != nil {
		return false, fmt.Errorf("watch directory: %w", err)
	}
	s := &globalSession{follower: f, target: target}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.send(gctx, stream) })
	g.Go(func() error {
		quiet := time.AfterFunc(globalQuiet, func() { cancel(fmt.Errorf("no answer for %v", globalQuiet)) })
		defer quiet.Stop()
		for {
			resp, err := stream.Recv()
			if err != nil {
				cancel(err) // so that the sender stops too
				return err
			}
			f.loop.Mark()
			answered, err := s.guarded(resp)
			if err != nil {
				cancel(err)
				return err
			}
			if answered || !s.synced { // a long snapshot is no silence
				quiet.Reset(globalQuiet)
			}
		}
	})
	err = g.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return s.synced, err
}

// globalSession is one stream to a global node.
type globalSession struct {
	*follower
	target string

	// Owned by the receiver.
	source string
	synced bool
	since  directory.Instant // of synced
}

// send says who we are and sends a token every 2 s. A token is its own moment:
// nanoseconds of this process's monotonic clock.
func (s *globalSession) send(ctx context.Context, stream grpc.BidiStreamingClient[globalv1.WatchRequest, globalv1.WatchResponse]) error {
	first := true
	t := time.NewTicker(tokenEvery)
	defer t.Stop()
	for {
		req := &globalv1.WatchRequest{Token: uint64(s.copy.now().Mono)}
		if first {
			req.Router, first = s.router, false
		}
		if err := stream.Send(req); err != nil {
			return fmt.Errorf("send token: %w", err)
		}
		s.loop.Mark()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// guarded turns a panic over what a global node sent into the end of its
// session: another one is followed, and the copy stays.
func (s *globalSession) guarded(resp *globalv1.WatchResponse) (answered bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("reading the directory panicked", "peer", s.source, "panic", p)
			err = fmt.Errorf("message could not be read: %v", p)
		}
	}()
	return s.handle(resp)
}

// handle takes one message and reports whether it answered a token.
func (s *globalSession) handle(resp *globalv1.WatchResponse) (answered bool, err error) {
	switch {
	case resp.GetSnapshot() != nil:
		return false, s.begin(resp.GetSnapshot())
	case resp.GetEntry() != nil:
		s.entry(resp.GetEntry())
	case resp.GetSynced() != nil:
		if s.source == "" {
			return false, errors.New("a snapshot ended that did not begin")
		}
		s.synced, s.since = true, s.copy.now()
		for _, region := range s.copy.synced() {
			s.changed(region, "")
		}
	case resp.GetConfirmations() != nil:
		return s.confirmations(resp.GetConfirmations())
	}
	return false, nil
}

func (s *globalSession) begin(snap *globalv1.DirectorySnapshot) error {
	if snap.GetFleet() != s.copy.fleet {
		return fmt.Errorf("global node %q is of fleet %q, not %q", snap.GetNode(), snap.GetFleet(), s.copy.fleet)
	}
	if err := fleet.Worker(snap.GetNode()).Check(); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	s.source = snap.GetNode()
	if s.copy.begin(s.source) {
		s.log.Warn("copy of the directory is too old to be merged: it is replaced", "peer", s.source, "limit", directory.MaxAge)
	}
	s.log.Info("following global node", "peer", s.source, "address", s.target)
	return nil
}

func (s *globalSession) entry(e *globalv1.DirectoryEntry) {
	entry, err := directory.FromEntry(e)
	if err != nil {
		s.metrics.badEntries.Inc()
		s.log.Debug("directory entry dropped", "peer", s.source, "err", err)
		return
	}
	if !s.copy.merge(entry) {
		return
	}
	s.metrics.entries.Inc()
	if entry.Presence != nil {
		s.changed(entry.Region, entry.Presence.App)
		return
	}
	s.changed(entry.Region, "")
}

// confirmations takes the answer to a token. Its age begins with the sending
// of the token, so time spent in sockets and queues counts.
func (s *globalSession) confirmations(c *globalv1.Confirmations) (bool, error) {
	now := s.copy.now()
	sent := now.Add(-(now.Mono - time.Duration(c.GetToken())))
	if c.GetToken() == 0 || sent.Mono > now.Mono || now.Mono-sent.Mono > time.Hour {
		return false, nil // not a token of this process
	}
	for _, conf := range c.GetConfirmations() {
		got, err := directory.FromConfirmation(conf, sent)
		if err != nil {
			s.metrics.badEntries.Inc()
			s.log.Debug("confirmation dropped", "peer", s.source, "err", err)
			continue
		}
		if s.copy.confirm(got) {
			s.changed(got.Region, "")
		}
	}
	if !s.synced {
		return true, nil
	}
	s.copy.hear(s.source, sent)
	if len(s.targets) > 1 && now.Since(s.since) > lookAround && s.copy.marked() > 0 {
		return true, errLookAround
	}
	return true, nil
}
