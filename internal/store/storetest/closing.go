package storetest

import (
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// closes skips the test of a store that says that it closes nothing.
func (s *suite) closes(st store.Store) {
	s.t.Helper()
	if _, err := st.Restamp(s.t.Context(), 1); errors.Is(err, store.ErrUnsupported) {
		s.t.Skip("this store says that it does not close, list or collect")
	}
}

func (s *suite) nodeState(st store.Store, n record.Node) store.NodeState {
	s.t.Helper()
	nodes, err := s.snapshot(st).Nodes()
	if err != nil {
		s.t.Fatalf("nodes: %v", err)
	}
	for _, x := range nodes {
		if x.Node == n {
			return x
		}
	}
	return store.NodeState{Node: n}
}

// closeEarlier stamps everything again and closes.
func (s *suite) closeEarlier(st store.Store) store.Commit {
	s.t.Helper()
	for {
		left, err := st.Restamp(s.t.Context(), 100)
		if err != nil {
			s.t.Fatalf("restamp: %v", err)
		}
		if left == 0 {
			break
		}
	}
	c, err := st.CloseEarlier(s.t.Context(), st.Writer())
	if err != nil {
		s.t.Fatalf("close earlier writers: %v", err)
	}
	return c
}

// transfer has one store take all that another has of every writer, newest
// writers first.
func (s *suite) transfer(from, to store.Store) {
	s.t.Helper()
	for _, ws := range slices.Backward(s.writers(from)) {
		s.apply(to, s.everything(from, ws.Writer)...)
	}
}

func restampWritesRowsAgainUnchanged(t *testing.T, s *suite) {
	st, peer := s.open("a"), s.open("b")
	s.closes(st)
	s.put(st, "things", thing("a", "x", "v", 1), thing("a", "y", "v", 1), thing("a", "z", "v", 1))
	s.delete(st, "things", "a", "z")
	s.put(st, "notes", note("n", 1))
	first := st.Writer()
	s.transfer(st, peer)
	s.close(st)
	st = s.open("a")
	s.put(st, "things", thing("a", "y", "w", 1))
	if _, err := st.CloseEarlier(t.Context(), st.Writer()); !errors.Is(err, store.ErrUnstamped) {
		t.Errorf("closing over a live row of an earlier writer gave %v", err)
	}
	feed, err := st.Feed(s.snapshot(st).Position())
	if err != nil {
		t.Fatal(err)
	}
	heard, err := peer.Feed(s.snapshot(peer).Position())
	if err != nil {
		t.Fatal(err)
	}
	left, err := st.Restamp(t.Context(), 100)
	if err != nil || left != 0 {
		t.Fatalf("restamp left %d, %v", left, err)
	}
	e := read(t, feed, 1)[0]
	if e.Local == nil || len(e.Local.Records) != 1 || len(e.Changes) != 0 {
		t.Errorf("entry of a restamp: local %+v, changes %+v; want one record and no change", e.Local, e.Changes)
	}
	if left, err = st.Restamp(t.Context(), 100); err != nil || left != 0 || s.state(st, st.Writer()).Received.Head != 2 {
		t.Errorf("a second restamp: left %d, %v, own head %v", left, err, s.state(st, st.Writer()).Received)
	}
	if fp := s.state(st, first).Fingerprints; fp[0] != (record.Fingerprint{}) || fp[1] == (record.Fingerprint{}) {
		t.Errorf("fingerprints of the first writer %v: want no owned row and the shared one", fp)
	}
	s.apply(peer, record.Pushed(*e.Local))
	if got := read(t, heard, 1)[0]; len(got.Changes) != 0 {
		t.Errorf("at a peer, a row as it was is told as %+v", got.Changes)
	}
}

func closingDropsWhatIsOver(t *testing.T, s *suite) {
	st, peer := s.open("a"), s.open("b")
	s.closes(st)
	s.put(st, "things", thing("a", "x", "v", 1), thing("a", "y", "v", 1))
	s.put(st, "notes", note("n", 1))
	s.put(st, "marks", mark("m", 3, "v"))
	old := st.Writer()
	s.transfer(st, peer)
	s.close(st)
	// Another disk of a: it knows nothing of y, which it closes with the rest.
	s.setNow(s.now.Add(time.Hour))
	st2 := s.openOn("a", "a2", Tables())
	s.put(st2, "things", thing("a", "x", "w", 1))
	c := s.closeEarlier(st2)
	if c.Records != 1 || c.Point.Version != 2 {
		t.Errorf("closing is %+v", c)
	}
	if again, err := st2.CloseEarlier(t.Context(), st2.Writer()); err != nil || again.Point.Version != 0 || !slices.Contains(again.Standing, c.Point) {
		t.Errorf("closing twice gave %+v, %v", again, err)
	}
	up := st2.Writer().Boot - 1
	if got := s.nodeState(st2, "a"); got.Closed != up || got.Complete != up {
		t.Errorf("a itself says %+v, want all up to %d", got, up)
	}
	parts := s.everything(st2, st2.Writer())
	closing := record.Pushed(parts[0].Changesets[1])
	s.apply(peer, closing)
	if got := s.nodeState(peer, "a"); got.Closed != 0 {
		t.Errorf("a closing over a gap is in effect: %+v", got)
	}
	s.apply(peer, record.Pushed(parts[0].Changesets[0]))
	if got := s.nodeState(peer, "a"); got.Closed != up {
		t.Errorf("peer says %+v, want closed up to %d", got, up)
	}
	if diff := cmp.Diff([]store.Row{thing("a", "x", "w", 1)}, s.rows(peer, "things")); diff != "" {
		t.Errorf("rows after the closing (-want +got):\n%s", diff)
	}
	if len(s.rows(peer, "notes")) != 1 || len(s.rows(peer, "marks")) != 1 {
		t.Error("a closing took rows of a shared or ranked table")
	}
	s.apply(peer, changeset(old, 9, s.now, owned("a", "late", "v", 1)))
	if got := s.get(peer, "things", "a", "late"); got != nil {
		t.Errorf("an owned record of a closed writer is taken: %v", got)
	}
}

func closingsNeedNoOrder(t *testing.T, s *suite) {
	st := s.open("a")
	s.closes(st)
	var all []record.Delivery
	for i := range 3 {
		s.put(st, "things", thing("a", "x", i, 1), thing("a", string(rune('p'+i)), i, 1))
		s.closeEarlier(st)
		for _, d := range s.everything(st, st.Writer()) {
			for _, c := range d.Changesets {
				all = append(all, record.Pushed(c))
			}
		}
		s.close(st)
		s.setNow(s.now.Add(time.Minute))
		st = s.open("a")
	}
	var want []store.WriterState
	for i, order := range [][]int{{0, 1, 2, 3, 4, 5, 6, 7}, {7, 6, 5, 4, 3, 2, 1, 0}, {5, 1, 7, 0, 2, 6, 3, 4}} {
		peer := s.open(record.Node("n" + string(rune('0'+i))))
		for _, j := range order {
			if j < len(all) {
				s.apply(peer, all[j])
			}
		}
		node := s.nodeState(peer, "a")
		got := s.written(peer)
		for j := range got {
			if got[j].Writer.Boot <= node.Closed {
				got[j].Fingerprints[0] = record.Fingerprint{} // as it must be
			}
		}
		if diff := cmp.Diff(got, s.written(peer)); diff != "" {
			t.Errorf("order %v: owned records of closed writers are left:\n%s", order, diff)
		}
		if i == 0 {
			want = got
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("order %v: states (-first +this):\n%s", order, diff)
		}
	}
}

func collectWaitsForClosingAndGaps(t *testing.T, s *suite) {
	st, peer := s.open("a"), s.open("b")
	s.closes(st)
	ages := store.Ages{Owned: time.Hour, Shared: time.Hour}
	collect := func(of store.Store) store.Collected {
		t.Helper()
		c, err := of.Collect(t.Context(), ages, 100)
		if err != nil {
			t.Fatalf("collect: %v", err)
		}
		return c
	}
	s.put(st, "things", thing("a", "x", "v", 1))
	s.delete(st, "things", "a", "x")
	s.put(st, "notes", note("n", 1))
	s.delete(st, "notes", "n")
	if c := collect(st); c.Tombstones != 0 {
		t.Errorf("young tombstones are collected: %+v", c)
	}
	s.setNow(s.now.Add(2 * time.Hour))
	if c := collect(st); c.Tombstones != 1 {
		t.Errorf("collected %+v, want the shared tombstone: a has not closed yet", c)
	}
	s.transfer(st, peer)
	s.closeEarlier(st)
	if c := collect(st); c.Tombstones != 1 {
		t.Errorf("collected %+v after the closing, want the owned tombstone", c)
	}
	if f := s.state(st, st.Writer()).Floors; f != [3]record.Version{2, 4, 0} {
		t.Errorf("floors %v, want 2, 4, 0", f)
	}
	s.transfer(st, peer) // a range that reaches a floor brings nothing
	w := st.Writer()
	if got := s.state(peer, w).Received; got.Has(2) {
		t.Errorf("a range told of versions at or below a floor: %v", got)
	}
	if ds, err := s.snapshot(st).Deliver(w, record.Range{From: 1, To: 4}, 1<<20); err != nil || len(ds) != 0 {
		t.Errorf("delivered %v, %v at floors", ds, err)
	}
	if ds, err := s.snapshot(st).Deliver(w, record.Range{From: 1, To: 5}, 1<<20, record.Owned, record.Shared); err != nil || len(ds) != 1 || len(ds[0].Changesets) != 0 {
		t.Errorf("delivered %v, %v without the kinds that have floors", ds, err)
	}
}

func gapsOfTheEvictedDoNotCount(t *testing.T, s *suite) {
	peer := s.open("b")
	s.closes(peer)
	collect := func(of store.Store) store.Collected {
		t.Helper()
		c, err := of.Collect(t.Context(), store.Ages{Owned: time.Hour, Shared: time.Hour}, 100)
		if err != nil {
			t.Fatalf("collect: %v", err)
		}
		return c
	}
	gap := record.Writer{Node: "c", Boot: 7, Bits: 1}
	s.put(peer, "notes", note("m", 1))
	s.delete(peer, "notes", "m")
	s.apply(peer, changeset(gap, 2, s.now, owned("c", "x", "v", 1)))
	s.setNow(s.now.Add(2 * time.Hour))
	if c := collect(peer); c.Tombstones != 0 {
		t.Errorf("collected %+v above a gap", c)
	}
	evict := mustRecord(Tables()[3], store.Row{record.Of("c"), record.Of(7)}, "")
	s.apply(peer, changeset(record.Writer{Node: "d", Boot: 7, Bits: 1}, 1, s.now, evict))
	if c := collect(peer); c.Tombstones == 0 {
		t.Error("the gap of an evicted writer holds up collection")
	}
}

func completeWritersAreForgotten(t *testing.T, s *suite) {
	st, peer, other := s.open("a"), s.open("b"), s.open("c")
	s.closes(st)
	s.put(st, "things", thing("a", "x", "v", 1))
	s.put(st, "notes", note("n", 1))
	first := st.Writer()
	s.transfer(st, peer)
	s.close(st)
	s.setNow(s.now.Add(time.Minute))
	st = s.open("a")
	s.closeEarlier(st)
	s.apply(other, s.everything(st, st.Writer())...) // and nothing of the first writer
	s.transfer(st, peer)
	up := st.Writer().Boot - 1
	if got := s.nodeState(peer, "a"); got.Complete != up {
		t.Errorf("who has all that is listed says %+v, want complete up to %d", got, up)
	}
	if got := s.nodeState(other, "a"); got.Closed != up || got.Complete != 0 {
		t.Errorf("who lacks the first writer says %+v, want closed and not complete", got)
	}
	collect := func(of store.Store) store.Collected {
		t.Helper()
		c, err := of.Collect(t.Context(), store.Ages{Owned: time.Hour, Shared: time.Hour}, 100)
		if err != nil {
			t.Fatalf("collect: %v", err)
		}
		return c
	}
	if c := collect(peer); c.Writers != 0 {
		t.Errorf("forgot %+v while a row of it is live", c)
	}
	s.put(peer, "notes", note("n", 2))
	if c := collect(peer); c.Writers != 1 || s.state(peer, first).Received.Head != 0 {
		t.Errorf("forgot %+v, still %v", c, s.state(peer, first))
	}
	if out := s.apply(peer, changeset(first, 2, s.now, mustRecord(Tables()[1], note("n", 1), record.StampOrder(hlc.At(s.now))))); out[0].Status != store.Duplicate {
		t.Errorf("a version of a forgotten writer gave %+v, want a duplicate", out[0])
	}
	s.close(peer)
	peer = s.open("b")
	if got := s.nodeState(peer, "a"); got.Complete != up || s.state(peer, first).Received.Head != 0 {
		t.Errorf("after a restart: %+v, %v", got, s.state(peer, first))
	}
}

// list reads a whole listing.
func (s *suite) list(st store.Store, scopes ...store.Scope) []record.Changeset {
	s.t.Helper()
	l, err := s.snapshot(st).List(scopes)
	if err != nil {
		s.t.Fatalf("list: %v", err)
	}
	var out []record.Changeset
	for {
		list, err := l.Next(200)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil || len(list) == 0 {
			s.t.Fatalf("next of a listing: %d changesets, %v", len(list), err)
		}
		out = append(out, list...)
	}
}
