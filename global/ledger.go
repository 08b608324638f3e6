package global

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica/runner"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/watchdog"
)

// ledger is one lane's database and its replication: a region's, or the list
// of regions.
type ledger struct {
	// Set when it is opened, then constant.
	lane   string // region, or empty for the list
	store  store.Store
	runner *runner.Runner
	peers  *peers
	loop   *watchdog.Loop // of the runner
	tables map[string]schema.Table
	apply  func(table string, row store.Row, rank record.Rank) error
	after  func() // a batch was applied
	log    *slog.Logger

	once   sync.Once
	loaded chan struct{} // closed once everything on disk was applied
}

func newLedger(lane string, db store.Store, r *runner.Runner, p *peers, loop *watchdog.Loop, log *slog.Logger) *ledger {
	l := &ledger{lane: lane, store: db, runner: r, peers: p, loop: loop, log: log, tables: map[string]schema.Table{}, loaded: make(chan struct{})}
	for _, t := range db.Tables() {
		l.tables[t.Name] = t
	}
	return l
}

// run replicates and follows the store until ctx ends.
func (l *ledger) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer l.loop.Rest() // what ended is not wedged
		return l.runner.Run(ctx)
	})
	group.Go(func() error { return l.peers.follow(ctx, l.runner) })
	if db, ok := l.store.(interface{ Watch(context.Context) error }); ok {
		group.Go(func() error { return db.Watch(ctx) })
	}
	group.Go(func() error { return l.follow(ctx) })
	return group.Wait()
}

// follow applies every visible row and then every change, in commit order.
func (l *ledger) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		at, err := l.load(ctx)
		if err == nil {
			err = l.read(ctx, at)
		}
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, store.ErrResync): // fell behind what is kept: all of it again
		default:
			return fmt.Errorf("follow lane %q: %w", l.lane, err)
		}
	}
	return nil
}

func (l *ledger) load(ctx context.Context) (store.Position, error) {
	snap, err := l.store.Snapshot(ctx)
	if err != nil {
		return store.Position{}, err
	}
	defer func() { _ = snap.Close() }()
	for _, t := range l.store.Tables() {
		err := snap.Scan(t.Name, nil, func(row store.Row, at record.Point, _ int64) error {
			l.take(t.Name, row, at)
			return nil
		})
		if err != nil {
			return store.Position{}, err
		}
	}
	l.after()
	l.once.Do(func() { close(l.loaded) })
	return snap.Position(), nil
}

func (l *ledger) read(ctx context.Context, from store.Position) error {
	feed, err := l.store.Feed(from)
	if err != nil {
		return err
	}
	defer func() { _ = feed.Close() }()
	for {
		entries, err := feed.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range entries {
			for _, c := range e.Changes {
				if c.New != nil {
					l.take(c.Table, c.New, c.Point)
				}
			}
		}
		l.after()
	}
}

// take applies one row. One that cannot be read is left out: it is a bad
// peer's, and says so in the log.
func (l *ledger) take(table string, row store.Row, at record.Point) {
	rank, err := l.rank(table, row, at)
	if err == nil {
		err = l.apply(table, row, rank)
	}
	if err != nil {
		l.log.Warn("row left out", "region", l.lane, "table", table, "version", at, "err", err)
	}
}

func (l *ledger) rank(table string, row store.Row, at record.Point) (record.Rank, error) {
	rec, err := l.tables[table].Record(row, "")
	if err != nil {
		return "", err
	}
	return rec.Rank(at), nil
}

// caughtUp returns once this node has received what every one of the peers had
// received when the call began.
func (l *ledger) caughtUp(ctx context.Context, peers []record.Node) error {
	for _, r := range l.runner.Survey(ctx, peers) {
		if r.Err != nil {
			return fmt.Errorf("lane %q: ask %s: %w", l.lane, r.Node, r.Err)
		}
		if err := l.runner.WaitSets(ctx, r.Sets); err != nil {
			return fmt.Errorf("lane %q: wait for what %s has: %w", l.lane, r.Node, err)
		}
	}
	return nil
}

// peers is what the mesh says of the other global nodes. Safe for concurrent
// use.
type peers struct {
	mu      sync.Mutex // guards the fields below
	known   map[record.Node]peerState
	changed chan struct{} // closed at the next change
}

type peerState struct {
	peer      mesh.Peer
	connected bool
}

func newPeers() *peers {
	return &peers{known: map[record.Node]peerState{}, changed: make(chan struct{})}
}

func (p *peers) set(peer mesh.Peer, connected bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[peer.Node] = peerState{peer, connected}
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *peers) connected(n record.Node) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[n].connected
}

func (p *peers) all() (map[record.Node]peerState, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[record.Node]peerState, len(p.known))
	for n, s := range p.known {
		out[n] = s
	}
	return out, p.changed
}

// follow tells one lane's runner of every peer, those known before it began
// too.
func (p *peers) follow(ctx context.Context, r *runner.Runner) error {
	told := map[record.Node]peerState{}
	for {
		now, changed := p.all()
		for n, s := range now {
			if told[n] != s {
				told[n] = s
				r.PeerChanged(s.peer, s.connected)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}
