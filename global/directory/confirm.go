package directory

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
)

// Confirmation is a reporter's word that its reports still hold. It is kept in
// memory only.
type Confirmation struct {
	Generation presence.Generation
	Reporter   fleet.Worker
	Boot       uint64
	Digest     presence.Digest
	Offered    uint32        // withdrawals
	Withheld   uint64        // records
	Age        time.Duration // since its token was sent
}

type confirmation struct {
	Confirmation
	sent time.Duration // when its token was
}

// hold is a withdrawal that the brake holds.
type hold struct {
	since   int64         // stamp of its first offer
	offered time.Duration // last
}

// Confirm takes a confirmation of a token that was sent age ago.
func (c *Core) Confirm(now Instant, in Confirmation) error {
	if g, known := c.Generation(); !known || in.Generation != g {
		return fmt.Errorf("generation %v is not the region's", in.Generation)
	}
	if in.Age < 0 {
		return fmt.Errorf("age %v is negative", in.Age)
	}
	next := confirmation{in, now.Mono - in.Age}
	i, found := slices.BinarySearchFunc(c.confirmations, in.Reporter, func(a confirmation, w fleet.Worker) int {
		return cmp.Compare(a.Reporter, w)
	})
	switch {
	case !found:
		c.forgetOldest()
		c.confirmations = append(c.confirmations, next)
		slices.SortFunc(c.confirmations, func(a, b confirmation) int { return cmp.Compare(a.Reporter, b.Reporter) })
	case c.confirmations[i].sent <= next.sent:
		c.confirmations[i] = next
	}
	c.Tick(now)
	return nil
}

func (c *Core) forgetOldest() {
	if len(c.confirmations) < maxReporters {
		return
	}
	oldest := 0
	for i, a := range c.confirmations {
		if a.sent < c.confirmations[oldest].sent {
			oldest = i
		}
	}
	c.confirmations = slices.Delete(c.confirmations, oldest, oldest+1)
}

// Confirmations returns the newest of each reporter, with its age, by
// reporter.
func (c *Core) Confirmations(now Instant) []Confirmation {
	out := make([]Confirmation, len(c.confirmations))
	for i, a := range c.confirmations {
		out[i] = a.Confirmation
		out[i].Age = now.Mono - a.sent
	}
	return out
}

// Confirmed returns the reporters confirmed within ConfirmedFor.
func (c *Core) Confirmed(now Instant) []fleet.Worker {
	var out []fleet.Worker
	for _, a := range c.confirmations {
		if now.Mono-a.sent <= ConfirmedFor {
			out = append(out, a.Reporter)
		}
	}
	return out
}

// Age returns how old the newest confirmation is, and false if there is none.
func (c *Core) Age(now Instant) (time.Duration, bool) {
	if len(c.confirmations) == 0 {
		return 0, false
	}
	newest := c.confirmations[0].sent
	for _, a := range c.confirmations {
		newest = max(newest, a.sent)
	}
	return now.Mono - newest, true
}

// Told rises whenever the confirmed reporters or the held withdrawals change.
func (c *Core) Told() uint64 { return c.told }

func (c *Core) retell() { c.told++ }

// Tick lets time pass: confirmations age and holds that are no longer offered
// end.
func (c *Core) Tick(now Instant) {
	if confirmed := c.Confirmed(now); !slices.Equal(confirmed, c.confirmed) {
		c.confirmed = confirmed
		c.retell()
	}
	for _, app := range c.HeldApps() {
		if now.Mono-c.held[app].offered > heldFor {
			c.unhold(app)
		}
	}
}

func (c *Core) hold(now Instant, app fleet.App, since int64) {
	if h := c.held[app]; h != nil {
		h.since, h.offered = min(h.since, since), now.Mono
		return
	}
	if len(c.held) >= maxHeld {
		return
	}
	c.held[app] = &hold{since, now.Mono}
	c.touch(app)
	c.retell()
}

func (c *Core) unhold(app fleet.App) {
	if c.held[app] == nil {
		return
	}
	delete(c.held, app)
	c.touch(app)
	c.retell()
}

// touch shows readers a row again.
func (c *Core) touch(app fleet.App) {
	if r := c.rows[app]; r != nil {
		r.seq = c.append(ofPresence, app)
	}
}

// HeldApps lists the apps whose withdrawal the brake holds, in the order they
// were first held.
func (c *Core) HeldApps() []fleet.App {
	if len(c.held) == 0 {
		return nil
	}
	var out []fleet.App
	for _, s := range c.log {
		if s.kind == ofPresence && c.held[s.app] != nil && !c.stale(s) {
			out = append(out, s.app)
		}
	}
	return out
}

// Alarms says what needs a person, and the command that ends it.
func (c *Core) Alarms(now Instant) []string {
	var out []string
	if n := len(c.held); n > 0 {
		out = append(out, fmt.Sprintf("region %s: the brake holds the withdrawal of %d of %d apps; if they are really gone: firebreak region release %s",
			c.cfg.Region, n, c.present, c.cfg.Region))
	}
	if c.wouldHold > 0 {
		out = append(out, fmt.Sprintf("region %s: the observing brake let %d withdrawals through that it would hold", c.cfg.Region, c.wouldHold))
	}
	brake := presence.NewBrake(c.present, c.withdrawn())
	if lost, base, alarm := brake.Losing(now.Wall); alarm {
		out = append(out, fmt.Sprintf("region %s: %d of %d apps were withdrawn within 10 minutes", c.cfg.Region, lost, base))
	}
	return out
}

// WouldHold counts the withdrawals that an observing brake let through.
func (c *Core) WouldHold() int { return c.wouldHold }
