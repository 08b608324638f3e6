package runner

import (
	"context"
	"errors"
	"time"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
)

// loop owns the core. It never waits for anybody.
type loop struct {
	r      *Runner
	core   *replica.Core
	start  time.Time
	serves []replica.Serve // for the server; the core has at most one per peer
	stats  Stats           // what the loop itself counts
}

func newLoop(r *Runner, all replica.Reloaded) *loop {
	now := time.Now()
	cfg := replica.Config{Packing: r.cfg.Packing, Seed: uint64(r.cfg.Seed), Close: r.cfg.Close, Alone: r.cfg.Alone}
	core := replica.New(cfg, r.cfg.Store.Writer(), nil, 0, now)
	core.Step(0, all)
	core.Step(0, replica.Confirmed{Yes: r.cfg.Confirmed()})
	core.Step(0, r.members())
	l := &loop{r: r, core: core, start: now}
	for _, p := range r.cfg.Mesh.Peers() {
		if p.State == mesh.Alive && r.view.peerChanged(p, true) {
			core.Step(0, replica.Connected{Peer: p.Node}) // a lane may start after its peers connected
		}
	}
	return l
}

func (l *loop) run(ctx context.Context) {
	close(l.r.started)
	defer close(l.r.stopped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		l.act(l.core.Ready())
		l.r.cfg.Progress()
		timer.Reset(l.core.Wake() - time.Since(l.start))
		var serves chan<- replica.Serve
		var next replica.Serve
		if len(l.serves) > 0 {
			serves, next = l.r.serves, l.serves[0]
		}
		select {
		case <-ctx.Done():
			l.r.view.setStats(l.snapshotStats())
			return
		case e := <-l.r.events:
			l.step(e)
			l.drain()
		case serves <- next:
			l.serves = l.serves[1:]
		case fn := <-l.r.calls:
			fn(l)
		case <-timer.C:
		}
		if now := time.Since(l.start); now >= l.core.Wake() {
			l.core.Tick(now, time.Now())
		}
	}
}

// drain takes a few more events if there are any, so that one round of Ready
// serves them all.
func (l *loop) drain() {
	for range eventQueue {
		select {
		case e := <-l.r.events:
			l.step(e)
		default:
			return
		}
	}
}

func (l *loop) step(e replica.Event) {
	l.core.Step(time.Since(l.start), e)
	switch e := e.(type) {
	case replica.Committed:
		l.r.view.committed(e.Entries, l.core.Root())
	case replica.Reloaded:
		l.r.view.reload(e)
	}
}

func (l *loop) act(ready replica.Ready) {
	frozen := len(ready.Sends) > 0 && l.r.cfg.Freeze()
	for _, s := range ready.Sends {
		if frozen || !l.send(s) {
			l.core.Step(time.Since(l.start), replica.Refused{To: s.To, Push: s.Push})
		}
	}
	if ready.Apply != nil {
		l.r.applies <- ready.Apply // never waits: one is out at a time
	}
	if ready.Take != nil {
		l.r.takes <- *ready.Take // so too
	}
	if ready.Check {
		l.r.checks <- struct{}{} // so too
	}
	if ready.Restamp || !ready.Close.IsZero() {
		l.r.closes <- closingStep{ready.Close} // so too
	}
	if ready.Renew > 0 {
		l.r.renews <- ready.Renew // so too
	}
	l.serves = append(l.serves, ready.Serves...)
	for _, d := range ready.Drops {
		if m, ok := l.r.cfg.Mesh.(interface{ Drop(record.Node, string) }); ok {
			m.Drop(d.Peer, d.Err.Error())
		}
	}
	for _, p := range ready.Reports {
		l.r.report(p)
	}
}

func (l *loop) send(s replica.Send) bool {
	class := mesh.Sync
	if s.Push {
		class = mesh.Push
	}
	if err := l.r.cfg.Mesh.Send(s.To, mesh.Flow{Lane: l.r.cfg.Lane, Class: class}, s.Frame); err != nil {
		if !errors.Is(err, mesh.ErrFull) && !errors.Is(err, mesh.ErrNoPeer) {
			l.r.cfg.Logger.Debug("send", "peer", string(s.To), "err", err)
		}
		return false
	}
	l.stats.Sent[class-mesh.Push].add(len(s.Frame))
	return true
}

func (l *loop) snapshotStats() Stats {
	s := l.stats
	s.Stats = l.core.Stats()
	s.Received = l.r.view.traffic()
	s.Collected, s.Forgotten = l.r.collected.Load(), l.r.forgotten.Load()
	return s
}

// Frames are the same sizes for the core, which knows no mesh, as for it.
var (
	_ = [1]struct{}{}[replica.MaxFrame-mesh.MaxFrame]
	_ = [1]struct{}{}[replica.MaxInline-mesh.MaxInline]
)
