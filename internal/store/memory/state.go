package memory

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// place is one row of one table.
type place struct {
	table record.TableID
	key   record.Key
}

func (p place) compare(o place) int {
	return cmp.Or(cmp.Compare(p.table, o.table), cmp.Compare(p.key, o.key))
}

func (p place) String() string { return fmt.Sprintf("%016x %q", uint64(p.table), p.key) }

// held is a received record.
type held struct {
	rec    record.Record
	at     record.Point
	wall   int64
	reason store.Reason // not empty: withheld
	detail string
	since  time.Time
}

// slot is what is received and what is visible of one row; they are the same
// unless the received record is withheld.
type slot struct {
	top   held
	shown *held
}

// state is all that follows from a log: replaying it gives it again.
type state struct {
	cfg     Config
	hasher  *record.Hasher
	tables  map[record.TableID]schema.Table
	slots   map[place]slot
	foreign []held // owned records not in the name of their writer's node
	writers map[record.Writer]*store.WriterState
	nodes   map[record.Node]store.NodeState
	closers map[record.Writer]record.Version // who closed, at which version, whether in effect or not
	voids   store.Voids
	stamp   hlc.Timestamp // largest visible shared stamp
	line    []mark        // starts of this disk, with the feed's place
	feed    []store.Entry
}

// mark says where in the feed a writer began.
type mark struct {
	writer record.Writer
	from   uint64
}

// applied is what a replayed entry did.
type applied struct {
	withheld  int
	collected store.Collected
}

func newState(cfg Config) *state {
	st := &state{
		cfg: cfg, hasher: record.NewHasher(cfg.Fleet, cfg.Cluster),
		tables: map[record.TableID]schema.Table{}, slots: map[place]slot{},
		writers: map[record.Writer]*store.WriterState{}, nodes: map[record.Node]store.NodeState{}, closers: map[record.Writer]record.Version{},
	}
	for _, t := range cfg.Tables {
		st.tables[t.ID] = t
	}
	st.tables[closed.ID], st.tables[voids.ID] = closed, voids
	return st
}

// clone returns a copy that later changes do not reach, without the feed.
func (st *state) clone() *state {
	c := *st
	c.slots, c.nodes, c.closers, c.foreign = maps.Clone(st.slots), maps.Clone(st.nodes), maps.Clone(st.closers), slices.Clone(st.foreign)
	c.writers = make(map[record.Writer]*store.WriterState, len(st.writers))
	for w, ws := range st.writers {
		copied := *ws
		c.writers[w] = &copied
	}
	return &c
}

func (st *state) received(w record.Writer) record.Received {
	if ws := st.writers[w]; ws != nil {
		return ws.Received
	}
	return record.Received{}
}

// has reports whether a version counts as received: it was, or its writer is
// one of those that this node is complete of.
func (st *state) has(p record.Point) bool {
	return p.Writer.Boot <= st.nodes[p.Writer.Node].Complete || st.received(p.Writer).Has(p.Version)
}

// missing lists the versions of r that do not count as received.
func (st *state) missing(w record.Writer, r record.Range) []record.Range {
	if w.Boot <= st.nodes[w.Node].Complete {
		return nil
	}
	return st.received(w).Missing(r)
}

// over reports whether a record is owned and its node's word, or an eviction,
// has ended it, or its stamp is void.
func (st *state) over(r record.Record, at record.Point) bool {
	if st.voids.Cover(at.Writer, r.Stamp()) {
		return true
	}
	n := st.nodes[at.Writer.Node]
	if st.cfg.Mutant.is(CloseShared) && r.Kind == record.Shared {
		return at.Writer.Boot <= n.Closed
	}
	return r.Kind == record.Owned && at.Writer.Boot <= n.Over()
}

func (st *state) of(w record.Writer) *store.WriterState {
	ws := st.writers[w]
	if ws == nil {
		ws = &store.WriterState{Writer: w}
		st.writers[w] = ws
	}
	return ws
}

// ownWriters lists the writers of a node that are known, or that started on
// this disk.
func (st *state) ownWriters(node record.Node) []record.Writer {
	var out []record.Writer
	for w := range st.writers {
		if w.Node == node {
			out = append(out, w)
		}
	}
	for _, m := range st.line {
		if m.writer.Node == node { // the disk may be another node's
			out = append(out, m.writer)
		}
	}
	slices.SortFunc(out, record.Writer.Compare)
	return slices.Compact(out)
}

// replay makes one entry part of the state.
func (st *state) replay(e entry) applied {
	switch {
	case !e.start.IsZero():
		st.line = append(st.line, mark{e.start, uint64(len(st.feed))})
		st.of(e.start)
		return applied{}
	case e.release:
		return st.released(e.wall)
	case e.listing != nil:
		return st.listed(*e.listing, e.mine, e.wall)
	case e.collect != nil:
		return st.collected(*e.collect, e.wall)
	}
	step := newStep(st)
	step.quiet, step.local = e.quiet, e.local != nil
	for _, g := range st.missing(e.delivery.Writer, e.delivery.Range) {
		for _, c := range e.delivery.Changesets {
			if c.Version >= g.From && c.Version <= g.To {
				for _, r := range voidsFirst(c.Records) {
					step.take(held{rec: r, at: c.Point(), wall: c.Wall}, e.wall)
				}
			}
		}
	}
	ws := st.of(e.delivery.Writer)
	ws.Received = ws.Received.With(e.delivery.Range)
	step.touched(ws.Writer)
	step.settle()
	step.publish(record.Point{Writer: e.delivery.Writer, Version: e.delivery.Range.To}, e.local)
	return applied{withheld: step.withheld}
}

// anyDue reports whether a withheld stamp is no longer ahead.
func (st *state) anyDue(now time.Time) bool {
	for _, s := range st.slots {
		if s.top.reason == store.ReasonClock && !ahead(s.top.rec, now) {
			return true
		}
	}
	return false
}

func ahead(r record.Record, now time.Time) bool {
	return r.Kind == record.Shared && r.Stamp() > hlc.At(now.Add(maxDrift))
}

func (st *state) released(now time.Time) applied {
	step := newStep(st)
	var last record.Point
	for _, p := range slices.SortedFunc(maps.Keys(st.slots), place.compare) {
		if s := st.slots[p]; s.top.reason == store.ReasonClock && !ahead(s.top.rec, now) {
			h := s.top
			h.reason, h.detail, h.since = "", "", time.Time{}
			step.place(p, h, now)
			last = h.at
		}
	}
	step.publish(last, nil)
	return applied{}
}

// judge says why a record cannot be shown.
func (st *state) judge(r record.Record, at record.Point, now time.Time) (store.Reason, string) {
	t, ok := st.tables[r.Table]
	switch {
	case r.Stub != nil:
		return store.Reason(r.Stub.Reason), "its cells were discarded"
	case !ok:
		return store.ReasonSchema, fmt.Sprintf("unknown table %016x", uint64(r.Table))
	case t.Kind != r.Kind:
		return store.ReasonConstraint, fmt.Sprintf("table %s is %v, the record %v", t.Name, t.Kind, r.Kind)
	case ahead(r, now):
		return store.ReasonClock, "stamped ahead of the wall"
	case r.Deleted && (t.ID == closed.ID || t.ID == voids.ID):
		return store.ReasonConstraint, fmt.Sprintf("a row of %s is never deleted", t.Name)
	case r.Deleted:
		return "", ""
	}
	row, _, err := t.Row(r)
	if err == nil {
		err = st.constrain(t, row)
	}
	if err == nil && t.ID == closed.ID {
		err = closedBy(row, at.Writer)
	}
	if err == nil && t.ID == voids.ID {
		_, err = store.VoidOf(row, at.Writer)
	}
	if err != nil {
		return store.ReasonConstraint, err.Error()
	}
	return "", ""
}

func (st *state) constrain(t schema.Table, row store.Row) error {
	for i, c := range slices.Concat(t.Key, t.Columns) {
		if c.NotNull && row[i].Type == record.Null {
			return fmt.Errorf("NOT NULL constraint: %s.%s", t.Name, c.Name)
		}
	}
	if st.cfg.Check != nil {
		return st.cfg.Check(t.Name, row)
	}
	return nil
}

// row returns the visible row of a slot, nil if there is none.
func (st *state) row(p place, h *held) store.Row {
	t, ok := st.tables[p.table]
	if !ok || h == nil || h.rec.Deleted {
		return nil
	}
	row, _, err := t.Row(h.rec)
	if err != nil {
		return nil // judged when it came: it is withheld
	}
	return row
}
