package fault

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Fault is one that was injected.
type Fault struct {
	Command Command
	Regions []fleet.Region    // that it may touch
	Tiers   []federation.Role // and the tiers beside regions
	began   time.Time
	over    time.Time // when a command that ends by itself has ended; zero of others and before
	healed  time.Time // zero while it lasts
	before  Sample
	held    map[string]int64 // of a poisoned row: records that nodes withheld before it was released, by nameOf

	recovery time.Duration // how long after its end it may hold up news
}

// begin notes a fault, before it happens.
func (e *Engine) begin(ctx context.Context, c Command, nodes []federation.Node) *Fault {
	f := &Fault{Command: c, began: time.Now(), before: e.cfg.Sample(ctx), recovery: recovery}
	f.Regions, f.Tiers = scope(nodes)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults = append(e.faults, f)
	return f
}

// finished notes that a command has ended by itself.
func (e *Engine) finished(f *Fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f.over = time.Now()
}

func scope(nodes []federation.Node) (regions []fleet.Region, tiers []federation.Role) {
	for _, n := range nodes {
		if n.Role == federation.Region {
			regions = append(regions, n.Where())
		} else {
			tiers = append(tiers, n.Role)
		}
	}
	slices.Sort(regions)
	slices.Sort(tiers)
	return slices.Compact(regions), slices.Compact(tiers)
}

func (e *Engine) healed(at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range e.faults {
		if f.healed.IsZero() {
			f.healed = at
		}
	}
}

// Active returns the faults that last.
func (e *Engine) Active() []Command {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []Command
	for _, f := range e.faults {
		if f.healed.IsZero() {
			out = append(out, f.Command)
		}
	}
	return out
}

// Verdict is what one fault has done until the next one after its heal, or the
// end.
type Verdict struct {
	Fault   string                 `json:"fault"`
	Began   float64                `json:"began_s"`  // since Start
	Healed  float64                `json:"healed_s"` // likewise
	Scope   []string               `json:"scope"`    // regions, "globals", "routers" that may be touched
	Touched []fleet.Region         `json:"touched"`  // regions in which more happened than their traffic
	Regions map[fleet.Region]Count `json:"regions"`
	Nodes   int                    `json:"nodes_touched"`     // region nodes that took rows of the faulted workers, or ended
	Written int64                  `json:"rows_written"`      // those rows, over all nodes
	Held    int                    `json:"nodes_withholding"` // region nodes that withheld something while it lasted, or do still
	OK      bool                   `json:"ok"`
	Detail  string                 `json:"detail"`
}

// Judge says what each fault has done. Start is what times count from. It
// must not run while a command does.
func (e *Engine) Judge(ctx context.Context, start time.Time) []Verdict {
	last := e.cfg.Sample(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []Verdict
	for i, f := range e.faults {
		until, others := last, []*Fault{f}
		for _, o := range e.faults[i+1:] {
			if !f.healed.IsZero() && o.began.After(f.healed) {
				until = o.before
				break
			}
			others = append(others, o)
		}
		for _, o := range e.faults[:i] { // those that lasted when it began
			if o.healed.IsZero() || o.healed.After(f.began) {
				others = append(others, o)
			}
		}
		v := judge(e.cfg.Fleet.Plan(), f, others, until)
		v.Began, v.Healed = f.began.Sub(start).Seconds(), f.healed.Sub(start).Seconds()
		out = append(out, v)
	}
	return out
}

// judge compares two samples. All of the faults at work say who may be touched.
func judge(p federation.Plan, f *Fault, all []*Fault, until Sample) Verdict {
	v := Verdict{Fault: f.Command.String(), Scope: f.scope(), Regions: map[fleet.Region]Count{}, Touched: []fleet.Region{}}
	allowed := map[fleet.Region]bool{}
	for _, o := range all {
		for _, r := range o.Regions {
			allowed[r] = true
		}
	}
	faulted := map[string]bool{}
	for _, n := range p.Of(federation.Region) {
		faulted[nameOf(n)] = slices.Contains(f.Regions, n.Where())
	}
	for _, n := range p.Of(federation.Region) {
		c := until.Nodes[nameOf(n)].since(f.before.Nodes[nameOf(n)])
		if c.Withheld = max(c.Withheld, f.held[nameOf(n)]); c.Withheld > 0 {
			v.Held++
		}
		rows := int64(0)
		for owner, k := range c.Owners {
			if faulted[owner] {
				rows += k
			}
		}
		if rows > 0 || c.Restarts > 0 {
			v.Nodes++
		}
		v.Written += rows
		v.Regions[n.Where()] = v.Regions[n.Where()].plus(c)
	}
	var bad []string
	for _, r := range slices.Sorted(maps.Keys(v.Regions)) {
		c := v.Regions[r]
		c.Unexplained = max(0, c.Bytes-c.explained(len(p.At(r)), until.At.Sub(f.before.At)))
		v.Regions[r] = c
		signs := c.touched()
		if len(signs) == 0 {
			continue
		}
		v.Touched = append(v.Touched, r)
		if flat := len(p.Spec.Sites) > 0; !allowed[r] && !flat { // where nothing is promised
			bad = append(bad, fmt.Sprintf("region %s was touched: %s", r, strings.Join(signs, ", ")))
		}
	}
	v.OK = len(bad) == 0
	v.Detail = cmp.Or(strings.Join(bad, "; "), "no other region was touched")
	return v
}

func (f *Fault) scope() []string {
	out := []string{}
	for _, r := range f.Regions {
		out = append(out, string(r))
	}
	for _, t := range f.Tiers {
		out = append(out, string(t)+"s")
	}
	return out
}

// Count returns how many faults there were.
func (e *Engine) Count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.faults)
}
