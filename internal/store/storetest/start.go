package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

func everyStartTakesANewWriter(t *testing.T, s *suite) {
	st := s.open("a")
	first := st.Writer()
	if first.Node != "a" || first.Boot < uint64(s.now.Unix()) || first.Bits == 0 {
		t.Errorf("writer %v: want node a, a boot of at least Unix seconds, random bits", first)
	}
	s.put(st, "things", thing("a", "x", "v", 1))
	s.close(st)
	st = s.open("a")
	second := st.Writer()
	if second.Boot <= first.Boot || second.Bits == first.Bits {
		t.Errorf("second writer %v after %v: want a higher boot and other bits", second, first)
	}
	if got := s.get(st, "things", "a", "x"); got == nil {
		t.Error("a committed row is gone after a restart")
	}
	if c := s.put(st, "things", thing("a", "x", "v", 1)); c.Point.Version != 0 {
		t.Errorf("an unchanged row was written again after a restart: %v", c.Point)
	}
	if c := s.put(st, "things", thing("a", "x", "w", 1)); c.Point != (record.Point{Writer: second, Version: 1}) {
		t.Errorf("first write of the second start is %v", c.Point)
	}
	if fp := s.state(st, first).Fingerprints; fp != ([3]record.Fingerprint{}) {
		t.Errorf("the first writer has no live row left, yet fingerprints %v", fp)
	}
}

func backwardClockStillRaisesTheBoot(t *testing.T, s *suite) {
	st := s.open("a")
	first := st.Writer()
	s.close(st)
	s.setNow(s.now.Add(-400 * 24 * time.Hour))
	if st = s.open("a"); st.Writer().Boot <= first.Boot {
		t.Errorf("boot %d after %d", st.Writer().Boot, first.Boot)
	}
}

func renewStampsOnlyThisStart(t *testing.T, s *suite) {
	st, peer := s.open("a"), s.open("b")
	s.put(st, "things", thing("a", "old", "v", 1))
	s.close(st)
	st = s.open("a")
	before := st.Writer()
	s.put(st, "things", thing("a", "new", "v", 1))
	s.delete(st, "things", "a", "old")
	above := before.Boot + 1000
	w, err := st.Renew(t.Context(), above)
	if err != nil {
		t.Fatalf("renew: %v", err)
	}
	if w.Boot < above || w != st.Writer() || w.Bits == before.Bits {
		t.Errorf("renewed writer %v (store says %v), want a boot of at least %d and new bits", w, st.Writer(), above)
	}
	// An unknown earlier writer of a, between the two, wrote both keys. What
	// this start wrote must rank above it.
	lost := record.Writer{Node: "a", Boot: before.Boot + 500, Bits: 9}
	table := Tables()[0]
	rec, err := table.Record(thing("a", "new", "lost", 2), "")
	if err != nil {
		t.Fatal(err)
	}
	back, _ := table.Record(thing("a", "old", "lost", 2), "")
	s.apply(st, changeset(lost, 1, s.now, rec, back))
	if got := s.get(st, "things", "a", "new"); got == nil || !got[2].Equal(record.Of("v")) {
		t.Errorf("what this start wrote is %v", got)
	}
	if got := s.get(st, "things", "a", "old"); got != nil {
		t.Errorf("what this start deleted is back: %v", got)
	}
	for _, ws := range s.writers(st) {
		s.apply(peer, s.everything(st, ws.Writer)...)
	}
	if diff := cmp.Diff(s.rows(st, "things"), s.rows(peer, "things")); diff != "" {
		t.Errorf("peer differs (-node +peer):\n%s", diff)
	}
	if diff := cmp.Diff(s.written(st), s.written(peer)); diff != "" {
		t.Errorf("states differ (-node +peer):\n%s", diff)
	}
}

// An eviction touches neither shared nor ranked rows, and they are not written
// again under another name: elsewhere a delete of one may be collected by now.
func evictedStartLeavesWhatIsShared(t *testing.T, s *suite) {
	st := s.open("a")
	s.closes(st)
	s.put(st, "notes", note("n", 1))
	s.put(st, "marks", mark("m", 3, "v"))
	first := st.Writer()
	before := s.state(st, first)
	evict := mustRecord(Tables()[3], store.Row{record.Of("a"), record.Of(int64(first.Boot))}, "")
	s.apply(st, changeset(record.Writer{Node: "b", Boot: 1, Bits: 1}, 1, s.now, evict))
	w, err := st.Renew(t.Context(), first.Boot+1)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.state(st, w).Received; got.Head != 0 {
		t.Errorf("the evicted start wrote again up to %v", got)
	}
	if after := s.state(st, first); after.Fingerprints != before.Fingerprints {
		t.Errorf("fingerprints %v, before %v", after.Fingerprints, before.Fingerprints)
	}
	// Not so if an earlier start is above it: who is complete of that has what
	// was written below it no more.
	above := w.Boot + 5
	if w, err = st.Renew(t.Context(), above); err != nil {
		t.Fatal(err)
	}
	s.put(st, "notes", note("n", 2))
	evict = mustRecord(Tables()[3], store.Row{record.Of("a"), record.Of(int64(w.Boot))}, "")
	s.apply(st, changeset(record.Writer{Node: "b", Boot: 1, Bits: 1}, 2, s.now, evict))
	if w, err = st.Renew(t.Context(), w.Boot+10); err != nil {
		t.Fatal(err)
	}
	if got := s.state(st, w).Received; got.Head == 0 {
		t.Error("the start below an earlier one has not stamped its shared row again")
	}
}

// What an eviction has dropped is gone, also for the start that wrote it: whoever
// runs the node is asked what is true. What it writes from then on stands.
func evictedRowsAreNotStampedAgain(t *testing.T, s *suite) {
	st, peer := s.open("a"), s.open("b")
	s.put(st, "things", thing("a", "x", "v", 1), thing("a", "y", "v", 1))
	s.delete(st, "things", "a", "y")
	first := st.Writer()
	evict := changeset(record.Writer{Node: "b", Boot: 1, Bits: 1}, 1, s.now,
		mustRecord(Tables()[3], store.Row{record.Of("a"), record.Of(int64(first.Boot))}, ""))
	s.apply(st, evict)
	w, err := st.Renew(t.Context(), first.Boot+1)
	if err != nil {
		t.Fatal(err)
	}
	if rows, got := s.rows(st, "things"), s.state(st, w).Received; len(rows) > 0 || got.Head != 0 {
		t.Errorf("the evicted start wrote again up to %v: %v", got, rows)
	}
	// The next one, because of an earlier start, takes along what is of now alone.
	s.put(st, "things", thing("a", "z", "v", 1))
	if _, err := st.Renew(t.Context(), w.Boot+10); err != nil {
		t.Fatal(err)
	}
	s.apply(peer, evict)
	s.transfer(st, peer)
	want := []store.Row{thing("a", "z", "v", 1)}
	for name, of := range map[string]store.Store{"the node": st, "a peer": peer} {
		if diff := cmp.Diff(want, s.rows(of, "things")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A closing names its writer: under another it would say nothing.
func closingIsNotStampedAgain(t *testing.T, s *suite) {
	st, peer := s.open("a"), s.open("b")
	s.closes(st)
	s.put(st, "things", thing("a", "x", "v", 1))
	first := s.closeEarlier(st).Point.Writer
	w, err := st.Renew(t.Context(), first.Boot+100)
	if err != nil {
		t.Fatal(err)
	}
	s.transfer(st, peer)
	if got, err := s.snapshot(peer).Withheld(); err != nil || len(got) > 0 {
		t.Errorf("withheld at a peer: %+v, %v", got, err)
	}
	if got := s.state(st, w).Received.Head; got != 1 {
		t.Errorf("%v wrote %d changesets again, want the one of the row", w, got)
	}
	if got := s.nodeState(peer, "a").Closed; got != first.Boot-1 {
		t.Errorf("closed up to %d, want %d as before", got, first.Boot-1)
	}
}

func closedStoreSaysSo(t *testing.T, s *suite) {
	st := s.open("a")
	s.put(st, "things", thing("a", "x", "v", 1))
	feed, err := st.Feed(s.snapshot(st).Position())
	if err != nil {
		t.Fatal(err)
	}
	s.close(st)
	if _, err := feed.Next(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("feed of a closed store: %v", err)
	}
	if _, err := st.Update(t.Context(), func(store.Tx) error { return nil }); !errors.Is(err, store.ErrClosed) {
		t.Errorf("update: %v", err)
	}
	if _, err := st.Apply(t.Context(), []record.Delivery{changeset(record.Writer{Node: "b", Boot: 1, Bits: 1}, 1, s.now)}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("apply: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}
