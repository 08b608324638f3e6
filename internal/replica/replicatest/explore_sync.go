package replicatest

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/replica/runner"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/memory"
)

// view is what a store has, read at once.
type view struct {
	snap    store.Snapshot
	writers []store.WriterState
	nodes   map[record.Node]store.NodeState
}

type received struct {
	rec record.Record
	at  record.Point
}

// row names a row.
type row struct {
	table record.TableID
	key   record.Key
}

func (r row) String() string { return fmt.Sprintf("%016x %q", uint64(r.table), r.key) }

func rowOf(r record.Record) row { return row{r.Table, r.Key} }

func (d *Deletes) view(m *member) view { return d.viewOf(m.st) }

func (d *Deletes) viewOf(st store.Store) view {
	snap, err := st.Snapshot(context.Background())
	d.must(err)
	ws, err := snap.Writers()
	d.must(err)
	ns, err := snap.Nodes()
	d.must(err)
	v := view{snap: snap, writers: ws, nodes: map[record.Node]store.NodeState{}}
	for _, n := range ns {
		v.nodes[n.Node] = n
	}
	return v
}

// records reads what is received of each row, tombstones included.
func (v view) records(d *Deletes) map[row]received {
	scopes := []store.Scope{{Kind: record.Shared}, {Kind: record.Ranked}}
	for _, m := range d.nodes {
		scopes = append(scopes, store.Scope{Kind: record.Owned, Node: m.name})
	}
	out := map[row]received{}
	l, err := v.snap.List(scopes)
	d.must(err)
	for {
		list, err := l.Next(1 << 20)
		if err != nil {
			return out
		}
		for _, c := range list {
			for _, r := range c.Records {
				out[rowOf(r)] = received{r, c.Point()}
			}
		}
	}
}

func (v view) received(w record.Writer) record.Received {
	for _, s := range v.writers {
		if s.Writer == w {
			return s.Received
		}
	}
	return record.Received{}
}

func (v view) has(p record.Point) bool {
	return p.Writer.Boot <= v.nodes[p.Writer.Node].Complete || v.received(p.Writer).Has(p.Version)
}

// mayCome reports whether p is not received, and that is no gap that counts.
func (v view) mayCome(p record.Point) bool {
	return !v.has(p) && (p.Version > v.received(p.Writer).Head || p.Writer.Boot <= v.nodes[p.Writer.Node].Over())
}

func (v view) boots() []store.NodeState {
	var out []store.NodeState
	for _, n := range slices.Sorted(maps.Keys(v.nodes)) {
		out = append(out, v.nodes[n])
	}
	return out
}

func (v view) root() replica.Digest {
	return replica.RootOf(runner.States(v.writers), runner.Boots(v.boots())...)
}

// apply has m take deliveries, and looks for own tails.
func (d *Deletes) apply(m *member, ds ...record.Delivery) {
	d.watched(m, func() {
		_, err := m.st.Apply(context.Background(), ds)
		d.must(err)
	})
}

// watched runs fn, which changes m's store.
func (d *Deletes) watched(m *member, fn func()) {
	before := d.view(m)
	fn()
	after := d.view(m)
	d.judgeClosed(m, before, after)
	if was, is := before.nodes, after.nodes; !maps.Equal(was, is) {
		m.renewIfOver(d, is[m.name].Over())
	}
	for _, w := range after.writers {
		if w.Writer.Node == m.name && !slices.Contains(m.began, w.Writer) && w.Received.Head > 0 {
			m.renewIfOver(d, w.Writer.Boot)
		}
	}
}

// renewIfOver takes a higher boot if one that is taken, or over, is not below.
func (m *member) renewIfOver(d *Deletes, boot uint64) {
	if boot < m.st.Writer().Boot {
		return
	}
	evicted := d.onlyEvicted(m, boot)
	w, err := m.st.Renew(context.Background(), boot+1)
	d.must(err)
	m.began, m.passes = append(m.began, w), replica.Passes{}
	d.tell("%s goes on as %v", m.name, w)
	n := len(d.commits)
	d.learn(m)
	if !evicted {
		d.lateAgain(d.commits[n:])
	}
	d.Hits.Renewed++
}

// pull has m take from o what it lacks: all, or some of it.
func (d *Deletes) pull(m, o *member, whole bool) bool {
	did := false
	for rounds := 0; d.err == nil; rounds++ {
		if rounds > 50 {
			d.fail("%s pulls from %s without end", m.name, o.name)
		}
		if !d.pullOnce(m, o, whole) {
			return did
		}
		did = true
		if !whole && d.random.IntN(2) == 0 {
			return did
		}
	}
	return did
}

// pullOnce takes one answer, and reports whether it brought anything.
func (d *Deletes) pullOnce(m, o *member, whole bool) bool {
	mine := d.view(m)
	snap, err := o.st.Snapshot(context.Background())
	d.must(err)
	ws, err := snap.Writers()
	d.must(err)
	ns, err := snap.Nodes()
	d.must(err)
	wants := d.wants(m, mine, ws)
	d.tell("%s pulls from %s", m.name, o.name)
	var cover []record.Node
	if len(wants) == 0 {
		for _, n := range ns {
			if n.Complete > mine.nodes[n.Node].Complete {
				cover = append(cover, n.Node)
			}
		}
	}
	plan := d.plan(mine, ws, wants, cover)
	switch {
	case len(plan.Ranges) > 0:
		return d.takeRanges(m, snap, plan.Ranges, whole)
	case len(plan.Scopes) == 0:
		return false
	}
	d.Hits.Listings++
	if len(cover) > 0 {
		d.Hits.ForCoverage++
	}
	for _, t := range plan.Takes {
		if t.Received.Head > mine.received(t.Writer).Head {
			d.Hits.ByHead++
		} else {
			d.Hits.ByGap++
		}
	}
	return d.takeListing(m, snap, store.CatchUp, plan, whole)
}

func (d *Deletes) wants(m *member, mine view, ws []store.WriterState) (wants []replica.Want) {
	for _, w := range slices.Backward(ws) {
		if slices.Contains(m.began, w.Writer) || w.Writer.Boot <= mine.nodes[w.Writer.Node].Complete {
			continue
		}
		if missing := mine.received(w.Writer).Minus(w.Received); len(missing) > 0 {
			slices.Reverse(missing)
			wants = append(wants, replica.Want{Writer: w.Writer, Ranges: missing})
		}
	}
	return wants
}

// plan is the runner's, unless a mutant looks at heads alone.
func (d *Deletes) plan(mine view, ws []store.WriterState, wants []replica.Want, cover []record.Node) runner.Plan {
	if m := d.cfg.Mutant; m == memory.RangesOnly || m == memory.HeadOnly {
		ws = slices.Clone(ws)
		for i := range ws {
			head := mine.received(ws[i].Writer).Head
			for k, f := range ws[i].Floors {
				if m == memory.RangesOnly || f <= head {
					ws[i].Floors[k] = 0
				}
			}
		}
	}
	return runner.NewPlan(ws, wants, cover)
}

func (d *Deletes) takeRanges(m *member, snap store.Snapshot, ranges []replica.Want, whole bool) bool {
	var all []record.Delivery
	for _, w := range ranges {
		for _, g := range w.Ranges {
			var part []record.Delivery
			for g.From <= g.To {
				ds, err := snap.Deliver(w.Writer, g, 1<<10)
				d.must(err)
				if len(ds) == 0 {
					break
				}
				part = append(part, ds...)
				g.From = ds[len(ds)-1].Range.To + 1
			}
			slices.Reverse(part)
			all = append(all, part...)
		}
	}
	if !whole && len(all) > 0 {
		all = all[:1+d.random.IntN(len(all))]
	}
	if len(all) > 0 {
		if d.cfg.Trace != nil {
			for _, x := range all {
				d.tell("  %v %v: %d", x.Writer, x.Range, len(x.Changesets))
			}
		}
		d.apply(m, all...)
	}
	return len(all) > 0
}

func (d *Deletes) takeListing(m *member, snap store.Snapshot, mode store.Mode, plan runner.Plan, whole bool) bool {
	d.tell("  listing mode %d of %v, takes %v", mode, plan.Scopes, plan.Takes)
	l, err := runner.NewLister(snap, mode, plan)
	if err != nil {
		d.must(err)
		return false
	}
	for d.err == nil {
		p, err := l.Page(100 + d.random.IntN(400))
		d.must(err)
		if d.cfg.Mutant == memory.PerWriter {
			p.Listed = slices.DeleteFunc(p.Listed, func(c record.Changeset) bool {
				return !slices.ContainsFunc(plan.Takes, func(t record.Closed) bool { return t.Writer == c.Writer })
			})
		}
		d.watched(m, func() { d.must(m.st.TakeListing(context.Background(), p)) })
		if p.End != nil {
			return true
		}
		if !whole && d.random.IntN(8) == 0 {
			return false // the rest is lost
		}
	}
	return false
}

// known lists the nodes that m knows of, evicted ones aside.
func (d *Deletes) known(m *member) []record.Node {
	v := d.view(m)
	var out []record.Node
	for _, w := range v.writers {
		if n := w.Writer.Node; n != m.name && w.Writer.Boot > v.nodes[n].Evicted {
			out = append(out, n)
		}
	}
	for _, n := range v.nodes {
		if n.Node != m.name && n.Closed > n.Evicted {
			out = append(out, n.Node)
		}
	}
	for _, o := range d.nodes {
		if o != m && o.st != nil {
			out = append(out, o.name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (d *Deletes) member(n record.Node) *member {
	i := slices.IndexFunc(d.nodes, func(m *member) bool { return m.name == n })
	return d.nodes[i]
}

// closing takes one step towards m's closing.
func (d *Deletes) closing(m *member) {
	if m.closed == m.st.Writer() {
		return
	}
	known := d.known(m)
	missing := m.passes.Missing(known)
	switch d.cfg.Break {
	case IgnoreDead:
		missing = slices.DeleteFunc(missing, func(n record.Node) bool { return d.member(n).st == nil })
	case AskNobody:
		missing, known = nil, []record.Node{"x"}
	case OnePass:
		if m.passes.Second() {
			missing = nil
		}
	}
	if len(missing) > 0 {
		o := d.member(missing[d.random.IntN(len(missing))])
		if o.st == nil {
			d.Hits.Waited++
			return
		}
		d.pull(m, o, true)
		w := o.st.Writer()
		m.passes.Took(o.name, replica.Start{Boot: w.Boot, Bits: w.Bits})
		return
	}
	if len(known) == 0 {
		return // a node with seeds asks somebody
	}
	d.judgeOver(m) // what is written again is what stands
	left, err := m.st.Restamp(context.Background(), 1+d.random.IntN(3))
	d.must(err)
	d.learn(m)
	if left > 0 {
		return
	}
	d.judgeClosing(m)
	x := record.Closing{Writer: m.st.Writer(), Base: d.view(m).nodes[m.name].Complete}
	for _, w := range d.view(m).writers {
		if w.Writer.Node == m.name && w.Writer.Boot > x.Base && w.Writer.Boot <= x.Up() {
			x.Writers = append(x.Writers, record.Closed{Writer: w.Writer, Received: w.Received})
		}
	}
	own := d.ownRows(m)
	d.shown[m.st.Writer()] = own
	c, err := m.st.CloseEarlier(context.Background(), m.st.Writer())
	d.must(err)
	d.learn(m)
	d.tell("%s closes: %v", m.name, c.Point)
	m.closed = m.st.Writer()
	d.judgeShown(m, own)
	if c.Point.Version > 0 {
		d.Hits.Closings++
		d.closings = append(d.closings, x)
		d.closedAt[x.Writer] = c.Point.Version
	}
}
