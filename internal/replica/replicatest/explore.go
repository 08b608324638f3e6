package replicatest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/memory"
)

// Deletes is one random life of a few stores that write, delete, collect,
// close, forget and heal, without a network: what a frame would bring comes at
// once, in part, or never. Disks stop, lose power, are wiped, copied and put
// back; nodes are evicted; days pass. It uses what a node uses (the memory
// store, [replica.Passes], [runner.Plan] and [runner.Lister]) but for the
// frames and the timing of package replica, which [RunHistory] tries.
//
// At the end all faults end, and these laws must hold:
//
//   - all nodes have received the same, and show the same;
//   - an owned or ranked row is the highest ever received of it, of writers
//     that are not over; a shared one too, unless a write of it first reached
//     a node after that, or another one, had collected a later delete;
//   - where a closing is in effect, no owned row from before it is shown;
//   - when a node closes, it shows the highest of each of its rows that any
//     known node has received, dead ones included.
type Deletes struct {
	cfg       DeletesConfig
	random    *rand.Rand
	now       time.Duration
	nodes     []*member
	images    []picture
	next      int
	commits   []record.Changeset
	closings  []record.Closing
	closedAt  map[record.Writer]record.Version // where each closing ends
	late      map[row]bool                     // shared rows that may reappear
	collected map[row]record.Rank              // the highest delete of a shared row that anybody has collected
	weights   [doings]int
	shown     map[record.Writer][]row // the live rows of a node as it closed
	err       error

	Hits DeleteHits
}

// DeletesConfig says what a life is about.
type DeletesConfig struct {
	Seed   uint64
	Stream bool        // pushes bring all that a start has written, in order, so that nodes seldom ask
	Kind   record.Kind // of most writes
	Nodes  int         // zero means 3 or 4
	Mutant memory.Mutant
	Break  Break
	Trace  func(format string, args ...any) // told of every step; nil means nobody
}

// Break breaks a rule of the protocol, as a Mutant breaks one of the store.
type Break string

// The breaks.
const (
	IgnoreDead Break = "closing without waiting for dead members"
	AskNobody  Break = "closing by a node that asked nobody"
	OnePass    Break = "closing after one pass"
)

// DeleteHits counts what lives did, so that a run can show that it is evidence.
type DeleteHits struct {
	Writes, Deletes, Collected, Forgotten, Closings, Waited                       int
	Listings, ByHead, ByGap, ForCoverage, Exchanged, PutBack, Wiped, Lost, Absent int
	Evicted, Renewed, Late, LateAgain                                             int
}

// Add sums.
func (h *DeleteHits) Add(o DeleteHits) {
	for i, p := range h.counts() {
		*p += *o.counts()[i]
	}
}

func (h *DeleteHits) counts() []*int {
	return []*int{&h.Writes, &h.Deletes, &h.Collected, &h.Forgotten, &h.Closings, &h.Waited,
		&h.Listings, &h.ByHead, &h.ByGap, &h.ForCoverage, &h.Exchanged, &h.PutBack, &h.Wiped, &h.Lost, &h.Absent,
		&h.Evicted, &h.Renewed, &h.Late, &h.LateAgain}
}

// member is one node of a life.
type member struct {
	name   record.Node
	disk   *memory.Disk
	st     *memory.Store // nil while it is down
	began  []record.Writer
	passes replica.Passes
	closed record.Writer // closed as this writer
	downAt time.Duration
}

// picture is a copy of a disk.
type picture struct {
	of   *member
	disk *memory.Disk
}

// Evicting is the table whose rows evict.
const Evicting = "gone"

func deleteTables() []schema.Table {
	evicts := schema.Table{Name: Evicting, Kind: record.Ranked,
		Key:     []schema.Column{{Name: "node", Type: "TEXT", NotNull: true}},
		Columns: []schema.Column{{Name: "boot", Type: "INTEGER", NotNull: true, Default: record.Of(0)}},
		RankBy:  []string{"boot"}, Evicts: true}.WithIDs()
	return append(Tables(), evicts)
}

func newDeletes(cfg DeletesConfig) *Deletes {
	stream := uint64(cfg.Kind)
	if cfg.Stream {
		stream += 8
	}
	d := &Deletes{cfg: cfg, random: rand.New(rand.NewPCG(cfg.Seed, stream)),
		closedAt: map[record.Writer]record.Version{}, late: map[row]bool{}, collected: map[row]record.Rank{}, shown: map[record.Writer][]row{}}
	return d
}

// add starts one more node.
func (d *Deletes) add() {
	m := &member{name: record.Node(rune('a' + len(d.nodes))), disk: &memory.Disk{}}
	d.nodes = append(d.nodes, m)
	d.start(m)
}

// RunDeletes runs one life and returns what broke, if anything.
func RunDeletes(cfg DeletesConfig) (DeleteHits, error) {
	d := newDeletes(cfg)
	d.weigh()
	n := cfg.Nodes
	if n == 0 {
		n = 3 + d.random.IntN(2)
	}
	for range n {
		d.add()
	}
	for steps := 30 + d.random.IntN(60); steps > 0 && d.err == nil; steps-- {
		d.act(d.nodes[d.random.IntN(n)])
		d.now += time.Second
	}
	d.finish()
	if d.err != nil {
		return d.Hits, fmt.Errorf("life %d of %v rows: %w", cfg.Seed, cfg.Kind, d.err)
	}
	return d.Hits, nil
}

func (d *Deletes) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

func (d *Deletes) tell(format string, args ...any) {
	if d.cfg.Trace != nil {
		d.cfg.Trace(format, args...)
	}
}

func (d *Deletes) must(err error) {
	if err != nil {
		d.fail("%w", err)
	}
}

func (d *Deletes) wall() time.Time { return epoch.Add(d.now) }

func (d *Deletes) open(m *member, disk *memory.Disk, mutant memory.Mutant) *memory.Store {
	st, err := memory.Open(memory.Config{Fleet: "f", Cluster: "region/r", Node: m.name, Tables: deleteTables(), Now: d.wall,
		Rand: d.random.Uint64, Disk: disk, Mutant: mutant})
	if err != nil {
		panic(err) // only for a mistake here
	}
	return st
}

func (d *Deletes) start(m *member) {
	m.st = d.open(m, m.disk, d.cfg.Mutant)
	m.began, m.passes = []record.Writer{m.st.Writer()}, replica.Passes{}
	d.tell("%s starts as %v", m.name, m.st.Writer())
	d.write(m, record.Owned, "start", false) // so that it is known
}

func (d *Deletes) end(m *member) {
	m.st, m.downAt = nil, d.now
}

// act does one random thing to m.
func (d *Deletes) act(m *member) {
	if m.st == nil {
		d.whileDown(m)
		return
	}
	switch d.choose() {
	case doWrite:
		d.writeSome(m)
	case doPush:
		d.push(m)
	case doPull:
		if o := d.otherUp(m); o != nil {
			d.pull(m, o, d.random.IntN(3) > 0)
		}
	case doClose:
		for range 1 + d.random.IntN(8) {
			d.closing(m)
		}
	case doCollect:
		if d.random.IntN(2) == 0 {
			d.now += time.Duration(d.random.Int64N(int64(20 * 24 * time.Hour)))
		}
		d.collect(m, 1+d.random.IntN(5))
	case doImage:
		d.images = append(d.images, picture{m, m.disk.Copy()})
	case doStop:
		d.must(m.st.Close())
		d.end(m)
	case doCrash:
		d.tell("%s crashes", m.name)
		m.st.Crash()
		d.end(m)
		d.Hits.Lost++
	case doRestart:
		d.must(m.st.Close())
		d.end(m)
		d.start(m)
	case doEvict:
		d.evict(m)
	}
}

// What a node may do, and how often it does each in a life of even weights.
const (
	doWrite = iota
	doPush
	doPull
	doClose
	doCollect
	doImage
	doStop
	doCrash
	doRestart
	doEvict
	doings
)

var often = [doings]int{20, 8, 9, 6, 6, 3, 3, 2, 2, 1}

// weigh gives this life its own weights: what is rare in most is all that some
// do.
func (d *Deletes) weigh() {
	for i := range d.weights {
		d.weights[i] = often[i] * [...]int{0, 1, 2, 4, 8}[d.random.IntN(5)]
	}
	d.weights[doWrite] = max(d.weights[doWrite], often[doWrite])
}

func (d *Deletes) choose() int {
	sum := 0
	for _, w := range d.weights {
		sum += w
	}
	r := d.random.IntN(sum)
	for i, w := range d.weights {
		if r -= w; r < 0 {
			return i
		}
	}
	return doWrite
}

func (d *Deletes) whileDown(m *member) {
	switch d.random.IntN(12) {
	case 0, 1, 2:
		return
	case 3:
		m.disk = &memory.Disk{}
		d.tell("%s is wiped", m.name)
		d.Hits.Wiped++
	case 4, 5, 6:
		i := slices.IndexFunc(d.images, func(p picture) bool { return p.of == m })
		if i < 0 {
			return
		}
		m.disk = d.images[i].disk.Copy()
		d.images = slices.Delete(d.images, i, i+1)
		d.tell("%s gets an image", m.name)
		d.Hits.PutBack++
	}
	if d.now-m.downAt > store.SharedAge {
		d.Hits.Absent++
	}
	d.start(m)
}

func (d *Deletes) otherUp(m *member) *member {
	var up []*member
	for _, o := range d.nodes {
		if o != m && o.st != nil {
			up = append(up, o)
		}
	}
	if len(up) == 0 {
		return nil
	}
	return up[d.random.IntN(len(up))]
}

func (d *Deletes) writeSome(m *member) {
	kind := d.cfg.Kind
	if d.random.IntN(6) == 0 {
		kind = record.Kinds[d.random.IntN(3)]
	}
	d.write(m, kind, string(rune('x'+d.random.IntN(2))), kind != record.Ranked && d.random.IntN(2) == 0)
}

// write writes or deletes one row.
func (d *Deletes) write(m *member, kind record.Kind, id string, remove bool) {
	d.next++
	_, err := m.st.Update(context.Background(), func(tx store.Tx) error {
		switch {
		case kind == record.Owned && remove:
			return tx.Delete(Owned, record.Of(string(m.name)), record.Of(id))
		case kind == record.Owned:
			return tx.Put(Owned, store.Row{record.Of(string(m.name)), record.Of(id), record.Of(d.next)})
		case kind == record.Shared && remove:
			return tx.Delete(Shared, record.Of(id))
		case kind == record.Shared:
			return tx.Put(Shared, store.Row{record.Of(id), record.Of(d.next)})
		}
		return tx.Put(Ranked, store.Row{record.Of(id), record.Of(d.random.IntN(6)), record.Of(d.next)})
	})
	if err != nil {
		return // refused: outranked
	}
	if d.learn(m) {
		d.tell("%s writes %v %s, deletes it: %v", m.name, kind, id, remove)
		d.Hits.Writes++
		if remove {
			d.Hits.Deletes++
		}
	}
}

// learn notes what m has written since it was last asked.
func (d *Deletes) learn(m *member) bool {
	w := m.st.Writer()
	have := record.Version(0)
	for _, c := range d.commits {
		if c.Writer == w {
			have = c.Version
		}
	}
	n := len(d.commits)
	for _, e := range m.disk.Written() {
		if e.Writer == w && e.Version > have {
			d.commits = append(d.commits, e)
		}
	}
	return len(d.commits) > n
}

// push brings m one changeset, mostly of a writer that runs.
func (d *Deletes) push(m *member) {
	var can []record.Changeset
	for _, c := range d.commits {
		if c.Writer.Node == m.name {
			continue
		}
		runs := slices.ContainsFunc(d.nodes, func(o *member) bool { return o.st != nil && o.st.Writer() == c.Writer })
		if runs || d.random.IntN(30) == 0 {
			can = append(can, c)
		}
	}
	if len(can) == 0 {
		return
	}
	c := can[len(can)-1-d.random.IntN(min(len(can), 12))]
	if d.cfg.Stream {
		for _, before := range can {
			if before.Writer == c.Writer && before.Version < c.Version {
				d.tell("%s is pushed %v", m.name, before.Point())
				d.apply(m, record.Pushed(before))
			}
		}
	}
	d.tell("%s is pushed %v", m.name, c.Point())
	d.apply(m, record.Pushed(c))
}

// collect drops up to limit tombstones.
func (d *Deletes) collect(m *member, limit int) {
	v := d.view(m)
	before := v.records(d)
	got, err := m.st.Collect(context.Background(), store.Ages{Owned: store.OwnedAge, Shared: store.SharedAge}, limit)
	d.must(err)
	d.tell("%s collects %+v", m.name, got)
	d.Hits.Collected += got.Tombstones
	d.Hits.Forgotten += got.Writers
	if got.Tombstones == 0 {
		return
	}
	after := d.view(m).records(d)
	for k, h := range before {
		if _, ok := after[k]; ok || h.rec.Kind != record.Shared {
			continue
		}
		d.collected[k] = max(d.collected[k], h.rec.Rank(h.at))
		for _, c := range d.commits { // a write of it that will reach m later
			for _, r := range c.Records {
				if rowOf(r) == k && r.Rank(c.Point()) < h.rec.Rank(h.at) && v.mayCome(c.Point()) {
					d.late[k] = true
					d.Hits.Late++
				}
			}
		}
	}
}

// evict has m evict another node.
func (d *Deletes) evict(m *member) {
	o := d.nodes[d.random.IntN(len(d.nodes))]
	if o == m || d.random.IntN(3) > 0 {
		return
	}
	d.evictKnown(m, o.name)
}
