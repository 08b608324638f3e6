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

// Sample is what the nodes have counted until some moment.
type Sample struct {
	At    time.Time
	Nodes map[string]Count // by nameOf
}

// Count is what one node, or all of a region, has counted. The difference of
// two samples is a Count too.
type Count struct {
	Rows        int64 `json:"rows"`              // changes of machine rows that showed at nodes
	Unasked     int64 `json:"unasked_rows"`      // of them, more than the region's daemons can have caused
	Bytes       int64 `json:"bytes"`             // sent to peers by region nodes
	Unexplained int64 `json:"unexplained_bytes"` // of them, more than the rows and the time can have cost
	Restarts    int64 `json:"restarts"`          // ends of nodes
	ApplyErrors int64 `json:"apply_errors"`      // deliveries that a store rejected
	Withheld    int64 `json:"withheld"`          // records that are not visible

	Errors int64 `json:"request_errors"` // failed requests to machines of the region

	Owners map[string]int64 `json:"-"` // rows by the worker that owns them, as nameOf
	silent bool             // the node did not answer: what it says is not known
}

// What traffic may cost, with room above what was measured: some 190 bytes for
// a row that shows at a node, and 250 for a node and second.
const (
	bytesPerRow    = 800
	bytesPerSecond = 2 << 10
	bytesAnyway    = 64 << 10
)

// explained is how many bytes that much traffic can have cost.
func (c Count) explained(nodes int, lasted time.Duration) int64 {
	return bytesAnyway + c.Rows*bytesPerRow + int64(float64(nodes)*lasted.Seconds()*bytesPerSecond)
}

func (c Count) plus(o Count) Count {
	c.Rows, c.Unasked, c.Bytes = c.Rows+o.Rows, c.Unasked+o.Unasked, c.Bytes+o.Bytes
	c.Restarts, c.ApplyErrors, c.Withheld = c.Restarts+o.Restarts, c.ApplyErrors+o.ApplyErrors, c.Withheld+o.Withheld
	c.Errors += o.Errors
	return c
}

// since returns what was counted after before. A counter that went back began
// anew, with its process.
func (c Count) since(before Count) Count {
	grown := func(now, then int64) int64 {
		if now < then {
			return now
		}
		return now - then
	}
	out := Count{
		Rows: grown(c.Rows, before.Rows), Unasked: max(0, c.Unasked-before.Unasked), Bytes: grown(c.Bytes, before.Bytes),
		Restarts: grown(c.Restarts, before.Restarts), ApplyErrors: grown(c.ApplyErrors, before.ApplyErrors),
		Withheld: c.Withheld, Errors: grown(c.Errors, before.Errors), Owners: map[string]int64{},
	}
	if c.silent || before.silent {
		out.Bytes, out.ApplyErrors = 0, 0
	}
	for owner, n := range c.Owners {
		if d := grown(n, before.Owners[owner]); d > 0 {
			out.Owners[owner] = d
		}
	}
	return out
}

// touched lists what happened that traffic alone does not cause.
func (c Count) touched() []string {
	var out []string
	for _, x := range []struct {
		n    int64
		what string
	}{
		{c.Unasked, "rows that no daemon of it asked for"},
		{c.Unexplained, "bytes more than its traffic explains"},
		{c.Errors, "requests failed"},
		{c.Restarts, "nodes ended"},
		{c.ApplyErrors, "deliveries were rejected"},
		{c.Withheld, "records are withheld"},
	} {
		if x.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", x.n, x.what))
		}
	}
	return out
}

// Fault is one that was injected.
type Fault struct {
	Command Command
	Regions []fleet.Region    // that it may touch
	Tiers   []federation.Role // and the tiers beside regions
	began   time.Time
	over    time.Time // when a command that ends by itself has ended; zero of others and before
	healed  time.Time // zero while it lasts
	before  Sample

	recovery time.Duration // how long after its end it may hold up news
}

// recovery is how long after a fault news may still be late: connections are
// dialed again and lists compared.
const recovery = 5 * time.Second

// Heard returns the time up to which news of a region must have reached
// everybody: now, or when something broke that is on its way. Before that, all
// must be found that runs; what came later may not be known.
func (e *Engine) Heard(r fleet.Region, now time.Time) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	heard := now
	for _, f := range slices.Concat(e.upkeep, e.faults) {
		end := f.healed
		if !f.over.IsZero() {
			end = f.over
		}
		late := end.IsZero() || now.Before(end.Add(f.recovery))
		if late && f.holdsUp(r) && f.began.Before(heard) {
			heard = f.began
		}
	}
	return heard
}

// maxUpkeep bounds what is remembered of it: far more than is recent.
const maxUpkeep = 100

// upkeepRecovery is recovery after upkeep: the other nodes were there.
const upkeepRecovery = time.Second

// Upkeep notes that something is done to a node that is no fault, and holds up
// news all the same until the returned function is called.
func (e *Engine) Upkeep(n federation.Node) (over func()) {
	f := &Fault{Command: Command{Kind: Upgrade}, began: time.Now(), recovery: upkeepRecovery}
	f.Regions, f.Tiers = scope([]federation.Node{n})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.upkeep = append(e.upkeep, f)
	if len(e.upkeep) > maxUpkeep {
		e.upkeep = slices.Delete(e.upkeep, 0, 1)
	}
	return func() { e.finished(f) }
}

// holdsUp reports whether news of a region may be late for a fault.
func (f *Fault) holdsUp(r fleet.Region) bool {
	if f.Command.Kind == Storm || f.Command.Kind == MassDelete {
		return false
	}
	return len(f.Tiers) > 0 || r == federation.FlatRegion || slices.Contains(f.Regions, r)
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
	Nodes   int                    `json:"nodes_touched"` // region nodes that took rows of the faulted workers, or ended
	Written int64                  `json:"rows_written"`  // those rows, over all nodes
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
		if !allowed[r] {
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
