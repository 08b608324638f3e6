package storetest

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// replayBringsNoCollectedRowBack: nothing but the received set knows of a row
// whose tombstone was collected, and that is enough.
func replayBringsNoCollectedRowBack(t *testing.T, s *suite) {
	st, peer := s.open("a"), s.open("b")
	s.put(peer, "notes", note("n", 1))
	old := s.everything(peer, peer.Writer())
	s.delete(peer, "notes", "n")
	s.transfer(peer, st)
	s.setNow(s.now.Add(2 * time.Hour))
	c, err := st.Collect(t.Context(), store.Ages{Owned: time.Hour, Shared: time.Hour}, 100)
	if err != nil || c.Tombstones != 1 {
		t.Fatalf("collected %+v, %v, want the tombstone of n", c, err)
	}
	for _, d := range old {
		if out := s.apply(st, d); out[0].Status != store.Duplicate {
			t.Errorf("replayed %v: %+v", d.Range, out[0])
		}
	}
	if rows := s.rows(st, "notes"); len(rows) > 0 {
		t.Errorf("a replayed record brought back %v", rows)
	}
}

// stampsOfAnyTimeAreJudged: one far ahead is withheld and takes no clock with
// it, one long past loses.
func stampsOfAnyTimeAreJudged(t *testing.T, s *suite) {
	st := s.open("a")
	s.put(st, "notes", note("old", "mine"), note("new", "mine"))
	at := record.StampOrder
	s.apply(st,
		changeset(bob, 1, s.now, mustRecord(Tables()[1], note("old", "past"), at(0))),
		changeset(bob, 2, s.now, mustRecord(Tables()[1], note("new", "future"), at(math.MaxUint64))),
		changeset(bob, 3, s.now, mustRecord(Tables()[1], note("other", "future"), at(1<<63))),
	)
	want := []store.Row{note("new", "mine"), note("old", "mine")}
	if diff := cmp.Diff(want, s.rows(st, "notes")); diff != "" {
		t.Errorf("shown (-want +got):\n%s", diff)
	}
	held, err := s.snapshot(st).Withheld()
	if err != nil || len(held) != 2 || held[0].Reason != store.ReasonClock || held[1].Reason != store.ReasonClock {
		t.Errorf("withheld %v, %v, want both of the far future", held, err)
	}
	if got := s.state(st, bob).Received; got.Head != 3 || len(got.Gaps) > 0 {
		t.Errorf("received %v, want all three", got)
	}
	s.put(st, "notes", note("third", "now")) // the clock is as it was
	if rows := s.rows(st, "notes"); len(rows) != 3 {
		t.Errorf("shown after a write %v", rows)
	}
}
