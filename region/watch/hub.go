// Package watch keeps readers current. A Hub follows the store's feed, keeps
// the roster, and marks for each interest which keys changed; a Session serves
// one client's stream: it reads the marked rows as they are by then and sends
// them.
//
// What a watch keeps true: after its events a client holds what the node held
// at the event's position; a change is never lost, though several of one key
// may be told as one; an answer is told again when what follows from it
// changes (suspect, contested, routable), and not when nothing did. A slow
// client costs a bounded queue of its own and nothing of anybody else's: it
// catches up key by key, or starts from a snapshot again. A position survives
// restarts of the node; one that is not on its line costs a snapshot.
package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/region/roster"
	"github.com/firebreak-dev/firebreak/region/table"
)

// Config of a hub.
type Config struct {
	Region   fleet.Region
	Store    store.Store
	OnEntry  func(store.Entry)     // told of each entry once the hub has it; nil for nobody
	Logger   *slog.Logger          // nil discards
	Metrics  prometheus.Registerer // nil leaves metrics unregistered
	Progress func()                // the watchdog's mark; may be nil
}

// Hub follows a store. Safe for concurrent use.
type Hub struct {
	// Set by New, then constant.
	cfg     Config
	metrics *metrics
	started time.Time
	ready   chan struct{} // closed once the roster is loaded
	extend  chan struct{} // a token: who holds it extends the history from disk

	advanced Broadcast // the position moved
	counts   Broadcast // some app's count changed

	mu          sync.Mutex // guards everything below
	roster      *roster.Roster
	workers     map[fleet.Worker]table.Worker
	suspects    map[fleet.Worker]bool
	unconfirmed map[roster.Key]bool
	ends        ends
	position    store.Position
	history     history
	interests   interests
}

// New returns a hub. Nothing happens before Run.
func New(cfg Config) (*Hub, error) {
	if cfg.Region == "" || cfg.Store == nil {
		return nil, errors.New("watch hub config: region and store are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.OnEntry == nil {
		cfg.OnEntry = func(store.Entry) {}
	}
	if cfg.Progress == nil {
		cfg.Progress = func() {}
	}
	h := &Hub{
		cfg: cfg, metrics: newMetrics(cfg.Metrics), started: time.Now(),
		ready: make(chan struct{}), extend: make(chan struct{}, 1),
		roster: roster.New(), workers: map[fleet.Worker]table.Worker{},
		suspects: map[fleet.Worker]bool{}, unconfirmed: map[roster.Key]bool{},
		interests: newInterests(),
	}
	return h, nil
}

// idle is how often a hub without anything to do marks its progress.
const idle = 2 * time.Second

// Run follows the store until ctx ends. An error means that it cannot.
func (h *Hub) Run(ctx context.Context) error {
	for first := true; ctx.Err() == nil; first = false {
		err := h.load(ctx)
		if err == nil {
			if first {
				close(h.ready)
			}
			err = h.follow(ctx)
		}
		switch {
		case ctx.Err() != nil || errors.Is(err, store.ErrClosed):
			return nil
		case errors.Is(err, store.ErrResync):
			h.metrics.reloads.Inc()
			h.cfg.Logger.Warn("the hub fell behind the feed and reads everything again")
		default:
			return fmt.Errorf("watch hub: %w", err)
		}
	}
	return nil
}

// Ready is closed once the hub knows the store's rows.
func (h *Hub) Ready() <-chan struct{} { return h.ready }

// load reads every row that the roster needs. Whoever watches starts from a
// snapshot again.
func (h *Hub) load(ctx context.Context) error {
	snap, err := h.cfg.Store.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer snap.Close()
	r, workers := roster.New(), map[fleet.Worker]table.Worker{}
	scan := func(name string, take func(store.Row) error) {
		if err == nil {
			err = snap.Scan(name, nil, func(row store.Row, _ record.Point, _ int64) error { return take(row) })
		}
	}
	scan(table.Machines, func(row store.Row) error {
		m, err := table.MachineOf(row)
		r.Set(m.Claim(h.cfg.Region))
		return err
	})
	scan(table.Reclaims, func(row store.Row) error {
		c, err := table.ReclaimOf(h.cfg.Region, row)
		r.Reclaim(c)
		return err
	})
	scan(table.Workers, func(row store.Row) error {
		w, err := table.WorkerOf(row)
		workers[w.Worker] = w
		return err
	})
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.roster, h.workers, h.position = r, workers, snap.Position()
	h.history = history{from: h.position.Sequence}
	wake := h.interests.loseAll()
	h.mu.Unlock()
	h.signal(wake)
	h.counts.Fire()
	h.advanced.Fire()
	return nil
}

func (h *Hub) follow(ctx context.Context) error {
	h.mu.Lock()
	from := h.position
	h.mu.Unlock()
	feed, err := h.cfg.Store.Feed(from)
	if err != nil {
		return err
	}
	defer feed.Close()
	for {
		h.cfg.Progress()
		wait, cancel := context.WithTimeout(ctx, idle)
		entries, err := feed.Next(wait)
		cancel()
		if err != nil {
			if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
				continue
			}
			return err
		}
		h.take(entries)
	}
}

func (h *Hub) take(entries []store.Entry) {
	wake := wakeups{}
	counted := false
	now := time.Now()
	h.mu.Lock()
	for _, e := range entries {
		for _, c := range e.Changes {
			counted = h.change(e.Position.Sequence, c, now, wake) || counted
		}
		h.position = e.Position
	}
	h.mu.Unlock()
	h.signal(wake)
	if counted {
		h.counts.Fire()
	}
	h.advanced.Fire()
	for _, e := range entries {
		h.cfg.OnEntry(e)
	}
}

func (h *Hub) signal(wake wakeups) {
	for ch := range wake {
		select {
		case ch <- struct{}{}:
		default: // it has yet to look
		}
	}
}

// WaitPosition returns once the hub has everything up to p, which must be of
// this store.
func (h *Hub) WaitPosition(ctx context.Context, p store.Position) error {
	for {
		moved := h.advanced.Wait()
		h.mu.Lock()
		at := h.position
		h.mu.Unlock()
		if at.Sequence >= p.Sequence && at.Node != "" {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// SetSuspects says which workers' nodes are dead or restarting.
func (h *Hub) SetSuspects(now map[fleet.Worker]bool) {
	wake := wakeups{}
	h.mu.Lock()
	was := h.suspects
	h.suspects = maps.Clone(now)
	for w := range was {
		if !now[w] {
			h.touchWorker(w, wake)
		}
	}
	for w := range now {
		if !was[w] {
			h.touchWorker(w, wake)
		}
	}
	h.mu.Unlock()
	h.signal(wake)
}

// SetUnconfirmed says which rows wait for their daemon's word.
func (h *Hub) SetUnconfirmed(now map[roster.Key]bool) {
	wake := wakeups{}
	h.mu.Lock()
	was := h.unconfirmed
	h.unconfirmed = maps.Clone(now)
	for _, keys := range []map[roster.Key]bool{was, now} {
		for k := range keys {
			if was[k] != now[k] {
				h.touchMachine(k, wake)
			}
		}
	}
	h.mu.Unlock()
	h.signal(wake)
}
