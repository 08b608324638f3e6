package region

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/region/table"
)

// probeEvery is how often each node writes its row of fleet_probe.
const probeEvery = 10 * time.Second

// maxSamples bounds the arrivals that the percentiles are of: the latest.
const maxSamples = 1024

// probes writes this node's probe and measures how long those of others took.
// The times are by two clocks, so they are worth what the clocks are.
type probes struct {
	n    *Node
	halt chan struct{} // closed by stop
	once sync.Once

	mu      sync.Mutex
	samples []time.Duration // a ring
	next    int
	before  int64 // newest probe written before this start, Unix milliseconds
}

func newProbes(n *Node) *probes { return &probes{n: n, halt: make(chan struct{})} }

func (p *probes) stop() { p.once.Do(func() { close(p.halt) }) }

// run writes a probe now and every probeEvery until stopped.
func (p *probes) run(ctx context.Context) error {
	p.look(ctx)
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		row := store.Row{record.Of(string(p.n.cfg.Node)), record.Of(time.Now().UnixMilli())}
		_, err := p.n.db.Update(ctx, func(tx store.Tx) error { return tx.Put(table.Probe, row) })
		switch {
		case err == nil:
			p.n.metrics.probesOwn.Inc()
		case ctx.Err() == nil:
			p.n.log.Warn("could not write the probe", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.halt:
			return nil
		case <-tick.C:
		}
	}
}

// look finds the newest probe on disk: how old what is there may be.
func (p *probes) look(ctx context.Context) {
	snap, err := p.n.db.Snapshot(ctx)
	if err != nil {
		return
	}
	defer snap.Close()
	var newest int64
	_ = snap.Scan(table.Probe, nil, func(row store.Row, _ record.Point, _ int64) error {
		if at := row[1].Int; at < p.n.started.UnixMilli() {
			newest = max(newest, at)
		}
		return nil
	})
	p.mu.Lock()
	p.before = newest
	p.mu.Unlock()
}

// newestBefore is when what this node had at its start was last known to be
// current: the newest probe of then, or the start itself.
func (p *probes) newestBefore() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.before == 0 {
		return p.n.started
	}
	return time.UnixMilli(p.before)
}

// entry takes note of probes that arrived. Those written before this start
// came by catching up and say nothing of how long a write takes.
func (p *probes) entry(e store.Entry) {
	now := time.Now()
	for _, c := range e.Changes {
		if c.Table != table.Probe || len(c.New) != 2 || c.New[0].Data == string(p.n.cfg.Node) {
			continue
		}
		at := time.UnixMilli(c.New[1].Int)
		if at.Before(p.n.started) {
			continue
		}
		took := max(now.Sub(at), 0)
		p.n.metrics.propagation.Observe(took.Seconds())
		p.mu.Lock()
		if len(p.samples) < maxSamples {
			p.samples = append(p.samples, took)
		} else {
			p.samples[p.next] = took
		}
		p.next = (p.next + 1) % maxSamples
		p.mu.Unlock()
	}
}

// percentiles returns p50 and p99 in milliseconds, negative if unknown.
func (p *probes) percentiles() (p50, p99 int64) {
	p.mu.Lock()
	sorted := slices.Sorted(slices.Values(p.samples))
	p.mu.Unlock()
	if len(sorted) == 0 {
		return -1, -1
	}
	at := func(q int) int64 { return sorted[(len(sorted)-1)*q/100].Milliseconds() }
	return at(50), at(99)
}
