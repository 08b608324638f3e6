package storetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// take has one store take a listing of another, page by page.
func (s *suite) take(from, to store.Store, mode store.Mode, takes []record.Closed, scopes ...store.Scope) {
	s.t.Helper()
	nodes, err := s.snapshot(from).Nodes()
	if err != nil {
		s.t.Fatalf("nodes: %v", err)
	}
	end := &store.ListingEnd{Mode: mode, Scopes: scopes, Writers: s.writers(from), Nodes: nodes, Takes: takes}
	first := true
	for _, c := range s.list(from, scopes...) {
		if err := to.TakeListing(s.t.Context(), store.ListingPage{First: first, Listed: []record.Changeset{c}}); err != nil {
			s.t.Fatalf("take a page: %v", err)
		}
		first = false
	}
	if err := to.TakeListing(s.t.Context(), store.ListingPage{First: first, End: end}); err != nil {
		s.t.Fatalf("take the end of a listing: %v", err)
	}
}

func everyScope(nodes ...record.Node) []store.Scope {
	out := []store.Scope{{Kind: record.Shared}, {Kind: record.Ranked}}
	for _, n := range nodes {
		out = append(out, store.Scope{Kind: record.Owned, Node: n})
	}
	return out
}

func listingHoldsAllOfItsScope(t *testing.T, s *suite) {
	st := s.open("a")
	s.closes(st)
	s.put(st, "things", thing("a", "x", "v", 1), thing("a", "y", "v", 1))
	s.delete(st, "things", "a", "y")
	s.put(st, "notes", note("n", 1))
	s.put(st, "marks", mark("m", 1, "v"))
	s.apply(st, changeset(bob, 1, s.now, owned("b", "x", "v", 1), owned("b", "bad", "v", 5000), owned("c", "forged", "v", 1)))
	count := func(list []record.Changeset) (n int) {
		for _, c := range list {
			n += len(c.Records)
		}
		return n
	}
	for _, c := range []struct {
		scope store.Scope
		want  int
	}{
		{store.Scope{Kind: record.Owned, Node: "a"}, 2}, // a tombstone too
		{store.Scope{Kind: record.Owned, Node: "b"}, 3}, // what is withheld too, under its writer's node
		{store.Scope{Kind: record.Owned, Node: "c"}, 0},
		{store.Scope{Kind: record.Shared}, 1},
		{store.Scope{Kind: record.Ranked}, 1},
	} {
		if got := count(s.list(st, c.scope)); got != c.want {
			t.Errorf("%+v lists %d records, want %d", c.scope, got, c.want)
		}
	}
	other := s.open("z")
	s.take(st, other, store.CatchUp, []record.Closed{
		{Writer: bob, Received: record.Received{Head: 1}}, {Writer: st.Writer(), Received: s.state(st, st.Writer()).Received},
	}, everyScope("a", "b")...)
	if diff := cmp.Diff(s.written(st), s.written(other)); diff != "" {
		t.Errorf("states (-listed +taken):\n%s", diff)
	}
	for _, table := range []string{"things", "notes", "marks"} {
		if diff := cmp.Diff(s.rows(st, table), s.rows(other, table)); diff != "" {
			t.Errorf("%s (-listed +taken):\n%s", table, diff)
		}
	}
}

func listingDropsWhatIsGoneThere(t *testing.T, s *suite) {
	a, b := s.open("a"), s.open("b")
	s.closes(a)
	carol := record.Writer{Node: "c", Boot: 7, Bits: 1}
	s.put(a, "notes", note("gone", 1), note("kept", 1), note("mine", 1))
	s.transfer(a, b)
	s.put(b, "notes", note("mine", 2))                                  // a has not received it
	s.apply(a, changeset(carol, 1, s.now, owned("c", "other", "v", 1))) // the rest of a range
	s.delete(a, "notes", "gone")
	s.delete(a, "notes", "mine")
	s.setNow(s.now.Add(48 * time.Hour))
	if c, err := a.Collect(t.Context(), store.Ages{Owned: time.Hour, Shared: time.Hour}, 100); err != nil || c.Tombstones != 2 {
		t.Fatalf("collected %+v, %v", c, err)
	}
	// Nothing shows before the last page.
	if err := b.TakeListing(t.Context(), store.ListingPage{First: true, Listed: s.list(a, store.Scope{Kind: record.Shared})}); err != nil {
		t.Fatal(err)
	}
	if got := s.get(b, "notes", "gone"); got == nil {
		t.Error("half a listing has dropped a row")
	}
	head := s.state(a, a.Writer()).Received
	s.take(a, b, store.CatchUp, []record.Closed{{Writer: a.Writer(), Received: head}}, store.Scope{Kind: record.Shared})
	if got := s.get(b, "notes", "gone"); got != nil {
		t.Errorf("a deleted row is still there: %v", got)
	}
	if s.get(b, "notes", "kept") == nil || s.get(b, "notes", "mine") == nil {
		t.Errorf("rows %v: one that is listed, or that the responder does not know, is gone", s.rows(b, "notes"))
	}
	if f := s.state(b, a.Writer()).Floors; f[1] != s.state(a, a.Writer()).Floors[1] {
		t.Errorf("floors %v are not taken over", f)
	}
	if got := s.state(b, a.Writer()).Received; !got.Equal(head) {
		t.Errorf("received %v, want %v", got, head)
	}
	if ds, err := s.snapshot(b).Deliver(a.Writer(), record.Range{From: 1, To: head.Head}, 1<<20); err != nil || len(ds) != 0 {
		t.Errorf("b answers %v, %v below the floor it took over", ds, err)
	}
}

func listingEndsOnce(t *testing.T, s *suite) {
	a, b := s.open("a"), s.open("b")
	s.closes(a)
	s.put(a, "notes", note("kept", 1))
	s.transfer(a, b)
	scope := store.Scope{Kind: record.Shared}
	end := &store.ListingEnd{Mode: store.CatchUp, Scopes: []store.Scope{scope}, Writers: s.writers(a)}
	refused := func(when string, p store.ListingPage) {
		t.Helper()
		if err := b.TakeListing(t.Context(), p); !errors.Is(err, store.ErrNoListing) {
			t.Errorf("%s: %v, want %v", when, err, store.ErrNoListing)
		}
		if s.get(b, "notes", "kept") == nil {
			t.Fatalf("%s: the row is gone", when)
		}
	}
	refused("an end before any page", store.ListingPage{End: end})
	refused("a later page before the first", store.ListingPage{Listed: s.list(a, scope)})
	s.take(a, b, store.CatchUp, nil, scope)
	refused("an end once more", store.ListingPage{End: end})

	// A page that is refused ends its listing: the end would drop what it listed.
	if err := b.TakeListing(t.Context(), store.ListingPage{First: true}); err != nil {
		t.Fatal(err)
	}
	bad := store.ListingPage{Listed: s.list(a, scope)}
	bad.Listed[0].Records[0].Kind = 0
	if err := b.TakeListing(t.Context(), bad); err == nil {
		t.Error("a record of no kind is taken")
	}
	refused("an end after a page that was refused", store.ListingPage{End: end})
}

func listingBringsNothingBack(t *testing.T, s *suite) {
	a, b := s.open("a"), s.open("b")
	s.closes(a)
	s.put(a, "notes", note("x", 1))
	s.transfer(a, b)
	s.delete(b, "notes", "x")
	s.setNow(s.now.Add(48 * time.Hour))
	if c, err := b.Collect(t.Context(), store.Ages{Shared: time.Hour, Owned: time.Hour}, 100); err != nil || c.Tombstones != 1 {
		t.Fatalf("collected %+v, %v", c, err)
	}
	// a has the row still: b had received it, and it must not come back.
	s.take(a, b, store.CatchUp, nil, store.Scope{Kind: record.Shared})
	if got := s.get(b, "notes", "x"); got != nil {
		t.Errorf("a listing brought back %v", got)
	}
	// By rank alone, as for a late write, it does.
	s.take(a, b, store.Exchange, nil, store.Scope{Kind: record.Shared})
	if got := s.get(b, "notes", "x"); got == nil {
		t.Error("an exchange by rank brought nothing")
	}
}

// A listing brings a record whose version comes after it: that counts once.
func listedRecordCountsOnce(t *testing.T, s *suite) {
	a, b := s.open("a"), s.open("b")
	s.apply(a, changeset(bob, 1, s.now, owned("c", "x", "forged", 1), owned("b", "y", "v", 1)))
	s.take(a, b, store.CatchUp, nil, everyScope("b")...)
	s.apply(b, s.everything(a, bob)...)
	if diff := cmp.Diff(s.state(a, bob), s.state(b, bob)); diff != "" {
		t.Errorf("one has it by a listing too (-without +with):\n%s", diff)
	}
}

func listingMakesComplete(t *testing.T, s *suite) {
	a, b := s.open("a"), s.open("b")
	s.closes(a)
	s.put(a, "things", thing("a", "x", "v", 1))
	s.put(a, "notes", note("n", 1))
	first := a.Writer()
	s.apply(b, record.Pushed(s.everything(a, first)[0].Changesets[0]))
	s.close(a)
	s.setNow(s.now.Add(time.Minute))
	a = s.open("a")
	s.closeEarlier(a)
	up := a.Writer().Boot - 1
	head := s.state(a, a.Writer()).Received
	s.take(a, b, store.CatchUp, nil, store.Scope{Kind: record.Owned, Node: "a"})
	if got := s.nodeState(b, "a"); got.Closed != up || got.Complete != 0 {
		t.Errorf("after the owned listing alone: %+v, want closed up to %d and not complete", got, up)
	}
	s.take(a, b, store.CatchUp, []record.Closed{{Writer: a.Writer(), Received: head}, {Writer: first, Received: s.state(a, first).Received}}, everyScope("a")...)
	if got := s.nodeState(b, "a"); got.Complete != up {
		t.Errorf("after listings of every kind: %+v, want complete up to %d", got, up)
	}
	if diff := cmp.Diff(s.written(a), s.written(b)); diff != "" {
		t.Errorf("states (-a +b):\n%s", diff)
	}
}

func repairMakesTheScopeTheSame(t *testing.T, s *suite) {
	a, b := s.open("a"), s.open("b")
	s.closes(a)
	s.put(a, "things", thing("a", "x", "v", 1), thing("a", "y", "v", 1))
	s.apply(b, changeset(a.Writer(), 1, s.now, owned("a", "x", "wrong", 1), owned("a", "w", "wrong", 1))) // as if its disk had turned them
	s.take(a, b, store.Repair, nil, store.Scope{Kind: record.Owned, Node: "a"})
	if diff := cmp.Diff(s.rows(a, "things"), s.rows(b, "things")); diff != "" {
		t.Errorf("rows (-authority +repaired):\n%s", diff)
	}
	if diff := cmp.Diff(s.written(a), s.written(b)); diff != "" {
		t.Errorf("states (-authority +repaired):\n%s", diff)
	}
}

// Only its owner ends an owned row, and nobody a ranked one: a listing that
// lacks one of this start is wrong, whatever its peer says it has received.
func listingLeavesWhatThisStartWrote(t *testing.T, s *suite) {
	st := s.open("a")
	s.closes(st)
	s.put(st, "things", thing("a", "x", "v", 1), thing("a", "y", "v", 1))
	s.put(st, "marks", mark("m", 1, "v"))
	s.put(st, "notes", note("n", 1))
	self := st.Writer()
	before := s.state(st, self)
	for _, mode := range []store.Mode{store.CatchUp, store.Repair} {
		end := &store.ListingEnd{Mode: mode, Scopes: everyScope("a"), Writers: []store.WriterState{{Writer: self, Received: before.Received}}}
		if err := st.TakeListing(t.Context(), store.ListingPage{First: true, End: end}); err != nil {
			t.Fatalf("an empty listing of mode %d: %v", mode, err)
		}
		after := s.state(st, self)
		if after.Fingerprints[0] != before.Fingerprints[0] || after.Fingerprints[2] != before.Fingerprints[2] {
			t.Errorf("mode %d: fingerprints %v, before %v", mode, after.Fingerprints, before.Fingerprints)
		}
		if s.get(st, "things", "a", "x") == nil || s.get(st, "marks", "m") == nil {
			t.Errorf("mode %d dropped a row of this start", mode)
		}
		if s.get(st, "notes", "n") != nil {
			t.Errorf("mode %d left a shared row, which others may have deleted", mode)
		}
	}
}

func listingOfUnwrittenVersionsIsRefused(t *testing.T, s *suite) {
	st := s.open("a")
	s.closes(st)
	s.put(st, "things", thing("a", "x", "v", 1))
	self := st.Writer()
	end := func() *store.ListingEnd { return &store.ListingEnd{Mode: store.CatchUp, Scopes: everyScope("a")} }
	for name, p := range map[string]store.ListingPage{
		"a row": {First: true, Listed: []record.Changeset{changeset(self, 9, s.now, owned("a", "x", "forged", 2)).Changesets[0]}, End: end()},
		"a received set": {First: true, End: func() *store.ListingEnd {
			e := end()
			e.Writers = []store.WriterState{{Writer: self, Received: record.Received{Head: 2}}}
			return e
		}()},
		"a floor": {First: true, End: func() *store.ListingEnd {
			e := end()
			e.Writers = []store.WriterState{{Writer: self, Floors: [3]record.Version{2, 0, 0}}}
			return e
		}()},
		"what it takes": {First: true, End: func() *store.ListingEnd {
			e := end()
			e.Takes = []record.Closed{{Writer: self, Received: record.Received{Head: 2}}}
			return e
		}()},
	} {
		before := s.state(st, self)
		if err := st.TakeListing(t.Context(), p); !errors.Is(err, store.ErrNotWritten) {
			t.Errorf("%s beyond the own head: %v", name, err)
		}
		if diff := cmp.Diff(before, s.state(st, self)); diff != "" {
			t.Errorf("%s (-before +after):\n%s", name, diff)
		}
	}
	s.put(st, "things", thing("a", "x", "w", 1))
	if got := s.get(st, "things", "a", "x"); got == nil || !got[2].Equal(record.Of("w")) {
		t.Errorf("the next write shows as %v", got)
	}
}

// A start that took a higher boot closes what it wrote before, and forgets it:
// who remembers it says nothing wrong.
func listingOfAForgottenWriterIsTaken(t *testing.T, s *suite) {
	st := s.open("a")
	s.closes(st)
	s.put(st, "things", thing("a", "x", "v", 1))
	first := st.Writer()
	if _, err := st.Renew(t.Context(), first.Boot+10); err != nil {
		t.Fatal(err)
	}
	s.closeEarlier(st)
	if _, err := st.Collect(t.Context(), store.Ages{Owned: time.Hour, Shared: time.Hour}, 100); err != nil {
		t.Fatal(err)
	}
	end := &store.ListingEnd{Mode: store.CatchUp, Scopes: everyScope("a"), Writers: []store.WriterState{{Writer: first, Received: record.Received{Head: 1}}}}
	if err := st.TakeListing(t.Context(), store.ListingPage{First: true, End: end}); err != nil {
		t.Errorf("a listing by one who remembers %v: %v", first, err)
	}
}

// A listing by one who has forgotten a writer drops its tombstones. A range of
// it would then be answered as empty, to somebody who still shows the row.
func listingByOneWhoForgotSetsFloors(t *testing.T, s *suite) {
	a, b := s.open("a"), s.open("b")
	s.closes(a)
	s.closes(b)
	first := record.Writer{Node: "a", Boot: 1, Bits: 1}
	row := mustRecord(Tables()[1], note("n", 1), record.StampOrder(hlc.At(s.now)))
	gone := tombstone(row)
	gone.Order = record.StampOrder(hlc.At(s.now.Add(time.Millisecond)))
	s.apply(b, changeset(first, 1, s.now, row), changeset(first, 2, s.now, gone))
	end := &store.ListingEnd{Mode: store.CatchUp, Scopes: everyScope("a"), Nodes: []store.NodeState{{Node: "a", Closed: 1, Complete: 1}}}
	if err := b.TakeListing(t.Context(), store.ListingPage{First: true, End: end}); err != nil {
		t.Fatal(err)
	}
	if got := s.state(b, first).Floors; slices.Max(got[:]) != 2 {
		t.Errorf("floors %v, want the two versions below that of shared rows", got)
	}
}

// An earlier start of the node with a higher boot may come by a listing, with
// its closing in effect: what this start has written must rank above it.
func listingOfAnEarlierStartRollsNothingBack(t *testing.T, s *suite) {
	st, peer := s.open("a"), s.openOn("a", "a2", Tables())
	s.closes(st)
	s.put(st, "things", thing("a", "x", "now", 1))
	self := st.Writer()
	if _, err := peer.Renew(t.Context(), self.Boot+100); err != nil {
		t.Fatal(err)
	}
	s.put(peer, "things", thing("a", "x", "then", 1), thing("a", "z", "then", 1))
	s.closeEarlier(peer)
	w := peer.Writer()
	s.take(peer, st, store.CatchUp, []record.Closed{{Writer: w, Received: s.state(peer, w).Received}}, everyScope("a")...)
	if st.Writer().Boot < w.Boot { // or the store has done so already
		if _, err := st.Renew(t.Context(), w.Boot+1); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.get(st, "things", "a", "x"); got == nil || !got[2].Equal(record.Of("now")) {
		t.Errorf("what this start wrote is %v", got)
	}
	if got := s.get(st, "things", "a", "z"); got == nil {
		t.Error("a row of the earlier start is not there")
	}
}
