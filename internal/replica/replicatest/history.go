package replicatest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// History is one random life of a small cluster: writes, cut links, clean
// stops, crashes, disk images put back, stale copies restored and clocks that
// go back. Then all faults end, and the identity laws must hold:
//
//   - no (writer, version) ever has two contents;
//   - no acknowledged write that some disk still had received when the faults
//     ended is rolled back by an earlier one of its row; so nothing deleted
//     comes back either;
//   - all nodes are equal, and what they show is what the naive rule makes of
//     all that some disk had received.
//
// One exception is known and counted. A start whose clock went back, on a disk
// that does not know of a later start, writes with too low a boot. It stamps
// its writes again when it meets somebody who knows; if it ends before, they
// stay outranked by that later start's.
type History struct {
	world  *World
	images []image
	next   int // value of the next write

	contents map[record.Point]string
	commits  []record.Changeset
	writes   []write
	weak     map[record.Writer]bool
	err      error

	Hits Hits
}

// Hits counts what a history did, so that a run can show that it is evidence.
type Hits struct {
	Writes, Refused, Stops, Crashes, PutBack, Restored, ClockBack, Renewed, Weak, Closings, Collected, Listings int
}

// Add sums.
func (h *Hits) Add(o Hits) {
	h.Writes += o.Writes
	h.Refused += o.Refused
	h.Stops += o.Stops
	h.Crashes += o.Crashes
	h.PutBack += o.PutBack
	h.Restored += o.Restored
	h.ClockBack += o.ClockBack
	h.Renewed += o.Renewed
	h.Weak += o.Weak
	h.Closings += o.Closings
	h.Collected += o.Collected
	h.Listings += o.Listings
}

// image is a disk that may be put back into its node.
type image struct {
	node *Node
	disk Disk
}

// write is one acknowledged write of an owned row.
type write struct {
	row     string
	val     int
	deleted bool
	points  []record.Point // a renewed writer repeats it
}

// RunHistory runs the history of a seed and returns what broke, if anything.
func RunHistory(seed uint64, continueWriter bool) (Hits, error) {
	w := New(Config{Seed: seed, Tables: Tables(), Loss: 0.05, Duplicate: 0.05, Delay: 4 * time.Millisecond, Continue: continueWriter, Close: !continueWriter})
	h := &History{world: w, contents: map[record.Point]string{}, weak: map[record.Writer]bool{}}
	for _, name := range []record.Node{"a", "b", "c"} {
		n := w.Add(name)
		n.Wrote = func(c record.Changeset) { h.wrote(n, c) }
		n.Start()
	}
	steps := 12 + w.random.IntN(16)
	for i := 0; i < steps && h.err == nil; i++ {
		h.act(w.nodes[w.random.IntN(len(w.nodes))])
		if w.random.IntN(3) == 0 {
			w.Run(time.Duration(w.random.Int64N(int64(1500 * time.Millisecond))))
		} else {
			w.Run(time.Duration(w.random.Int64N(int64(20 * time.Millisecond))))
		}
	}
	if h.err == nil {
		h.finish()
	}
	if h.err != nil {
		return h.Hits, fmt.Errorf("history %d: %w", seed, h.err)
	}
	return h.Hits, nil
}

func (h *History) fail(format string, args ...any) {
	if h.err == nil {
		h.err = fmt.Errorf(format, args...)
	}
}

// act does one random thing to n.
func (h *History) act(n *Node) {
	r := h.world.random
	if !n.Up() {
		h.whileDown(n)
		return
	}
	switch r.IntN(17) {
	case 16:
		h.Hits.Collected += n.collectOwned().Tombstones
	case 0:
		n.Stop()
		h.ended(n)
		h.Hits.Stops++
		if r.IntN(2) == 0 {
			h.images = append(h.images, image{n, n.Disk.Copy()})
		}
	case 1:
		n.Crash()
		h.ended(n)
		h.Hits.Crashes++
	case 2:
		h.images = append(h.images, image{n, n.Disk.Copy()})
	case 3:
		h.cut(n)
	case 4:
		if r.IntN(2) == 0 {
			n.Skew -= time.Duration(r.Int64N(int64(2 * time.Hour)))
			h.Hits.ClockBack++
		} else {
			n.Skew = 0
		}
	default:
		h.write(n)
	}
}

// whileDown starts n again, some time with another disk.
func (h *History) whileDown(n *Node) {
	r := h.world.random
	if i := slices.IndexFunc(h.images, func(im image) bool { return im.node == n }); i >= 0 && r.IntN(2) == 0 {
		if im := h.images[i]; im.disk.clean {
			h.Hits.PutBack++
			n.Disk = im.disk.Copy()
		} else {
			h.Hits.Restored++
			n.Disk = im.disk.Copy()
		}
	}
	if r.IntN(3) == 0 {
		n.Skew -= time.Hour
		h.Hits.ClockBack++
	}
	n.Start()
}

func (h *History) cut(n *Node) {
	for _, o := range h.world.nodes {
		switch h.world.random.IntN(3) {
		case 0:
			h.world.Cut(n, o)
		case 1:
			h.world.Join(n, o)
			h.world.Join(o, n)
		default:
			h.world.Cut(o, n)
		}
	}
}

func (h *History) write(n *Node) {
	r := h.world.random
	id := string(rune('x' + r.IntN(3)))
	h.next++
	var c store.Commit
	switch r.IntN(8) {
	case 0:
		c = n.DeleteOwned(id)
	case 1:
		c = n.PutShared(id, h.next)
	case 2:
		c = n.DeleteShared(id)
	case 3:
		c = n.PutRanked(id, r.IntN(5), h.next)
	default:
		c = n.PutOwned(id, h.next)
	}
	if c.Point.Version == 0 {
		h.Hits.Refused++
		return
	}
	h.Hits.Writes++
}

// wrote learns of a changeset before its write is acknowledged.
func (h *History) wrote(n *Node, c record.Changeset) {
	content := fmt.Sprint(c.Records)
	if old, ok := h.contents[c.Point()]; ok && old != content {
		h.fail("%v has two contents: %s and %s", c.Point(), old, content)
		return
	}
	h.contents[c.Point()] = content
	h.commits = append(h.commits, c)
	for _, r := range c.Records {
		if r.Kind == record.Owned && r.Table != closedTable.ID {
			h.wroteOwned(n, c.Point(), r)
		}
	}
}

func (h *History) wroteOwned(n *Node, p record.Point, r record.Record) {
	wr := write{row: string(r.Key), deleted: r.Deleted, points: []record.Point{p}}
	if !r.Deleted {
		row, _, err := h.world.cfg.Tables[0].Row(r)
		if err != nil {
			h.fail("row of %v: %v", p, err)
			return
		}
		wr.val = int(row[2].Int)
	}
	// A renewed writer repeats the last write of the row of this start.
	for i := len(h.writes) - 1; i >= 0; i-- {
		o := &h.writes[i]
		if o.row != wr.row {
			continue
		}
		if last := o.points[len(o.points)-1].Writer; last != p.Writer && o.val == wr.val && o.deleted == wr.deleted && slices.Contains(n.began, last) {
			o.points = append(o.points, p)
			return
		}
		break
	}
	h.writes = append(h.writes, wr)
}

// ended marks the writes of a start that ended without having met somebody
// who knows of a later one.
func (h *History) ended(n *Node) {
	last := n.began[len(n.began)-1]
	h.Hits.Renewed += len(n.began) - 1
	for _, c := range h.commits {
		if w := c.Writer; w.Node == n.Name && w.Boot >= last.Boot && !slices.Contains(n.began, w) {
			for _, b := range n.began {
				h.weak[b] = true
			}
			h.Hits.Weak++
			return
		}
	}
}

// finish ends all faults, waits, and judges.
func (h *History) finish() {
	w := h.world
	for _, n := range w.nodes {
		n.Skew = max(n.Skew, -time.Minute) // still wrong: stamps of others are ahead here
		if !n.Up() {
			n.Start()
		}
	}
	before := h.received()
	w.Heal()
	if !w.RunUntil(2*time.Minute, w.Equal) {
		h.fail("nodes are not equal two minutes after all faults ended%s", w.describe())
		return
	}
	for _, n := range w.nodes {
		n.Skew = 0
		if _, err := n.Store.Apply(context.Background(), nil); err != nil { // shows what was ahead
			h.fail("apply nothing: %v", err)
		}
		h.Hits.Renewed += len(n.began) - 1
	}
	h.Hits.Closings = w.Closings
	for _, n := range w.nodes {
		h.Hits.Listings += int(n.Core.Stats().Listings)
	}
	after, counted := h.received(), h.counted()
	for _, c := range h.commits {
		if before[c.Point()] && !counted[c.Point()] {
			h.fail("%v was received, and is not any more", c.Point())
		}
	}
	h.judgeOwned(before)
	h.judgeNaive(after)
}

// received is what some running node has.
func (h *History) received() map[record.Point]bool {
	return h.receivedBy(func(n *Node, p record.Point) bool { return n.Core.Received(p.Writer).Has(p.Version) })
}

// counted is what counts as received at some running node, also of writers
// that it has forgotten.
func (h *History) counted() map[record.Point]bool { return h.receivedBy((*Node).has) }

func (h *History) receivedBy(has func(*Node, record.Point) bool) map[record.Point]bool {
	out := map[record.Point]bool{}
	for _, c := range h.commits {
		for _, n := range h.world.nodes {
			if has(n, c.Point()) {
				out[c.Point()] = true
			}
		}
	}
	return out
}

// describe tells what each node has, for a failure.
func (w *World) describe() (s string) {
	for _, n := range w.nodes {
		snap, err := n.Store.Snapshot(context.Background())
		if err != nil {
			panic(err)
		}
		ws, _ := snap.Writers()
		ns, _ := snap.Nodes()
		s += fmt.Sprintf("\n%s as %v, closing %+v", n.Name, n.Store.Writer(), n.Core.Stats().Closing)
		for _, x := range ns {
			s += fmt.Sprintf("\n  %+v", x)
		}
		for _, x := range ws {
			s += fmt.Sprintf("\n  %v: %v floors %v prints %v", x.Writer, x.Received, x.Floors, x.Fingerprints)
		}
	}
	return s
}
