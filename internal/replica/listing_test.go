package replica

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
)

func somePage() Page {
	w1, w2 := writer("b/5"), writer("c/7")
	one := func(w record.Writer, v record.Version) record.Changeset {
		return delivery(w, record.Range{From: v, To: v}).Changesets[0]
	}
	return Page{
		Listed: []record.Changeset{one(w1, 2), one(w1, 4), one(w2, 1)},
		Rest:   []record.Changeset{one(w2, 3)},
		End: &End{
			Mode: CatchUp, Scopes: []Scope{{Kind: record.Owned, Node: "b"}, {Kind: record.Shared}},
			Writers: []Floors{{Writer: w1, Received: record.Received{Head: 9, Gaps: []record.Range{{From: 3, To: 4}}}, Floors: [3]record.Version{2, 0, 7}}},
			Boots:   []Boots{{Node: "b", Closed: 4, Evicted: 3, Complete: 4}},
			Takes:   []record.Closed{{Writer: w2, Received: record.Received{Head: 3}}},
		},
	}
}

func TestPageComesBackAsWritten(t *testing.T) {
	want := somePage()
	frame := NewPage(9, 3, want)
	r := reader{b: frame[1:]}
	if id, number := r.fixed(), r.number(); id != 9 || number != 3 {
		t.Errorf("page %d of %d", number, id)
	}
	got := r.page()
	if diff := cmp.Diff(want, got); diff != "" || r.err != nil || len(r.b) > 0 {
		t.Errorf("page (-want +got), %v, %d bytes left:\n%s", r.err, len(r.b), diff)
	}
	for i := range frame {
		r := reader{b: frame[:i]}
		r.byte()
		r.fixed()
		r.number()
		if r.page(); r.err == nil && i < len(frame) {
			t.Errorf("a page cut at byte %d of %d is taken", i, len(frame))
		}
	}
}

func FuzzPage(f *testing.F) {
	f.Add(NewPage(9, 0, somePage())[10:])
	f.Add(NewPage(9, 0, Page{})[10:])
	f.Fuzz(func(t *testing.T, b []byte) {
		r := reader{b: b}
		p := r.page()
		if r.err != nil {
			return
		}
		again := reader{b: NewPage(9, 0, p)[10:]}
		if q := again.page(); again.err != nil || (p.End == nil) != (q.End == nil) {
			t.Errorf("%+v came back as %+v, %v", p, q, again.err)
		}
	})
}

// waiting returns a core that waits for what it asked of b.
func waiting(t *testing.T) (*Core, uint64) {
	t.Helper()
	c := New(Config{}, writer("a/1"), nil, 0, time.Unix(1_780_000_000, 0))
	c.Step(0, Connected{Peer: "b"})
	p := c.peer("b")
	p.session = session{phase: fetching, id: 77, end: time.Minute, due: time.Minute}
	c.Ready()
	return c, 77
}

// A listing is one more way in for a bad peer: what no sound one says ends it
// before the store sees a byte.
func TestHostileListingIsRefused(t *testing.T) {
	for name, bad := range map[string]func(*Page){
		"a boot beyond two years": func(p *Page) {
			p.Listed[0].Writer.Boot = 1 << 62
			p.Listed = p.Listed[:1]
		},
		"versions of this start's writer": func(p *Page) { p.End.Takes[0].Writer = writer("a/1") },
		"a row of this start's writer, which has not written it": func(p *Page) {
			p.Listed = append(p.Listed, delivery(writer("a/1"), record.Range{From: 9, To: 9}).Changesets...)
		},
		"more received of this start's writer than it has written": func(p *Page) {
			p.End.Writers = append(p.End.Writers, Floors{Writer: writer("a/1"), Received: record.Received{Head: 9}})
		},
		"a floor above what this start's writer has written": func(p *Page) {
			p.End.Writers = append(p.End.Writers, Floors{Writer: writer("a/1"), Floors: [3]record.Version{0, 9, 0}})
		},
		"a repair that was not asked for": func(p *Page) { p.End.Mode = Repair },
		"complete above what is closed":   func(p *Page) { p.End.Boots[0].Complete = 99 },
		"owned rows of nobody":            func(p *Page) { p.End.Scopes[0].Node = "" },
	} {
		c, id := waiting(t)
		page := somePage()
		bad(&page)
		c.Step(time.Second, Arrived{From: "b", Frame: NewPage(id, 0, page)})
		if out := c.Ready(); out.Take != nil {
			t.Errorf("%s: handed to the store", name)
		}
		if c.Stats().Malformed != 1 || c.listing != nil || c.peer("b").benched == 0 {
			t.Errorf("%s: %+v", name, c.Stats())
		}
	}
	c, id := waiting(t)
	c.Step(time.Second, Arrived{From: "b", Frame: NewPage(id, 0, somePage())})
	if out := c.Ready(); out.Take == nil || !out.Take.First {
		t.Errorf("a sound page is not taken: %+v", c.Stats())
	}
	c.Step(time.Second, Arrived{From: "b", Frame: NewPage(id, 0, somePage())}) // once more
	if out := c.Ready(); out.Take != nil || c.Stats().Unasked != 1 {
		t.Errorf("a page is taken twice: %+v", c.Stats())
	}
}

// What deleted a row may be collected where a listing comes from, so a record
// of it that waits for the store, or was asked of another peer, must be
// received before the listing is taken: after it the row would come, and stay.
func TestListingWaitsForWhatIsOnItsWay(t *testing.T) {
	w := writer("b/5")
	page := func(c *Core, id uint64) *TakePage {
		c.Step(time.Second, Arrived{From: "b", Frame: NewPage(id, 0, somePage())})
		return c.Ready().Take
	}
	session := func(c *Core, asked ...record.Range) {
		p := c.peer("b")
		p.session.sets = []State{{Writer: w, Received: record.Received{Head: 3}}}
		p.session.asked = []Want{{w, asked}}
	}
	push := func(c *Core, v record.Version) {
		c.Step(0, Arrived{From: "b", Frame: appendParcel([]byte{kindPush}, delivery(w, record.Range{From: v, To: v}))})
	}
	rest := []record.Range{{From: 3, To: ^record.Version(0)}, {From: 1, To: 1}}

	c, id := waiting(t)
	push(c, 2)
	session(c, rest...)
	if page(c, id) != nil {
		t.Error("a listing is taken while a version that its peer has waits for the store")
	}
	if p := c.peer("b"); p.session.phase != idle || p.benched != time.Second+listingLater || c.Stats().Malformed+c.Stats().Unasked > 0 {
		t.Errorf("the peer is blamed, or waited for, or asked again at once: %+v, benched until %v", p.session, p.benched)
	}

	c, id = waiting(t)
	session(c, rest...)
	c.Step(0, Connected{Peer: "c"})
	c.peer("c").session = fetches(w, record.Range{From: 2, To: ^record.Version(0)})
	if page(c, id) != nil {
		t.Error("a listing is taken while a version that its peer has was asked of another")
	}

	c, id = waiting(t)
	session(c, rest...)
	if page(c, id) != nil {
		t.Error("a listing is taken though a version that its peer has was not asked of it, and the other has not answered")
	}

	c, id = waiting(t)
	session(c, rest...)
	c.peer("b").session.partly = true
	if page(c, id) == nil {
		t.Error("a listing is not taken for what was too much to ask for")
	}

	c, id = waiting(t)
	push(c, 2)
	session(c, rest...)
	c.Step(0, Committed{[]Entry{{States: []State{{Writer: w, Received: record.Received{Head: 2, Gaps: []record.Range{{From: 1, To: 1}}}}}}}})
	if page(c, id) == nil {
		t.Error("a listing is not taken though all else that its peer has is received")
	}

	c, id = waiting(t)
	session(c, record.Range{From: 1, To: ^record.Version(0)})
	push(c, 2) // since it was asked for: the listing brings it, in its way
	if page(c, id) == nil {
		t.Error("a listing is not taken for a version that it was asked for")
	}
}

func fetches(w record.Writer, g record.Range) session {
	return session{phase: fetching, id: 78, end: time.Minute, due: time.Minute, asked: []Want{{w, []record.Range{g}}}}
}

// A closing must not outrun what an earlier start pushed and lost since: a peer
// that is surveyed tells of what waits for its store too.
func TestSurveyTellsWhatWaitsForTheStore(t *testing.T) {
	w := writer("b/5")
	c := New(Config{}, writer("a/1"), nil, 0, time.Unix(1_780_000_000, 0))
	c.Step(0, Connected{Peer: "b"})
	c.Step(0, Connected{Peer: "c"})
	c.Step(0, Arrived{From: "b", Frame: appendParcel([]byte{kindPush}, delivery(w, record.Range{From: 1, To: 1}))})
	c.Ready()
	asker := New(Config{}, writer("b/6"), nil, 0, time.Unix(1_780_000_000, 0))
	question, _ := asker.Question()
	for peer, want := range map[record.Node]record.Version{"b": 1, "c": 0} {
		c.Step(0, Arrived{From: peer, Frame: append(binary.BigEndian.AppendUint64([]byte{kindSurvey}, 9), question...)})
		sends := c.Ready().Sends
		if len(sends) != 1 || sends[0].Frame[0] != kindSurveyed {
			t.Fatalf("%s is answered with %v", peer, sends)
		}
		r := reader{b: sends[0].Frame[1+3*8:]}
		_, states, _ := r.reply()
		if got := slices.ContainsFunc(states, func(s State) bool { return s.Writer == w && s.Received.Has(1) }); got != (want == 1) || r.err != nil {
			t.Errorf("%s is told %v (%v)", peer, states, r.err)
		}
	}
}

func TestPassesAreTwoAndUnderOneStart(t *testing.T) {
	known := []record.Node{"b", "c"}
	var p Passes
	missing := func(want ...record.Node) {
		t.Helper()
		if got := p.Missing(known); !slices.Equal(got, want) {
			t.Errorf("missing %v, want %v", got, want)
		}
	}
	missing("b", "c")
	p.Took("b", Start{1, 1})
	missing("c")
	p.Took("c", Start{1, 1})
	missing("b", "c") // the second pass
	p.Took("b", Start{1, 1})
	missing("c")
	p.Took("c", Start{2, 2}) // it has started anew: what it had may be gone
	missing("b", "c")
	p.Took("b", Start{1, 1})
	known = append(known, "d") // comes to be known
	missing("d")
	p.Took("d", Start{1, 1})
	missing("b", "c", "d")
	for _, n := range known {
		s := Start{1, 1}
		if n == "c" {
			s = Start{2, 2}
		}
		p.Took(n, s)
	}
	missing()
}
