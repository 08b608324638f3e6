package fedsim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	core "github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/replica/runner"
	"github.com/firebreak-dev/firebreak/internal/store"
)

const (
	collectEvery = 3 * time.Second
	reconciles   = 500 * time.Millisecond // how long a daemon takes to vouch for its rows
	restampRows  = 3                      // of one step: few, so that a closing takes several
)

// ages are short for owned tombstones, whose age is no part of what makes
// collecting them safe. Shared ones are not collected: a run is far shorter
// than the 7 days that a shared write may be late.
var ages = store.Ages{Owned: 2 * time.Second, Shared: store.SharedAge}

// doubt has the daemon of this node look at its rows, which takes it a while.
func (r *replica) doubt() {
	w := r.fed().world
	r.core.Step(w.Now(), core.Confirmed{})
	r.doubts++
	w.At(w.Now()+reconciles, r.proc.life, func() {
		if r.doubts--; r.doubts == 0 {
			r.step(core.Confirmed{Yes: true})
		}
	})
}

// sum sums the rows before they are exchanged.
func (r *replica) sum() {
	checked, err := runner.CheckRows(context.Background(), r.store.Snapshot)
	if err != nil {
		r.fed().fail(fmt.Errorf("%s sums its rows: %w", r.id(), err))
	}
	r.step(checked)
}

// take hands a page of a listing to the store.
func (r *replica) take(p core.TakePage) {
	if r.full {
		r.step(core.TookPage{Failed: true})
		return
	}
	page := runner.ListingPage(p)
	err := r.store.TakeListing(context.Background(), page)
	if err == nil && page.End != nil {
		r.listed(*page.End)
	}
	r.follow()
	r.look()
	r.step(core.TookPage{Failed: err != nil})
}

// listed notes what a listing was taken for. The core has yet to learn of it.
func (r *replica) listed(end store.ListingEnd) {
	lacked := false
	for _, t := range end.Takes {
		if mine := r.core.Received(t.Writer); t.Received.Head > mine.Head {
			lacked = true
			r.fed().hit(HitListHead)
		} else if len(mine.Minus(t.Received)) > 0 {
			lacked = true
			r.fed().hit(HitListGap)
		}
	}
	raises := slices.ContainsFunc(end.Nodes, func(n store.NodeState) bool {
		return end.Whole(n.Node) && n.Complete > r.seen.nodes[n.Node].Complete
	})
	if end.Mode == store.CatchUp && !lacked && raises {
		r.fed().hit(HitCoverage)
	}
}

// awaitsGap notes a closing that came and is not in effect, for a gap below it.
func (r *replica) awaitsGap(d record.Delivery) {
	for _, c := range d.Changesets {
		below := record.Range{From: 1, To: c.Version}
		closes := slices.ContainsFunc(c.Records, func(rec record.Record) bool { return rec.Table == closings })
		if closes && len(r.core.Received(c.Writer).Missing(below)) > 0 {
			r.fed().hit(HitGap)
		}
	}
}

// closeEarlier does a step of a closing: rows written again, or, if a writer is
// named, the closing of what is earlier.
func (r *replica) closeEarlier(w record.Writer) {
	if w.IsZero() {
		r.realm.rewrites(r)
		left, err := r.store.Restamp(context.Background(), restampRows)
		r.step(core.Restamped{Left: left, Failed: err != nil || r.full})
		return
	}
	if r.doubts > 0 { // since the core asked
		r.step(core.ClosedEarlier{Failed: true})
		return
	}
	_, err := r.store.CloseEarlier(context.Background(), w)
	r.step(core.ClosedEarlier{Failed: err != nil})
}

// collect drops tombstones, again and again.
func (r *replica) collect() {
	absent := slices.ContainsFunc(r.proc.peers(), func(o *process) bool { return !o.up() })
	if c, err := r.store.Collect(context.Background(), ages, 100); err == nil && c.Tombstones > 0 {
		r.fed().hit(HitCollected)
		if absent {
			r.fed().hit(HitAbsent)
		}
	}
	r.collecting = true
	r.follow()
	r.collecting = false
	for _, n := range r.core.Stats().Closing.Waiting {
		if p := r.fed().procs[string(n)]; p != nil && !p.up() {
			r.fed().hit(HitWaited)
		}
	}
	r.pump()
	w := r.fed().world
	w.At(w.Now()+collectEvery, r.proc.life, r.collect)
}

// learn notes which boots of nodes are over, and complete, at r.
func (r *replica) learn(nodes []store.NodeState) {
	for _, n := range nodes {
		old := r.seen.nodes[n.Node]
		if n.Closed > old.Closed && old.Node != "" || n.Closed > 0 && old.Node == "" {
			r.fed().hit(HitClosed)
		}
		r.seen.nodes[n.Node] = n
	}
}
