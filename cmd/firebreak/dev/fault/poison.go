package fault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/daemon"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/poison"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// Bug is a program that can be broken: it then fails on peers' rows of
// [poison.App].
type Bug interface {
	Break() error
	Repair() error
	Withheld(ctx context.Context, n federation.Node) ([]federation.Held, error)
	Release(ctx context.Context, n federation.Node, hash string) error
	Shows(ctx context.Context, n federation.Node, id fleet.MachineID) (bool, error)
}

// BesideApp is the app of the healthy rows that are published with a poisoned
// one.
const BesideApp = fleet.App("beside")

// Bounds of a poisoned row.
const (
	withholdWithin = time.Minute
	poisonPoll     = 50 * time.Millisecond
	// A node ends once with a batch in hand, and twice with the row alone.
	maxEnds = 3
)

// poison publishes a row that no program but its writer's can take, between
// two healthy ones, and waits until every other node of the region shows those
// and withholds it. A node that ends is started again, as a supervisor would.
func (e *Engine) poison(ctx context.Context, nodes []federation.Node, say func(string)) error {
	ctx, cancel := context.WithTimeout(ctx, withholdWithin)
	defer cancel()
	if err := e.cfg.Bug.Break(); err != nil {
		return err
	}
	e.poisons++
	worker := e.indexes(nodes[:1])[0]
	bad := fleet.MachineID(fmt.Sprintf("poison-%d", e.poisons))
	good := []fleet.MachineID{"before-" + bad, "after-" + bad}
	e.tainted = append(e.tainted, storm{worker: worker, ids: append([]fleet.MachineID{bad}, good...)})
	err := e.cfg.Sink.Offer(ctx, worker,
		daemon.Change{ID: good[0], App: BesideApp}, daemon.Change{ID: bad, App: poison.App}, daemon.Change{ID: good[1], App: BesideApp})
	if err != nil {
		return err
	}
	for _, n := range e.cfg.Fleet.Plan().In(nodes[0].Region) {
		if n == nodes[0] {
			continue
		}
		held, ends, err := e.awaitWithheld(ctx, n, bad, good)
		if err != nil {
			return fmt.Errorf("poison: node %s: %w", nameOf(n), err)
		}
		say(fmt.Sprintf("%s ended %d times, shows the rows beside it, and withholds %s %s (%s): firebreak withheld release %s --node %v",
			nameOf(n), ends, held.Table, held.Key, held.Reason, held.Hash, n))
	}
	return nil
}

// awaitWithheld returns what a node withholds of a machine, once it shows the
// good ones.
func (e *Engine) awaitWithheld(ctx context.Context, n federation.Node, bad fleet.MachineID, good []fleet.MachineID) (held federation.Held, ends int, err error) {
	t := time.NewTicker(poisonPoll)
	defer t.Stop()
	for {
		if slices.Contains(e.cfg.Fleet.Down(), n) {
			if ends++; ends > maxEnds {
				return held, ends, fmt.Errorf("it ended %d times: a crash loop", ends)
			}
			if err := e.cfg.Fleet.Start(ctx, n); err != nil {
				return held, ends, err
			}
		}
		shows, looked := true, error(nil)
		for _, id := range good {
			ok, err := e.cfg.Bug.Shows(ctx, n, id)
			if shows = shows && ok; err != nil {
				looked = err
			}
		}
		if looked == nil && shows {
			list, err := e.cfg.Bug.Withheld(ctx, n)
			at := slices.IndexFunc(list, func(h federation.Held) bool { return strings.Contains(h.Key, string(bad)) })
			if looked = err; at >= 0 {
				return list[at], ends, nil
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return held, ends, fmt.Errorf("it does not withhold %s and show the rows beside it: %w", bad, errors.Join(looked, ctx.Err()))
		}
	}
}

// repair takes the bug out of the program, after a look at who withholds what.
func (e *Engine) repair(ctx context.Context) error {
	if len(e.tainted) == 0 {
		return nil
	}
	during := map[string]int64{}
	for _, n := range e.cfg.Fleet.Plan().Of(federation.Region) {
		list, err := e.cfg.Bug.Withheld(ctx, n)
		if err == nil { // else it is down, for another fault
			during[nameOf(n)] = int64(len(list))
		}
	}
	e.mu.Lock()
	for _, f := range e.faults {
		if f.healed.IsZero() && f.Command.Kind == Poison {
			f.held = during
		}
	}
	e.mu.Unlock()
	return e.cfg.Bug.Repair()
}

// release has every node judge anew what it failed on, once it answers, and
// withdraws the rows.
func (e *Engine) release(ctx context.Context, say func(string)) error {
	if len(e.tainted) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, withholdWithin)
	defer cancel()
	released := 0
	for _, n := range e.cfg.Fleet.Plan().Of(federation.Region) {
		k, err := e.releaseAt(ctx, n)
		if err != nil {
			return fmt.Errorf("release what a node withholds: %w", err)
		}
		released += k
	}
	say(fmt.Sprintf("the program is repaired: %d withheld records are released", released))
	for _, s := range e.tainted {
		if err := e.withdraw(ctx, s); err != nil {
			return err
		}
	}
	e.tainted = nil
	return nil
}

func (e *Engine) releaseAt(ctx context.Context, n federation.Node) (released int, err error) {
	t := time.NewTicker(poisonPoll)
	defer t.Stop()
	list, err := e.cfg.Bug.Withheld(ctx, n)
	for err != nil {
		select {
		case <-t.C:
		case <-ctx.Done():
			return 0, errors.Join(err, ctx.Err())
		}
		list, err = e.cfg.Bug.Withheld(ctx, n)
	}
	for _, h := range list {
		if h.Reason != string(store.ReasonPanic) && h.Reason != string(store.ReasonCrash) {
			continue
		}
		if err := e.cfg.Bug.Release(ctx, n, h.Hash); err != nil {
			return released, err
		}
		released++
	}
	return released, nil
}
