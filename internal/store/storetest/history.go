package storetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

func deliverCoversOnlyWhatWasReceived(t *testing.T, s *suite) {
	st := s.open("a")
	for _, v := range []record.Version{1, 2, 5, 6, 9} {
		s.apply(st, changeset(bob, v, s.now, owned("b", "x", int(v), 1)))
	}
	var got record.Received
	for _, d := range s.everything(st, bob) {
		if d.Writer != bob {
			t.Fatalf("delivery of %v", d.Writer)
		}
		got = got.With(d.Range)
		for _, c := range d.Changesets {
			if c.Version < d.Range.From || c.Version > d.Range.To {
				t.Errorf("changeset %d outside %v", c.Version, d.Range)
			}
		}
	}
	if want := s.state(st, bob).Received; !got.Equal(want) {
		t.Errorf("delivered %v, received %v", got, want)
	}
	snap := s.snapshot(st)
	ds, err := snap.Deliver(bob, record.Range{From: 3, To: 4}, 1<<20)
	if err != nil || len(ds) != 0 {
		t.Errorf("delivered %v of a gap, %v", ds, err)
	}
	if ds, err = snap.Deliver(record.Writer{Node: "z", Boot: 1, Bits: 1}, record.Range{From: 1, To: 9}, 1<<20); err != nil || len(ds) != 0 {
		t.Errorf("delivered %v of an unknown writer, %v", ds, err)
	}
}

// What one store delivers makes the same state at another, through several
// hands, in small pieces.
func deliveredHistoryRebuildsTheState(t *testing.T, s *suite) {
	rng := rand.New(rand.NewPCG(3, 4))
	a, b := s.open("n0"), s.open("n1")
	for _, d := range history(rng, s.now) {
		s.apply(a, d)
	}
	snap := s.snapshot(a)
	for _, ws := range s.writers(a) {
		for from := record.Version(1); from <= ws.Received.Head; {
			ds, err := snap.Deliver(ws.Writer, record.Range{From: from, To: ws.Received.Head}, 1)
			if err != nil || len(ds) == 0 {
				t.Fatalf("deliver from %d: %v, %v", from, ds, err)
			}
			for _, d := range ds {
				wire, rest, err := record.ReadDelivery(record.AppendDelivery(nil, d))
				if err != nil || len(rest) > 0 {
					t.Fatalf("over the wire: %v, %d bytes left", err, len(rest))
				}
				s.apply(b, wire)
				from = d.Range.To + 1
			}
		}
	}
	if diff := cmp.Diff(s.written(a), s.written(b)); diff != "" {
		t.Errorf("states differ (-a +b):\n%s", diff)
	}
	for _, table := range []string{"things", "notes", "marks"} {
		if diff := cmp.Diff(s.rows(a, table), s.rows(b, table)); diff != "" {
			t.Errorf("%s differs (-a +b):\n%s", table, diff)
		}
	}
}

// read collects n entries of a feed, within a bound.
func read(t *testing.T, feed store.Feed, n int) []store.Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var out []store.Entry
	for len(out) < n {
		entries, err := feed.Next(ctx)
		if err != nil {
			t.Fatalf("feed after %d of %d entries: %v", len(out), n, err)
		}
		out = append(out, entries...)
	}
	return out
}

func feedTellsEveryCommitInOrder(t *testing.T, s *suite) {
	st := s.open("a")
	feed, err := st.Feed(s.snapshot(st).Position())
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	s.put(st, "things", thing("a", "x", "v", 1))
	s.put(st, "things", thing("a", "x", "v", 1)) // no write, no entry
	s.apply(st, changeset(bob, 1, s.now, owned("b", "x", "v", 1)))
	s.put(st, "things", thing("a", "x", "w", 1))
	s.delete(st, "things", "a", "x")
	entries := read(t, feed, 4)
	if len(entries) != 4 {
		t.Fatalf("%d entries, want 4", len(entries))
	}
	local := []bool{true, false, true, true}
	for i, e := range entries {
		if (e.Local != nil) != local[i] {
			t.Errorf("entry %d: local %v", i, e.Local)
		}
		if len(e.Changes) != 1 || len(e.States) != 1 {
			t.Errorf("entry %d: %d changes, %d states", i, len(e.Changes), len(e.States))
		}
		if i > 0 && e.Position.Sequence <= entries[i-1].Position.Sequence {
			t.Errorf("entry %d is at %d after %d", i, e.Position.Sequence, entries[i-1].Position.Sequence)
		}
	}
	update, gone := entries[2].Changes[0], entries[3].Changes[0]
	if diff := cmp.Diff(store.Row(thing("a", "x", "v", 1)), update.Old); diff != "" || !update.OldKnown {
		t.Errorf("old row of an update (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(store.Row(thing("a", "x", "w", 1)), update.New); diff != "" {
		t.Errorf("new row of an update (-want +got):\n%s", diff)
	}
	if gone.New != nil || gone.Old == nil {
		t.Errorf("a delete is told as %+v", gone)
	}
	if diff := cmp.Diff(s.state(st, st.Writer()), entries[3].States[0]); diff != "" {
		t.Errorf("state in the last entry (-store +entry):\n%s", diff)
	}
	if got := entries[0].Local; got.Writer != st.Writer() || got.Version != 1 || len(got.Records) != 1 {
		t.Errorf("local changeset %+v", got)
	}
}

func feedResumesOverARestart(t *testing.T, s *suite) {
	st := s.open("a")
	feed, err := st.Feed(s.snapshot(st).Position())
	if err != nil {
		t.Fatal(err)
	}
	s.put(st, "things", thing("a", "x", "v", 1))
	seen := read(t, feed, 1)[0].Position
	s.put(st, "things", thing("a", "y", "v", 1))
	s.delete(st, "things", "a", "x")
	s.close(st)
	st = s.open("a")
	if feed, err = st.Feed(seen); err != nil {
		t.Fatalf("resume: %v", err)
	}
	defer feed.Close()
	s.put(st, "things", thing("a", "z", "v", 1))
	last := map[string]bool{}
	for _, e := range read(t, feed, 3) {
		for _, c := range e.Changes {
			cols, err := c.Key.Columns()
			if err != nil {
				t.Fatal(err)
			}
			last[cols[1].Data] = c.New != nil
		}
	}
	if diff := cmp.Diff(map[string]bool{"x": false, "y": true, "z": true}, last); diff != "" {
		t.Errorf("after the resume (-want +got):\n%s", diff)
	}
}

func foreignPositionIsAResync(t *testing.T, s *suite) {
	st := s.open("a")
	s.put(st, "things", thing("a", "x", "v", 1))
	here := s.snapshot(st).Position()
	ahead, other, bits := here, here, here
	ahead.Sequence += 100
	other.Node = "b"
	bits.Bits++
	for _, p := range []store.Position{ahead, other, bits} {
		if _, err := st.Feed(p); !errors.Is(err, store.ErrResync) {
			t.Errorf("feed from %+v (store is at %+v): %v", p, here, err)
		}
	}
}
