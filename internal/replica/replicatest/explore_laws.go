package replicatest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica/runner"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// naive is the highest record of each row among changesets.
func (d *Deletes) naive(counts func(record.Changeset, record.Record) bool) map[row]received {
	top := map[row]received{}
	for _, c := range d.commits {
		for _, r := range c.Records {
			if !counts(c, r) {
				continue
			}
			k := rowOf(r)
			if old, ok := top[k]; !ok || naiveWins(r, c.Point(), old.rec, old.at) {
				top[k] = received{r, c.Point()}
			}
		}
	}
	return top
}

// judgeClosing holds what m shows of its own rows, as it closes, against what
// any known node has received.
func (d *Deletes) judgeClosing(m *member) {
	views := []view{d.view(m)}
	over := views[0].nodes[m.name].Over()
	for _, n := range d.known(m) {
		if o := d.member(n); o.st != nil {
			views = append(views, d.view(o))
		} else {
			views = append(views, d.viewOf(d.open(o, o.disk.Copy(), "")))
		}
	}
	want := d.naive(func(c record.Changeset, r record.Record) bool {
		return r.Kind == record.Owned && r.Table != closedTable.ID && c.Writer.Node == m.name && c.Writer.Boot > over &&
			slices.ContainsFunc(views, func(v view) bool { return v.received(c.Writer).Has(c.Version) })
	})
	shown := views[0].records(d)
	for k, w := range want {
		h, ok := shown[k]
		if w.rec.Deleted && (!ok || h.rec.Deleted) {
			continue
		}
		if !ok || h.rec.Deleted != w.rec.Deleted || string(h.rec.Cells) != string(w.rec.Cells) {
			d.fail("%s closes with %v as %v, yet a known node has received %v", m.name, k, h.at, w.at)
		}
	}
}

// ownRows lists the live rows of m's own.
func (d *Deletes) ownRows(m *member) (out []row) {
	for k, h := range d.view(m).records(d) {
		if h.rec.Kind == record.Owned && h.at.Writer.Node == m.name && !h.rec.Deleted && k.table != closedTable.ID {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b row) int { return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(a.key, b.key)) })
	return out
}

// judgeShown wants m to show after its closing the rows that it had before.
func (d *Deletes) judgeShown(m *member, before []row) {
	if after := d.ownRows(m); !slices.Equal(before, after) {
		d.fail("%s had %v before it closed, and %v after", m.name, before, after)
	}
}

// judgeClosed wants whoever a closing comes into effect at to have every row
// that the closing node had: a row must not go and come back.
func (d *Deletes) judgeClosed(m *member, before, after view) {
	for w, rows := range d.shown {
		if was, is := before.nodes[w.Node].Closed, after.nodes[w.Node].Closed; is <= was || is != w.Boot-1 || after.nodes[w.Node].Evicted >= w.Boot || after.floor(w) > 0 {
			continue
		}
		records := after.records(d)
		for _, k := range rows {
			if h, ok := records[k]; !ok || h.at.Writer.Boot < w.Boot {
				d.fail("the closing of %v is in effect at %s, which lacks %v", w, m.name, k)
			}
		}
	}
}

// judgeOver wants m to show no owned row of a start that a closing which is in
// effect at m came after. It asks the changesets, not the store, what is in
// effect.
func (d *Deletes) judgeOver(m *member) {
	v := d.view(m)
	for k, h := range v.records(d) {
		if h.rec.Kind != record.Owned || h.rec.Deleted || k.table == closedTable.ID {
			continue
		}
		for w, end := range d.closedAt {
			if w.Node == h.at.Writer.Node && w.Boot > h.at.Writer.Boot && len(v.received(w).Missing(record.Range{From: 1, To: end})) == 0 {
				d.fail("%s shows %v of %v, yet %v has closed what is earlier", m.name, k, h.at, w)
			}
		}
	}
}

// onlyEvicted reports whether nothing but an eviction asks m for a boot above
// boot.
func (d *Deletes) onlyEvicted(m *member, boot uint64) bool {
	v, self := d.view(m), m.st.Writer()
	n := v.nodes[m.name]
	return n.Closed < self.Boot && boot <= n.Evicted && !slices.ContainsFunc(v.writers, func(w store.WriterState) bool {
		return w.Writer.Node == m.name && w.Writer.Boot >= self.Boot && !slices.Contains(m.began, w.Writer)
	})
}

// lateAgain notes the shared rows that a start has written again under a
// higher boot although somebody has collected a later delete of them: writes
// that reach him late, under the names that count.
func (d *Deletes) lateAgain(again []record.Changeset) {
	for _, c := range again {
		for _, r := range c.Records {
			if k := rowOf(r); r.Kind == record.Shared && r.Rank(c.Point()) < d.collected[k] {
				d.late[k] = true
				d.Hits.LateAgain++
			}
		}
	}
}

func (v view) floor(w record.Writer) record.Version {
	for _, s := range v.writers {
		if s.Writer == w {
			return s.Floors[0]
		}
	}
	return 0
}

var closedTable = store.ClosedSchema()

// finish ends all faults, lets everything spread, and judges.
func (d *Deletes) finish() {
	for _, m := range d.nodes {
		if m.st == nil && d.err == nil {
			d.start(m)
		}
	}
	if d.err != nil {
		return
	}
	had := map[record.Point]bool{}
	for _, m := range d.nodes {
		v := d.view(m)
		for _, c := range d.commits {
			if v.received(c.Writer).Has(c.Version) {
				had[c.Point()] = true
			}
		}
	}
	d.settle()
	if d.random.IntN(2) == 0 {
		for range 8 * len(d.nodes) {
			for _, m := range d.nodes {
				d.closing(m)
			}
		}
		d.settle()
		d.judgeCollection()
		d.settle()
	}
	if d.err == nil {
		d.judge(had)
	}
}

// judgeCollection wants every tombstone gone a month after all have closed:
// whatever an earlier start has not left behind must hold up nothing.
func (d *Deletes) judgeCollection() {
	d.now += 30 * 24 * time.Hour
	for _, m := range d.nodes {
		if d.err != nil || m.closed != m.st.Writer() {
			return
		}
	}
	for _, m := range d.nodes {
		d.collect(m, 1000)
		v := d.view(m)
		if slices.ContainsFunc(v.writers, func(s store.WriterState) bool {
			return len(s.Received.Gaps) > 0 && s.Writer.Boot > v.nodes[s.Writer.Node].Over()
		}) {
			continue
		}
		for k, h := range v.records(d) {
			if h.rec.Deleted {
				d.fail("%s keeps the tombstone %v of %v\n%s", m.name, h.at, k, v.describe(d))
			}
		}
	}
}

// settle pulls until all are equal.
func (d *Deletes) settle() {
	for range 20 {
		moved := false
		for _, m := range d.nodes {
			for _, o := range d.nodes {
				if m != o && d.err == nil {
					moved = d.pull(m, o, true) || moved
				}
			}
		}
		if moved {
			continue
		}
		if d.equal() || !d.exchange() {
			return
		}
	}
	d.fail("it does not settle")
}

func (d *Deletes) equal() bool {
	root := d.view(d.nodes[0]).root()
	return !slices.ContainsFunc(d.nodes, func(m *member) bool { return d.view(m).root() != root })
}

// exchange has all take the shared and ranked rows of all, by rank: what is
// left to do when all have received the same.
func (d *Deletes) exchange() bool {
	before := make([]any, len(d.nodes))
	for i, m := range d.nodes {
		before[i] = d.view(m).root()
	}
	plan := runner.Plan{Scopes: []store.Scope{{Kind: record.Shared}, {Kind: record.Ranked}}}
	for _, m := range d.nodes {
		for _, o := range d.nodes {
			if m == o {
				continue
			}
			snap, err := o.st.Snapshot(context.Background())
			d.must(err)
			d.takeListing(m, snap, store.Exchange, plan, true)
		}
	}
	d.Hits.Exchanged++
	for i, m := range d.nodes {
		if before[i] != d.view(m).root() {
			return true
		}
	}
	return false
}

// judge holds the end against the laws.
func (d *Deletes) judge(had map[record.Point]bool) {
	first := d.view(d.nodes[0])
	for _, m := range d.nodes {
		d.judgeOver(m)
	}
	for _, m := range d.nodes[1:] {
		v := d.view(m)
		if v.root() != first.root() {
			d.fail("%s and %s have not received the same:\n%s\n%s", d.nodes[0].name, m.name, first.describe(d), v.describe(d))
			return
		}
		if a, b := first.live(d), v.live(d); !maps.Equal(a, b) {
			d.fail("%s has %v, %s has %v", d.nodes[0].name, a, m.name, b)
			return
		}
	}
	must := d.naive(func(c record.Changeset, r record.Record) bool { return d.counts(first, had, c, r) == yes })
	may := d.naive(func(c record.Changeset, r record.Record) bool { return d.counts(first, had, c, r) != no })
	live := first.live(d)
	for k, top := range may {
		at, ok := live[k]
		low, sure := must[k]
		switch {
		case d.late[k]:
		case sure && low.at == top.at && (!ok && !top.rec.Deleted || ok && at != top.at):
			d.fail("row %v is %v, should be %v, deleted: %v\n%s", k, at, top.at, top.rec.Deleted, first.describe(d))
		case ok && sure && rankOf(d, k, at) < low.rec.Rank(low.at):
			d.fail("row %v is %v, below %v\n%s", k, at, low.at, first.describe(d))
		}
	}
	for k, at := range live {
		if _, ok := may[k]; !ok && !d.late[k] && k.table != closedTable.ID {
			d.fail("row %v is %v, should not be\n%s", k, at, first.describe(d))
		}
	}
}

func rankOf(d *Deletes, k row, at record.Point) record.Rank {
	for _, c := range d.commits {
		for _, r := range c.Records {
			if c.Point() == at && rowOf(r) == k {
				return r.Rank(at)
			}
		}
	}
	return ""
}

// verdict says whether a record counts at the end.
type verdict byte

const (
	no verdict = iota
	maybe
	yes
)

// counts says whether a record counts at the end. One that no closing has
// listed may or may not be kept where it turns up later: whoever is complete
// by then takes no ranges of it, but rows are exchanged by rank.
func (d *Deletes) counts(v view, had map[record.Point]bool, c record.Changeset, r record.Record) verdict {
	n := v.nodes[c.Writer.Node]
	switch {
	case r.Table == closedTable.ID, r.Kind == record.Owned && c.Writer.Boot <= n.Over():
		return no
	case c.Writer.Boot <= n.Complete:
		covered := false
		for _, x := range d.closings {
			if x.Writer.Node == c.Writer.Node && x.Base < c.Writer.Boot && c.Writer.Boot <= x.Up() {
				covered = true
				if !slices.ContainsFunc(x.Writers, func(l record.Closed) bool { return l.Writer == c.Writer && l.Received.Has(c.Version) }) {
					return maybe
				}
			}
		}
		if !covered {
			return maybe
		}
		return yes
	case had[c.Point()] || slices.ContainsFunc(d.nodes, func(m *member) bool { return slices.Contains(m.began, c.Writer) }):
		return yes
	}
	return no
}

func (v view) live(d *Deletes) map[row]record.Point {
	out := map[row]record.Point{}
	for k, h := range v.records(d) {
		if !h.rec.Deleted {
			out[k] = h.at
		}
	}
	return out
}

func (v view) describe(d *Deletes) string {
	s := ""
	for _, n := range v.boots() {
		s += fmt.Sprintf("  %+v\n", n)
	}
	for _, w := range v.writers {
		s += fmt.Sprintf("  %v: %v floors %v\n", w.Writer, w.Received, w.Floors)
	}
	for k, h := range v.records(d) {
		s += fmt.Sprintf("  %v %v deleted=%v\n", k, h.at, h.rec.Deleted)
	}
	return s
}
