package fedsim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	core "github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// The tables of every cluster: one of each kind, one that evicts, and one that
// nodes with an older schema lack.
const (
	owned  = "things"
	shared = "notes"
	ranked = "marks"
	gone   = "gone"
	late   = "late"
)

// closings is the engine's table of closings.
var closings = store.ClosedSchema().ID

// poison is the least value that the constraint of a picky node refuses.
const poison = 1 << 40

func tables() []schema.Table {
	text := func(name string) schema.Column { return schema.Column{Name: name, Type: "TEXT", NotNull: true} }
	number := func(name string) schema.Column {
		return schema.Column{Name: name, Type: "INTEGER", NotNull: true, Default: record.Of(0)}
	}
	val := []schema.Column{number("val")}
	out := []schema.Table{
		{Name: owned, Kind: record.Owned, Key: []schema.Column{text("owner"), text("id")}, Columns: val},
		{Name: shared, Kind: record.Shared, Key: []schema.Column{text("id")}, Columns: val},
		{Name: ranked, Kind: record.Ranked, Key: []schema.Column{text("id")}, Columns: []schema.Column{number("num"), number("val")}, RankBy: []string{"num"}},
		{Name: gone, Kind: record.Ranked, Key: []schema.Column{text("node")}, Columns: []schema.Column{number("boot")}, RankBy: []string{"boot"}, Evicts: true},
		{Name: late, Kind: record.Shared, Key: []schema.Column{text("id")}, Columns: val},
	}
	for i := range out {
		out[i] = out[i].WithIDs()
	}
	return out
}

// place is one row of one table.
type place struct {
	table record.TableID
	key   record.Key
}

// written is one record that some node committed.
type written struct {
	rec  record.Record
	at   record.Point
	rank record.Rank
}

// realm is what is known of all that is written in one lane of a cluster, by
// one who sees everything.
type realm struct {
	name    string
	cluster string // as the store wants it
	lane    string
	all     []schema.Table
	byID    map[record.TableID]schema.Table
	ids     map[string]record.TableID

	starts   map[record.Writer]bool
	contents map[record.Point]string
	commits  map[record.Point]record.Changeset
	order    []record.Point
	heads    map[record.Writer]record.Version
	rows     map[place][]written         // what competes for each row
	over     map[record.Node]uint64      // the boot up to which somebody has evicted or closed a node
	closed   map[closedBoot]record.Point // by which closing
	evicted  map[record.Node]bool        // at some time
	rewrote  map[record.Node]uint64      // the boot below which a start has begun to write the rows again, to close
	unknown  map[record.Node]bool        // to some closing
	acks     []ack
	kept     map[record.Point]bool  // what some disk had when the faults ended
	weak     map[record.Writer]bool // of starts that ended without having met a later one
	common   map[record.Point]bool  // everybody had it when days passed; nil before
	before   int                    // length of order then
	adrift   bool                   // no disk is left that was there then, or days passed with somebody away
	stray    map[place]bool         // shared rows that an image brings from before that
	late     map[record.Point]bool  // what came back on an image, or the disk of a node that was evicted or not known, alone, after its node had closed or been evicted
}

// ack is one acknowledged write of an owned row.
type ack struct {
	place   place
	cells   string
	deleted bool
	points  []record.Point // a renewed writer repeats it
}

func newRealm(cluster, lane string) *realm {
	m := &realm{
		name: cluster + "/" + lane, cluster: "region/" + cluster, lane: lane, byID: map[record.TableID]schema.Table{}, ids: map[string]record.TableID{},
		starts: map[record.Writer]bool{}, contents: map[record.Point]string{}, commits: map[record.Point]record.Changeset{},
		heads: map[record.Writer]record.Version{}, rows: map[place][]written{}, over: map[record.Node]uint64{}, evicted: map[record.Node]bool{}, rewrote: map[record.Node]uint64{}, unknown: map[record.Node]bool{}, closed: map[closedBoot]record.Point{}, late: map[record.Point]bool{}, stray: map[place]bool{}, weak: map[record.Writer]bool{},
	}
	if cluster == "global" {
		m.cluster = cluster
	}
	for _, t := range tables() {
		m.addTable(t)
	}
	return m
}

func (m *realm) addTable(t schema.Table) {
	m.all = append(m.all, t)
	m.byID[t.ID], m.ids[t.Name] = t, t.ID
}

// named returns the id of a table by its name, or by the hexadecimal id that a
// store gives for one it does not know.
func (m *realm) named(table string) record.TableID {
	if id, ok := m.ids[table]; ok {
		return id
	}
	id, _ := strconv.ParseUint(table, 16, 64)
	return record.TableID(id)
}

// tablesOf returns the tables of a node, fewer if its schema is an older one.
func (m *realm) tablesOf(few bool) []schema.Table {
	if !few {
		return m.all
	}
	return slices.DeleteFunc(slices.Clone(m.all), func(t schema.Table) bool { return t.Name == late })
}

// picky reports whether a node is the one with a constraint.
func (m *realm) picky(n record.Node) bool { return strings.HasSuffix(string(n), "1") }

// wrote notes a changeset before its write is acknowledged.
func (m *realm) wrote(c record.Changeset, again bool, began []record.Writer) error {
	p := c.Point()
	content := string(record.AppendDelivery(nil, record.Pushed(c)))
	if old, ok := m.contents[p]; ok && old != content {
		return fmt.Errorf("%v has two contents", p)
	}
	if c.Version != m.heads[c.Writer]+1 {
		return fmt.Errorf("%v follows version %d", p, m.heads[c.Writer])
	}
	m.heads[c.Writer] = c.Version
	m.contents[p], m.commits[p] = content, c
	m.order = append(m.order, p)
	for _, r := range c.Records {
		m.ends(r, p)
		if _, ok := m.byID[r.Table]; !ok || r.ForeignOwner(c.Writer) {
			continue // a table of the engine, or what competes for nothing
		}
		at := place{r.Table, r.Key}
		m.rows[at] = append(m.rows[at], written{r, p, r.Rank(p)})
		if r.Kind == record.Owned {
			m.acked(at, r, p, again, began)
		}
	}
	return nil
}

// ends notes up to which boot a record ends a node's starts.
func (m *realm) ends(r record.Record, p record.Point) {
	switch r.Table {
	case m.ids[gone]:
		if row, _, err := m.byID[r.Table].Row(r); err == nil {
			n := record.Node(row[0].Data)
			m.over[n], m.evicted[n] = max(m.over[n], uint64(row[1].Int)), true
		}
	case closings:
		n, up := p.Writer.Node, p.Writer.Boot-1
		m.over[n] = max(m.over[n], up)
		m.closed[closedBoot{n, up}] = p
	}
}

// acked notes an owned write. A renewed writer repeats the last one of each
// row of its start, and a closing one what stands, again: that is no other
// write.
func (m *realm) acked(at place, r record.Record, p record.Point, again bool, began []record.Writer) {
	for i := len(m.acks) - 1; i >= 0; i-- {
		o := &m.acks[i]
		if o.place != at {
			continue
		}
		last := o.points[len(o.points)-1].Writer
		if again {
			if o.cells == string(r.Cells) && o.deleted == r.Deleted {
				o.points = append(o.points, p)
				return
			}
			continue
		}
		if last != p.Writer && o.cells == string(r.Cells) && o.deleted == r.Deleted && slices.Contains(began, last) {
			o.points = append(o.points, p)
			return
		}
		break
	}
	m.acks = append(m.acks, ack{place: at, cells: string(r.Cells), deleted: r.Deleted, points: []record.Point{p}})
}

// cameBack notes what an image, or the disk of a node that was evicted or that
// nobody knew, brings that its node's closing, or an eviction, could not know of:
// none of others has it. A closing waits for none of these, and what it writes
// again before outranks it too.
func (m *realm) cameBack(states []core.State, others []*replica) {
	for _, s := range states {
		if n := s.Writer.Node; s.Writer.Boot > m.over[n] && s.Writer.Boot >= m.rewrote[n] {
			continue
		}
		for v := record.Version(1); v <= s.Received.Head; v++ {
			known := slices.ContainsFunc(others, func(o *replica) bool { return o.core != nil && o.core.Received(s.Writer).Has(v) })
			if s.Received.Has(v) && !known {
				m.late[record.Point{Writer: s.Writer, Version: v}] = true
			}
		}
	}
}

// rewrites notes that r writes rows of earlier starts again.
func (m *realm) rewrites(r *replica) {
	m.rewrote[r.proc.name] = max(m.rewrote[r.proc.name], r.store.Writer().Boot)
}

// closedWithout notes what a closing by r did not wait for: peers of which its
// disk told nothing, and that it has not met. What they alone have is as if it
// came back on an image.
func (m *realm) closedWithout(r *replica) {
	var known []*replica
	for _, o := range r.fed().of(m) {
		if o == r || slices.Contains(r.proc.met, o.proc.name) {
			known = append(known, o)
		}
	}
	for _, o := range r.fed().of(m) {
		if slices.Contains(known, o) {
			continue
		}
		m.unknown[o.proc.name] = true
		if o.core == nil {
			continue
		}
		var states []core.State
		for w, received := range o.core.Sets() {
			states = append(states, core.State{Writer: w, Received: received})
		}
		m.cameBack(states, known)
	}
}

// ended notes the end of a start. One whose clock had gone back, on a disk that
// knew of no later start, wrote with too low a boot; if it ends before it met
// somebody who knows, its writes stay outranked, which is the one known limit.
func (m *realm) ended(r *replica) {
	last := r.began[len(r.began)-1]
	for w := range m.starts {
		if w.Node == r.proc.name && w.Boot >= last.Boot && !slices.Contains(r.began, w) && m.heads[w] > 0 {
			for _, b := range r.began {
				m.weak[b] = true
			}
			return
		}
	}
}

// top returns the highest record of a row of those that counts, and whether a
// higher one exists at all.
func (m *realm) top(at place, counts func(written) bool) (top written, higher bool) {
	for _, w := range m.rows[at] {
		if record.Wins(w.rank, top.rank) && counts(w) {
			top = w
		}
	}
	for _, w := range m.rows[at] {
		if record.Wins(w.rank, top.rank) {
			higher = true
		}
	}
	return top, higher
}

// rankOf returns the rank of a point's record of a row, empty if there is none.
func (m *realm) rankOf(at place, p record.Point) record.Rank {
	for _, w := range m.rows[at] {
		if w.at == p {
			return w.rank
		}
	}
	return ""
}

// alike reports whether two points write the same row: an owner that repeats
// one under a new writer changes nothing that shows.
func (m *realm) alike(at place, a, b record.Point) bool {
	var of [2]written
	for _, w := range m.rows[at] {
		switch w.at {
		case a:
			of[0] = w
		case b:
			of[1] = w
		}
	}
	return of[0].rank != "" && of[1].rank != "" && of[0].rec.Deleted == of[1].rec.Deleted && string(of[0].rec.Cells) == string(of[1].rec.Cells)
}

// ahead reports whether a point's record of a row is stamped ahead of a wall.
func (m *realm) ahead(at place, p record.Point, wall time.Time) bool {
	for _, w := range m.rows[at] {
		if w.at == p {
			return w.rec.Stamp() > hlc.At(wall)
		}
	}
	return false
}
