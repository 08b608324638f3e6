package directory

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
)

// Code says what a reporter should do about a refusal.
type Code uint8

// The codes.
const (
	Lost      Code = iota + 1 // to the winning stamp: derive anew, stamp above
	BadNode                   // this node does not take it, another may
	BadRecord                 // no node takes it
)

// Refusal is why a report was not taken.
type Refusal struct {
	App     fleet.App // empty: the region's record
	Code    Code
	Winning uint64
	Reason  string
}

// Verdict is what becomes of reports.
type Verdict struct {
	Write   []presence.Record // to be stored
	Region  *presence.Region  // to be stored
	Stands  int               // held already as they are
	Held    int               // withdrawals that the brake holds
	Refused []Refusal
}

// Taken counts the records that are held once the verdict is written.
func (v Verdict) Taken() int {
	n := v.Stands + len(v.Write)
	if v.Region != nil {
		n++
	}
	return n
}

func (v *Verdict) refuse(app fleet.App, code Code, winning uint64, format string, args ...any) {
	v.Refused = append(v.Refused, Refusal{app, code, winning, fmt.Sprintf(format, args...)})
}

// Judge judges presence that reporter sent. What is said already, whatever its
// stamp, is no write.
func (c *Core) Judge(now Instant, reporter fleet.Worker, offers []presence.Record) Verdict {
	var v Verdict
	var down []presence.Record
	present, seen := c.present, make(map[fleet.App]bool, len(offers))
	for _, r := range offers {
		if seen[r.App] {
			v.refuse(r.App, BadRecord, 0, "two records of one app in one batch")
			continue
		}
		seen[r.App] = true
		err := r.Check()
		if err == nil && r.Region != c.cfg.Region {
			err = fmt.Errorf("region %q, want %q", r.Region, c.cfg.Region)
		}
		if err != nil {
			v.refuse(r.App, BadRecord, 0, "%v", err)
			continue
		}
		have := c.rows[r.App]
		if !c.judgeRank(now, &v, r.App, reporter, r.Rank) || c.stands(&v, r, have) {
			continue
		}
		if r.Class == 0 {
			down = append(down, r)
			continue
		}
		if have == nil || have.Class == 0 {
			present++
		}
		v.Write = append(v.Write, r)
	}
	c.judgeWithdrawals(now, &v, present, down)
	return v
}

// stands reports whether r needs no write: it is there, or lost.
func (c *Core) stands(v *Verdict, r presence.Record, have *row) bool {
	switch {
	case have == nil:
		if r.Class == 0 {
			v.Stands++ // nothing to withdraw
			return true
		}
		return false
	case have.Class == r.Class && have.Rank.Generation == r.Rank.Generation:
		v.Stands++
		return true
	case r.Rank.Compare(have.Rank) <= 0:
		v.refuse(r.App, Lost, have.Rank.Stamp, "lost to stamp %d of %s", have.Rank.Stamp, have.Rank.Reporter)
		return true
	}
	return false
}

// judgeRank refuses what a report may not claim, whatever it says.
func (c *Core) judgeRank(now Instant, v *Verdict, app fleet.App, reporter fleet.Worker, r presence.Rank) bool {
	top := max(uint64(max(now.Wall, 0))+Drift, c.maxStamp+1)
	switch g, known := c.Generation(); {
	case r.Reporter != reporter:
		v.refuse(app, BadRecord, 0, "reporter %q in a session of %q", r.Reporter, reporter)
	case !known:
		v.refuse(app, BadNode, 0, "region %q is not known here", c.cfg.Region)
	case r.Generation != g:
		v.refuse(app, BadNode, 0, "generation %v is not the region's %v", r.Generation, g)
	case r.Stamp > top:
		v.refuse(app, BadNode, 0, "stamp %d is ahead of %d, the highest allowed now", r.Stamp, top)
	default:
		return true
	}
	return false
}

// JudgeRegion judges what reporter says of its region.
func (c *Core) JudgeRegion(now Instant, reporter fleet.Worker, r presence.Region) Verdict {
	var v Verdict
	err := r.Check()
	if err == nil && r.Name != c.cfg.Region {
		err = fmt.Errorf("region %q, want %q", r.Name, c.cfg.Region)
	}
	if err != nil {
		v.refuse("", BadRecord, 0, "%v", err)
		return v
	}
	if !c.judgeRank(now, &v, "", reporter, r.Rank) {
		return v
	}
	have, ok := c.Region()
	switch {
	case ok && have.SameContent(r) && have.Rank.Generation == r.Rank.Generation:
		v.Stands++
	case ok && r.Rank.Compare(have.Rank) <= 0:
		v.refuse("", Lost, have.Rank.Stamp, "lost to stamp %d of %s", have.Rank.Stamp, have.Rank.Reporter)
	default:
		v.Region = &r
	}
	return v
}

// judgeWithdrawals asks the brake, in its order.
func (c *Core) judgeWithdrawals(now Instant, v *Verdict, present int, down []presence.Record) {
	if len(down) == 0 {
		return
	}
	terms := make(map[fleet.App]presence.Digest, len(down))
	for _, r := range down {
		terms[r.App] = c.hasher.App(r.App)
	}
	slices.SortFunc(down, func(a, b presence.Record) int {
		return presence.CompareOrder(terms[a.App], terms[b.App], string(a.App), string(b.App))
	})
	brake := presence.NewBrake(present, c.withdrawn())
	released := c.Released(now)
	for _, r := range down {
		if h := c.held[r.App]; h != nil {
			r.Since = min(r.Since, h.since)
		}
		switch {
		case released:
			brake.Force(r.Since)
		case brake.Admit(r.Since):
		case c.cfg.Observe:
			brake.Force(r.Since)
			c.wouldHold++
		default:
			c.hold(now, r.App, r.Since)
			v.Held++
			continue
		}
		v.Write = append(v.Write, r)
	}
}

// withdrawn returns the Since of every withdrawn row.
func (c *Core) withdrawn() []int64 {
	var out []int64
	for _, s := range c.log {
		if s.kind != ofPresence || c.stale(s) {
			continue
		}
		if r := c.rows[s.app]; r.Class == 0 {
			out = append(out, r.Since)
		}
	}
	return out
}

// OverrideKind is an operator's word on a region's withdrawals.
type OverrideKind uint8

// The kinds. Both let every withdrawal through.
const (
	Release OverrideKind = iota // of the brake
	Drain                       // of the region
)

// Override is one such word. The higher number wins; undo is a higher one.
type Override struct {
	Number int64
	Until  int64 // Unix milliseconds, by this node's wall
	Who    string
}

// PutOverride takes a stored row.
func (c *Core) PutOverride(k OverrideKind, o Override) {
	if int(k) < len(c.overrides) && cmp.Compare(o.Number, c.overrides[k].Number) > 0 {
		c.overrides[k] = o
	}
}

// Released reports whether withdrawals go through whatever the brake says.
func (c *Core) Released(now Instant) bool {
	return slices.ContainsFunc(c.overrides[:], func(o Override) bool { return now.Wall < o.Until })
}
