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

const year = 365 * 24 * time.Hour

// stampAhead has st write by a clock that is a year ahead and is put right
// then: note x twice, y, and z, which it deletes.
func (s *suite) stampAhead(st store.Store) {
	s.t.Helper()
	s.put(st, "notes", note("x", "before"))
	s.setNow(s.now.Add(year))
	s.put(st, "notes", note("x", "ahead"), note("y", "ahead"), note("z", "ahead"))
	s.delete(st, "notes", "z")
	s.setNow(s.now.Add(-year))
}

func (s *suite) resetClock(st store.Store) store.ClockReset {
	s.t.Helper()
	r, err := st.ResetClock(s.t.Context())
	if err != nil {
		s.t.Fatalf("reset the clock: %v", err)
	}
	return r
}

// allOf lists what a store has of every writer, one changeset at a time.
func (s *suite) allOf(st store.Store) (out []record.Delivery) {
	for _, ws := range s.writers(st) {
		for _, d := range s.everything(st, ws.Writer) {
			from := d.Range.From
			for _, c := range d.Changesets {
				one := record.Delivery{Writer: d.Writer, Range: record.Range{From: from, To: c.Version}, Changesets: []record.Changeset{c}}
				out, from = append(out, one), c.Version+1
			}
			if from <= d.Range.To {
				out = append(out, record.Delivery{Writer: d.Writer, Range: record.Range{From: from, To: d.Range.To}})
			}
		}
	}
	return out
}

var resetNotes = []store.Row{note("x", "ahead"), note("y", "ahead")}

func clockResetLetsSharedRowsBeWritten(t *testing.T, s *suite) {
	st := s.open("a")
	s.stampAhead(st)
	refused := func(tx store.Tx) error { return tx.Put("notes", note("y", "now")) }
	if _, err := st.Update(t.Context(), refused); !errors.Is(err, hlc.ErrAhead) {
		t.Fatalf("a shared write a year below the last: %v", err)
	}
	feed, err := st.Feed(s.snapshot(st).Position())
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	old := st.Writer()
	r := s.resetClock(st)
	if r.Writer != st.Writer() || r.Writer.Boot <= old.Boot || r.Again != 3 || r.Above.UnixMilli() != s.now.UnixMilli() {
		t.Errorf("reset %+v of %v (store says %v): want a higher boot, 3 records again, above now", r, old, st.Writer())
	}
	if diff := cmp.Diff(resetNotes, s.rows(st, "notes")); diff != "" {
		t.Errorf("the reset changed rows (-want +got):\n%s", diff)
	}
	if fp := s.state(st, old).Fingerprints[record.Shared-1]; fp != (record.Fingerprint{}) {
		t.Errorf("what the clock stamped ahead still counts: %v", fp)
	}
	if c := s.put(st, "notes", note("y", "now")); c.Point.Writer != r.Writer {
		t.Errorf("the next write is %v", c.Point)
	}
	for changed := 0; changed == 0; {
		entries, err := feed.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			changed += len(e.Changes)
			if len(e.Changes) > 0 && e.Point.Version == 1 {
				t.Errorf("watchers hear of the reset: %+v", e.Changes)
			}
		}
	}
	s.close(st)
	st = s.open("a")
	s.put(st, "notes", note("y", "after a restart"))
}

// What is void is dropped wherever it is, whether the word comes before or
// after it, and whether it was shown there or not.
func voidStampsAreDroppedInAnyOrder(t *testing.T, s *suite) {
	st := s.open("a")
	s.stampAhead(st)
	before := s.allOf(st)
	s.resetClock(st)
	after := s.allOf(st)
	want := s.written(st)
	for i, c := range []struct {
		first, then []record.Delivery
		asAhead     bool // the receiver's clock is ahead too while it takes first
	}{
		{before, after, false}, {before, after, true}, {after, before, false},
		{slices.Concat(before, after), nil, false}, {nil, after, false},
	} {
		peer := s.open(record.Node("n" + string(rune('0'+i))))
		if c.asAhead {
			s.setNow(s.now.Add(year))
		}
		s.apply(peer, c.first...)
		if c.asAhead {
			s.setNow(s.now.Add(-year))
		}
		s.apply(peer, c.then...)
		if diff := cmp.Diff(resetNotes, s.rows(peer, "notes")); diff != "" {
			t.Errorf("case %d: rows (-want +got):\n%s", i, diff)
		}
		if withheld, err := s.snapshot(peer).Withheld(); err != nil || len(withheld) > 0 {
			t.Errorf("case %d: withheld %+v, %v", i, withheld, err)
		}
		got := slices.DeleteFunc(s.written(peer), func(ws store.WriterState) bool { return ws.Writer.Node != "a" })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("case %d: states (-node +peer):\n%s", i, diff)
		}
		s.setNow(s.now.Add(2 * year)) // time makes nothing of it valid
		s.put(peer, "things", thing("n"+string(rune('0'+i)), "w", "wakes the writer", 1))
		if diff := cmp.Diff(resetNotes, s.rows(peer, "notes")); diff != "" {
			t.Errorf("case %d: after two years (-want +got):\n%s", i, diff)
		}
		s.setNow(s.now.Add(-2 * year))
	}
}

// Neither an eviction nor a restart takes the word back.
func voidStampsOutliveTheirNode(t *testing.T, s *suite) {
	st, peer := s.open("a"), s.open("b")
	s.stampAhead(st)
	before := s.allOf(st)
	r := s.resetClock(st)
	void := s.state(st, r.Writer)
	s.apply(peer, s.everything(st, r.Writer)...)
	if got := s.state(peer, r.Writer); got.Received.Head != void.Received.Head {
		t.Fatalf("peer has %v of the reset, want %v", got.Received, void.Received)
	}
	evict := mustRecord(Tables()[3], store.Row{record.Of("a"), record.Of(int64(r.Writer.Boot))}, "")
	s.apply(peer, changeset(record.Writer{Node: "c", Boot: 1, Bits: 1}, 1, s.now, evict))
	s.close(peer)
	peer = s.open("b")
	s.apply(peer, before...)
	if withheld, err := s.snapshot(peer).Withheld(); err != nil || len(withheld) > 0 {
		t.Errorf("what is void came back: %+v, %v", withheld, err)
	}
	if diff := cmp.Diff(resetNotes, s.rows(peer, "notes")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// A node makes void what its own earlier writers have stamped, and nothing else.
func voidInAnotherNameIsWithheld(t *testing.T, s *suite) {
	st := s.open("a")
	s.put(st, "notes", note("x", "v"))
	mine := st.Writer()
	bad := record.Writer{Node: "b", Boot: mine.Boot + 5, Bits: 1}
	table := store.VoidSchema()
	row := func(node string, boot, above any) record.Record {
		return mustRecord(table, store.Row{record.Of(node), record.Of(boot), record.Of(above)}, "")
	}
	forged := []record.Record{
		row("a", int64(mine.Boot), 0),       // another's
		row("b", int64(bad.Boot), 0),        // the writer itself
		row("b", int64(-1), 0),              // no boot
		row("b", int64(1), int64(-5)),       // no time
		row("b", int64(1), int64(1)<<60),    // no time
		tombstone(row("b", int64(1), 1000)), // ranked rows are not deleted
	}
	s.apply(st, changeset(bad, 1, s.now, mustRecord(Tables()[1], note("own", "b's"), record.StampOrder(hlc.At(s.now)))))
	for i, r := range forged {
		out := s.apply(st, changeset(bad, record.Version(i+2), s.now, r))
		if out[0].Status == store.Applied && out[0].Withheld != 1 {
			t.Errorf("forged void %d: %+v, want it withheld", i, out[0])
		}
	}
	if diff := cmp.Diff([]store.Row{note("own", "b's"), note("x", "v")}, s.rows(st, "notes")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// Who showed what is void has lost what ranked below it. A listing brings that
// back.
func exchangeBringsBackWhatVoidStampsHid(t *testing.T, s *suite) {
	st, ahead, sound := s.open("a"), s.open("b"), s.open("c")
	s.stampAhead(st)
	s.setNow(s.now.Add(year))
	s.transfer(st, ahead)
	s.setNow(s.now.Add(-year))
	s.resetClock(st)
	s.setNow(s.now.Add(time.Minute))
	s.put(sound, "notes", note("y", "later"))
	s.transfer(sound, ahead) // hidden by what is void, there
	s.transfer(st, ahead)
	s.transfer(st, sound)
	if got := s.get(ahead, "notes", "y"); got == nil || !got[1].Equal(record.Of("ahead")) {
		t.Fatalf("y is %v: the test shows nothing", got)
	}
	s.take(sound, ahead, store.Exchange, nil, everyScope("a", "b", "c")...)
	want := []store.Row{note("x", "ahead"), note("y", "later")}
	if diff := cmp.Diff(want, s.rows(ahead, "notes")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(s.written(sound), s.written(ahead)); diff != "" {
		t.Errorf("states (-sound +ahead):\n%s", diff)
	}
}
