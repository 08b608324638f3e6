package fedsim

import (
	"context"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	core "github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// happened is one thing that properties are asked about: a start (or a writer
// taken while running), an entry of a store's feed, a batch that a store
// answered, or a report of a core. Touched are the rows it may have changed.
type happened struct {
	replica  *replica
	start    record.Writer
	states   []core.State // what the disk of a start has; nil if it is a writer taken while running
	boots    []core.Boots // what the disk of a start knows of nodes
	entry    *store.Entry
	batch    []record.Delivery
	outcomes []store.Outcome
	report   *core.Report
	touched  []place
}

// seen is what a reader of a replica sees.
type seen struct {
	shown map[place]record.Point
	nodes map[record.Node]store.NodeState
	held  map[place]store.Withheld

	floors map[record.Writer][len(record.Kinds)]record.Version
}

// has reports whether r has received a point.
func (r *replica) has(p record.Point) bool {
	return p.Writer.Boot <= r.seen.nodes[p.Writer.Node].Complete || r.core.Received(p.Writer).Has(p.Version)
}

// readAll learns what a reader sees at the start.
func (r *replica) readAll(snap store.Snapshot) {
	before := r.seen.held
	r.seen = seen{
		map[place]record.Point{}, map[record.Node]store.NodeState{}, map[place]store.Withheld{}, map[record.Writer][len(record.Kinds)]record.Version{},
	}
	ws, err := snap.Writers()
	if err != nil {
		panic(err)
	}
	r.seen.raise(ws)
	nodes, err := snap.Nodes()
	if err != nil {
		panic(err)
	}
	for _, n := range nodes {
		r.seen.nodes[n.Node] = n
	}
	for _, t := range r.realm.tablesOf(r.few) {
		err := snap.Scan(t.Name, nil, func(row store.Row, at record.Point, _ int64) error {
			k, err := record.EncodeKey(row[:len(t.Key)]...)
			r.show(place{t.ID, k}, row, at)
			return err
		})
		if err != nil {
			panic(err)
		}
	}
	r.readHeld(snap)
	for at, w := range before {
		if r.seen.shown[at] == w.Point && w.Reason == store.ReasonSchema {
			r.fed().hit(HitSchema)
		}
	}
}

// show notes that a row is shown now, or no longer if it is nil.
func (r *replica) show(at place, row store.Row, p record.Point) {
	if row == nil {
		delete(r.seen.shown, at)
		return
	}
	if w, ok := r.seen.held[at]; ok && w.Point == p && w.Reason == store.ReasonClock {
		r.fed().hit(HitReleased)
	}
	r.seen.shown[at] = p
}

// took learns from an entry of the feed, and asks the properties about it.
func (r *replica) took(e store.Entry) {
	h := happened{replica: r, entry: &e}
	if e.Local != nil {
		for _, rec := range e.Local.Records {
			h.touched = append(h.touched, place{rec.Table, rec.Key})
		}
		r.mine = append(r.mine, e.Local.Point())
	}
	for _, c := range e.Changes {
		at := place{r.realm.named(c.Table), c.Key}
		h.touched = append(h.touched, at)
	}
	r.fed().happen(h)
	if e.Local != nil && slices.ContainsFunc(e.Local.Records, func(rec record.Record) bool { return rec.Table == closings }) {
		r.realm.closedWithout(r)
	}
	r.learn(e.Nodes)
	r.seen.raise(e.States)
	if len(e.Forgotten) > 0 {
		r.fed().hit(HitForgotten)
	}
	for _, c := range e.Changes {
		if owner, err := c.Key.Owner(); err == nil && c.Table == owned && c.New == nil && c.Point.Writer.Node != owner {
			r.fed().hit(HitEvicted)
		}
		r.show(place{r.realm.named(c.Table), c.Key}, c.New, c.Point)
		r.directory.put(place{r.realm.named(c.Table), c.Key}, c.New, c.Point)
	}
	r.cursor = e.Position
	w := e.Point.Writer
	if e.Local == nil && r.putBack && w.Node == r.proc.name && !slices.Contains(r.began, w) {
		r.fed().hit(HitPutBack)
	}
	r.note("took", record.AppendWriter(nil, w))
}

// answered has the properties judge what became of a batch.
func (r *replica) answered(batch []record.Delivery, outcomes []store.Outcome) {
	h := happened{replica: r, batch: batch, outcomes: outcomes}
	for i, d := range batch {
		if outcomes[i].Status != store.Applied {
			continue
		}
		if outcomes[i].Withheld > 0 {
			r.look()
		}
		r.awaitsGap(d)
		for v := d.Range.From; v <= min(d.Range.To, r.realm.heads[d.Writer]); v++ {
			for _, rec := range r.realm.commits[record.Point{Writer: d.Writer, Version: v}].Records {
				h.touched = append(h.touched, place{rec.Table, rec.Key})
			}
		}
	}
	r.fed().happen(h)
}

// look learns what r has received and does not show.
func (r *replica) look() {
	snap, err := r.store.Snapshot(context.Background())
	if err != nil {
		panic(err)
	}
	defer snap.Close()
	r.readHeld(snap)
}

// readAgain reads all that a reader sees.
func (r *replica) readAgain() {
	snap, err := r.store.Snapshot(context.Background())
	if err != nil {
		panic(err)
	}
	defer snap.Close()
	r.readAll(snap)
}

func (r *replica) readHeld(snap store.Snapshot) {
	list, err := snap.Withheld()
	if err != nil {
		panic(err)
	}
	clear(r.seen.held)
	for _, w := range list {
		r.fed().hit("withheld: " + string(w.Reason))
		if w.Reason != store.ReasonOwner { // it is not in the place of the owner's
			r.seen.held[place{r.realm.named(w.Table), w.Key}] = w
		}
	}
}

// tally counts what the core of a start has been through.
func (r *replica) tally() {
	s := r.core.Stats()
	for hit, n := range map[string]uint64{HitDuplicate: s.Duplicates, HitOwed: s.Owed, HitFilled: s.Filled, HitDropped: s.QueueDropped, HitTimeout: s.Timeouts} {
		r.fed().hits[hit] += n
	}
}

// row is a verdict on what a replica shows in one place.
type row struct {
	top     written // the highest record that it has received
	higher  bool    // somebody wrote a higher one, which it has not received
	over    bool    // somebody has evicted or closed the start that wrote top
	shown   bool
	at      record.Point
	rank    record.Rank // of what is shown; empty if nobody wrote that
	withers bool        // the highest one is withheld
}

// judge compares what r shows in a place with what it has received.
func (r *replica) judge(at place) row {
	var v row
	v.top, v.higher = r.realm.top(at, func(w written) bool {
		over := w.rec.Kind == record.Owned && w.at.Writer.Boot <= r.seen.nodes[w.at.Writer.Node].Over()
		// Not has alone: what counts as received since its start is closed may be lost.
		return !over && (r.core.Received(w.at.Writer).Has(w.at.Version) || r.realm.common[w.at] && r.has(w.at))
	})
	v.over = v.top.rec.Kind == record.Owned && v.top.at.Writer.Boot <= r.realm.over[v.top.at.Writer.Node]
	v.at, v.shown = r.seen.shown[at]
	if v.shown {
		v.rank = r.realm.rankOf(at, v.at)
	}
	if h, ok := r.seen.held[at]; ok && h.Point == v.top.at {
		v.withers = true
	}
	return v
}
