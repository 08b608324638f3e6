package global

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/firebreak-dev/firebreak/global/directory"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/watchdog"
)

// The bounds of one region, each its own.
const (
	offerQueue  = 8         // reports that wait for the lane; more hold up the region's own sessions
	maxSessions = 16        // report sessions at once
	budgetRate  = 256 << 10 // bytes of reports a second
	budgetBurst = 4 << 20   // a full report of a region at the ceiling
	laneTick    = 250 * time.Millisecond
)

// lane is one region at this node: nothing in it is shared with another.
type lane struct {
	// Set when it is opened, then constant.
	*ledger
	region fleet.Region
	offers chan offer
	budget *rate.Limiter
	now    func() directory.Instant
	loop   *watchdog.Loop
	slots  chan struct{} // size maxSessions: sessions in hand
	bells  *bells
	ended  chan struct{} // closed when run returns

	mu     sync.Mutex // guards the fields below
	core   *directory.Core
	failed error // why it ended; the others go on
}

// offer is a report that waits for its verdict.
type offer struct {
	reporter fleet.Worker
	presence []presence.Record
	region   *presence.Region
	answer   chan<- answer // size 1
}

var errLaneEnded = errors.New("this node's copy of the region has failed")

type answer struct {
	verdict directory.Verdict
	err     error
}

func newLane(region fleet.Region, l *ledger, core *directory.Core, now func() directory.Instant, loop *watchdog.Loop) *lane {
	n := &lane{
		ledger: l, region: region, core: core, now: now, loop: loop,
		offers: make(chan offer, offerQueue), slots: make(chan struct{}, maxSessions),
		budget: rate.NewLimiter(budgetRate, budgetBurst), bells: newBells(), ended: make(chan struct{}),
	}
	l.apply, l.after = n.put, n.bells.ring
	return n
}

// failedLane is a region that this node cannot serve: it is known, and that is
// all.
func failedLane(region fleet.Region, core *directory.Core, err error) *lane {
	l := &lane{
		ledger: &ledger{lane: string(region), loaded: make(chan struct{})}, region: region, core: core,
		slots: make(chan struct{}, maxSessions), bells: newBells(), ended: make(chan struct{}), failed: err,
	}
	close(l.ended)
	return l
}

// ready returns once the lane shows what is on its disk, or has failed.
func (l *lane) ready(ctx context.Context) error {
	select {
	case <-l.loaded:
		return nil
	case <-l.ended:
		return errLaneEnded
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run serves the lane until ctx ends. What ends it earlier is kept as its
// failure: other lanes go on.
func (l *lane) run(ctx context.Context) {
	defer close(l.ended)
	defer l.loop.Rest() // a lane that ended is alarmed, not wedged
	group, inner := errgroup.WithContext(ctx)
	group.Go(func() error { return l.ledger.run(inner) })
	group.Go(func() error { return l.judge(inner) })
	err := group.Wait()
	if ctx.Err() != nil || err == nil {
		return
	}
	l.log.Error("lane failed", "region", string(l.region), "err", err)
	l.mu.Lock()
	l.failed = err
	l.mu.Unlock()
	l.bells.ring()
}

// failure is why the lane has ended, or nil.
func (l *lane) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// view runs fn with the lane's directory. Fn is short and calls nothing that
// waits.
func (l *lane) view(fn func(*directory.Core)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fn(l.core)
}

// put takes a stored row into the directory.
func (l *lane) put(table string, row store.Row, rank record.Rank) error {
	switch table {
	case tablePresence:
		r, err := presenceOf(row)
		if err != nil {
			return err
		}
		l.view(func(c *directory.Core) { c.Put(r, string(rank)) })
	case tableRegions:
		r, err := regionOf(row)
		if err != nil {
			return err
		}
		l.view(func(c *directory.Core) { c.PutRegion(r, string(rank)) })
	case tableDrains, tableReleases:
		o, err := overrideOf(row)
		if err != nil {
			return err
		}
		kind := directory.Release
		if table == tableDrains {
			kind = directory.Drain
		}
		l.view(func(c *directory.Core) { c.PutOverride(kind, o) })
	}
	return nil
}

// offer hands in a report and waits for its verdict.
func (l *lane) offer(ctx context.Context, o offer) (directory.Verdict, error) {
	done := make(chan answer, 1)
	o.answer = done
	select {
	case l.offers <- o:
	case <-l.ended:
		return directory.Verdict{}, errLaneEnded
	case <-ctx.Done():
		return directory.Verdict{}, ctx.Err()
	}
	select {
	case a := <-done:
		return a.verdict, a.err
	case <-l.ended:
		return directory.Verdict{}, errLaneEnded
	case <-ctx.Done():
		return directory.Verdict{}, ctx.Err()
	}
}

// judge takes reports one by one, so that the brake sees each after the last.
func (l *lane) judge(ctx context.Context) error {
	ticker := time.NewTicker(laneTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case o := <-l.offers:
			v, err := l.decide(ctx, o)
			o.answer <- answer{v, err}
		case <-ticker.C:
			var changed bool
			l.view(func(c *directory.Core) {
				before := c.Told()
				c.Tick(l.now())
				changed = c.Told() != before
			})
			if changed {
				l.bells.ring()
			}
		}
		l.loop.Mark()
	}
}

// decide judges a report and stores what it changes.
func (l *lane) decide(ctx context.Context, o offer) (v directory.Verdict, err error) {
	l.view(func(c *directory.Core) {
		if o.region != nil {
			v = c.JudgeRegion(l.now(), o.reporter, *o.region)
		} else {
			v = c.Judge(l.now(), o.reporter, o.presence)
		}
	})
	defer l.bells.ring()
	if len(v.Write) == 0 && v.Region == nil {
		return v, nil
	}
	var rows map[string][]store.Row
	commit, err := l.store.Update(ctx, func(tx store.Tx) error {
		rows, err = l.write(tx, &v)
		return err
	})
	if err != nil {
		return v, fmt.Errorf("store report of region %s: %w", l.region, err)
	}
	if commit.Point == (record.Point{}) {
		return v, nil // the store had all of it: the feed brings it
	}
	for _, table := range []string{tablePresence, tableRegions} {
		for _, row := range rows[table] {
			l.take(table, row, commit.Point)
		}
	}
	return v, nil
}

// write puts what the verdict says, unless the store has received a higher
// report that the directory has not taken yet: then this one lost.
func (l *lane) write(tx store.Tx, v *directory.Verdict) (map[string][]store.Row, error) {
	out := map[string][]store.Row{}
	kept := v.Write[:0:0]
	for _, r := range v.Write {
		row := presenceRow(r)
		if lost, err := outranked(tx, tablePresence, r.Rank, row[:2]); err != nil {
			return nil, err
		} else if lost != nil {
			v.Refused = append(v.Refused, directory.Refusal{App: r.App, Code: directory.Lost, Winning: lost.Stamp, Reason: "lost to a report that came in elsewhere"})
			continue
		}
		if err := tx.Put(tablePresence, row); err != nil {
			return nil, err
		}
		kept, out[tablePresence] = append(kept, r), append(out[tablePresence], row)
	}
	v.Write = kept
	if v.Region == nil {
		return out, nil
	}
	row, err := regionRow(*v.Region)
	if err != nil {
		return nil, err
	}
	if lost, err := outranked(tx, tableRegions, v.Region.Rank, row[:1]); err != nil {
		return nil, err
	} else if lost != nil {
		v.Region = nil
		v.Refused = append(v.Refused, directory.Refusal{Code: directory.Lost, Winning: lost.Stamp, Reason: "lost to a report that came in elsewhere"})
		return out, nil
	}
	out[tableRegions] = []store.Row{row}
	return out, tx.Put(tableRegions, row)
}

// outranked returns the rank of the visible row if it is not below rank.
func outranked(tx store.Tx, table string, rank presence.Rank, key store.Row) (*presence.Rank, error) {
	row, ok, err := tx.Get(table, key...)
	if err != nil || !ok || len(row) != 8 {
		return nil, err
	}
	if have := rankOf(row[4:]); rank.Compare(have) <= 0 {
		return &have, nil
	}
	return nil, nil
}
