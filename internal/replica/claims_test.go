package replica

import (
	"slices"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// claimants are the ways in which a peer can say how much there is of z/1.
func claimants(head record.Version) map[string][]byte {
	w := writer("z/1")
	nothing := record.Delivery{Writer: w, Range: record.Range{From: 1, To: head}}
	end := func(e End) []byte {
		e.Mode = CatchUp
		return NewPage(5, 0, Page{End: &e})
	}
	states := []State{{Writer: w, Received: record.Received{Head: head}}}
	survey := appendStates(make([]byte, 1), states)
	answer := NewAnswer(Serve{ID: 5, Limit: 1 << 20})
	answer.Add(nothing)
	return map[string][]byte{
		"sets":             setsFrame(Digest{}, states),
		"answer":           answer.Frames()[0],
		"listing, takes":   end(End{Takes: []record.Closed{{Writer: w, Received: record.Received{Head: head}}}}),
		"listing, writers": end(End{Writers: []Floors{{Writer: w, Received: record.Received{Head: head}}}}),
		"listing, floors":  end(End{Writers: []Floors{{Writer: w, Floors: [3]record.Version{head}}}}),
		"surveyed":         append(append([]byte{kindSurveyed, 0, 0, 0, 0, 0, 0, 0, 5}, make([]byte, 16)...), survey...),
	}
}

// Whoever believed that somebody has written so much would never again take
// what he writes.
func TestHeadsThatNobodyComesToAreMalformed(t *testing.T) {
	for _, head := range []record.Version{maxVersion + 1, 1 << 63, ^record.Version(0)} {
		for name, frame := range claimants(head) {
			c := expecting(frame)
			c.peer("b").session.leaves = []nodeLeaf{{node: "z"}}
			c.Step(differFor, Arrived{"b", frame})
			if r := c.Ready(); c.stats.Malformed != 1 || r.Take != nil || r.Apply != nil {
				t.Errorf("%s of head %d is taken: %+v", name, head, c.stats)
			}
		}
	}
	for name, frame := range claimants(maxVersion) {
		c := expecting(frame)
		c.peer("b").session.leaves = []nodeLeaf{{node: "z"}}
		if c.Step(differFor, Arrived{"b", frame}); c.stats.Malformed > 0 {
			t.Errorf("%s of a head that may be is malformed", name)
		}
	}
	c := connectedCore(Config{}, "b")
	if c.Step(0, Arrived{"b", pushOf(writer("b/1"), 1<<63)}); c.stats.Malformed != 1 || c.Ready().Apply != nil {
		t.Errorf("a push of version 2^63 is taken: %+v", c.stats)
	}
}

// A boot is believed until two years ahead of this node's clock, and no
// further: no start could take a higher one.
func TestBootsBeyondTwoYearsAreRefused(t *testing.T) {
	wall := time.Unix(1000, 0)
	last := uint64(wall.Add(maxBootAhead).Unix())
	for boot, taken := range map[uint64]bool{last: true, last + 1: false, 1 << 63: false, 1<<64 - 1: false} {
		w := record.Writer{Node: "b", Boot: boot, Bits: 1}
		c := connectedCore(Config{}, "b")
		if c.Step(0, Arrived{"b", pushOf(w, 1)}); (len(c.Ready().Apply) == 1) != taken {
			t.Errorf("push of boot %d: taken %v", boot, !taken)
		}
		c = connectedCore(Config{}, "b")
		s := &c.peer("b").session
		s.phase, s.sets = settling, []State{{Writer: w, Received: record.Received{Head: 3}}}
		if c.Tick(gapAge, wall); (s.phase == fetching) != taken {
			t.Errorf("versions of boot %d: asked for %v", boot, !taken)
		}
		c = connectedCore(Config{}, "b")
		s = &c.peer("b").session
		s.phase, s.id, s.due = fetching, 5, time.Minute
		page := Page{Listed: delivery(w, record.Range{From: 1, To: 1}).Changesets, End: &End{Mode: CatchUp}}
		if c.Step(gapAge, Arrived{"b", NewPage(5, 0, page)}); (c.Ready().Take != nil) != taken {
			t.Errorf("listing of boot %d: taken %v", boot, !taken)
		}
	}
}

// All gaps of a frame together are at most 65,536: of one writer or of many.
func TestAMillionGapsAreMalformed(t *testing.T) {
	gaps := func(n int) (r record.Received) {
		for i := range n {
			v := record.Version(2*i + 1)
			r.Gaps = append(r.Gaps, record.Range{From: v, To: v})
		}
		r.Head = record.Version(2*n + 1)
		return r
	}
	of := func(writers, each int) (out []State) {
		for i := range writers {
			out = append(out, State{Writer: record.Writer{Node: "z", Boot: uint64(i + 1), Bits: 1}, Received: gaps(each)})
		}
		return out
	}
	for name, x := range map[string]struct {
		states []State
		taken  bool
	}{
		"a million of one writer":      {of(1, 1_000_000), false},
		"a million of 17":              {of(17, 60_000), false},
		"one more than may be, of two": {of(2, record.MaxGaps/2+1), false},
		"as many as may be":            {of(2, record.MaxGaps/2), true},
	} {
		frame := setsFrame(Digest{}, x.states)
		c := expecting(frame)
		s := &c.peer("b").session
		s.leaves = []nodeLeaf{{node: "z"}}
		if c.Step(differFor, Arrived{"b", frame}); (s.phase == settling) != x.taken || (c.stats.Malformed == 0) != x.taken {
			t.Errorf("%s: taken %v", name, !x.taken)
		}
	}
}

func TestFramesOverTheCapAreNotRead(t *testing.T) {
	root := rootFrame(Digest{Lo: 1}) // what follows it is skipped
	for size, read := range map[int]bool{0: false, MaxFrame: true, MaxFrame + 1: false} {
		c := connectedCore(Config{}, "b")
		c.Step(time.Second, Arrived{"b", append(root, make([]byte, MaxFrame)...)[:size]})
		if answered := len(c.Ready().Sends) > 0; answered != read || (c.stats.Malformed == 0) != read {
			t.Errorf("a frame of %d bytes: read %v, %+v", size, answered, c.stats)
		}
	}
}

// What was received is received: neither a push nor an answer brings it again,
// even if its row was deleted and that forgotten since.
func TestReplayedVersionsReachNoStore(t *testing.T) {
	c := connectedCore(Config{}, "b")
	c.Step(0, Committed{[]Entry{{States: []State{{Writer: writer("b/1"), Received: record.Received{Head: 9}}}}}})
	c.Step(0, Arrived{"b", pushOf(writer("b/1"), 7)})
	s := &c.peer("b").session
	s.phase, s.id, s.room, s.due = fetching, 5, MaxFrame, time.Minute
	s.asked = []Want{{writer("b/1"), []record.Range{{From: 1, To: 9}}}}
	a := NewAnswer(Serve{ID: 5, Limit: 1 << 20})
	a.Add(delivery(writer("b/1"), record.Range{From: 7, To: 7}))
	c.Step(0, Arrived{"b", a.Frames()[0]})
	if r := c.Ready(); r.Apply != nil || c.stats.Duplicates != 2 {
		t.Errorf("%d deliveries for the store, %+v", len(r.Apply), c.stats)
	}
}

// A node that differs from all its peers sums its rows once, not for each.
func TestRowsAreSummedOnceForAllPeers(t *testing.T) {
	c := connectedCore(Config{}, "b", "c", "d")
	differ := func(p record.Node) {
		c.peer(p).session = session{phase: settling, due: c.now, list: ListingWant{Mode: Exchange}, differ: damage{node: p, writer: writer("z/1")}}
	}
	ready := func(d time.Duration) Ready {
		c.Tick(c.now+d, time.Unix(1000, 0))
		r := c.Ready()
		r.Sends = slices.DeleteFunc(r.Sends, func(s Send) bool { return s.Frame[0] != kindWant })
		return r
	}
	differ("b")
	differ("c")
	if r := ready(0); !r.Check || len(r.Sends) > 0 {
		t.Fatalf("check %v, %d listings asked for before the answer", r.Check, len(r.Sends))
	}
	c.Step(c.now, Checked{Damaged: true})
	differ("d")
	if r := ready(0); r.Check {
		t.Error("summed again at once, though damaged")
	}
	differ("b")
	differ("c")
	if r := ready(checkAgain); !r.Check {
		t.Fatal("never summed again")
	}
	c.Step(c.now, Checked{})
	differ("d")
	if r := ready(0); r.Check || len(r.Sends) != 3 {
		t.Errorf("check %v, %d listings asked for, want 3 by one check", r.Check, len(r.Sends))
	}
	c.peer("b").session = session{}
	differ("c")
	if r := ready(soundFor); !r.Check {
		t.Error("a node is taken for sound for ever")
	}
}
