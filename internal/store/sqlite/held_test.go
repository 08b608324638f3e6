package sqlite_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// Discarding keeps what counts: the sums, the received sets, and something to
// serve in the record's place.
func TestDiscardKeepsAStubThatCounts(t *testing.T) {
	dir := t.TempDir()
	db, peerDB := openAt(t, filepath.Join(dir, "a.db"), sqlite.Config{}), openAt(t, filepath.Join(dir, "b.db"), sqlite.Config{Node: "w3"})
	whole := pushed(peer, 1, machineRecord("w2", "x", "bad"), machineRecord("w2", "y", "web"))
	apply(t, db, whole)
	before := states(t, db)
	hash := withheld(t, db)[0].Hash
	if err := db.Discard(t.Context(), hash); err != nil {
		t.Fatal(err)
	}
	same(t, "states", before, states(t, db))
	recount(t, db)
	got := withheld(t, db)
	if len(got) != 1 || !got[0].Stub || got[0].Hash != hash || got[0].Reason != store.ReasonConstraint {
		t.Fatalf("withheld %+v", got)
	}
	if err := db.Release(t.Context(), hash); !errors.Is(err, store.ErrHeld) {
		t.Errorf("release of a stub: %v", err)
	}
	if err := db.Discard(t.Context(), hash); err != nil {
		t.Errorf("a second discard: %v", err)
	}

	// A peer that takes the stub has the same sums, and the whole record that
	// comes from elsewhere takes its place.
	apply(t, peerDB, overTheWire(t, deliverAll(t, db, peer))...)
	same(t, "states of the peer", before, states(t, peerDB))
	if got := withheld(t, peerDB); len(got) != 1 || !got[0].Stub {
		t.Errorf("withheld at the peer %+v", got)
	}
	apply(t, peerDB, whole)
	if got := withheld(t, peerDB); len(got) != 1 || got[0].Stub {
		t.Errorf("withheld after the whole record came %+v", got)
	}
	same(t, "states after it came", before, states(t, peerDB))
	recount(t, peerDB)
	apply(t, peerDB, pushed(peer, 2, machineRecord("w2", "x", "good")))
	if got := withheld(t, peerDB); len(got) != 0 {
		t.Errorf("withheld beside a higher record: %+v", got)
	}
}

func overTheWire(t *testing.T, ds []record.Delivery) []record.Delivery {
	t.Helper()
	for i, d := range ds {
		got, rest, err := record.ReadDelivery(record.AppendDelivery(nil, d))
		if err != nil || len(rest) > 0 {
			t.Fatalf("%v, %d bytes left", err, len(rest))
		}
		ds[i] = got
	}
	return ds
}

// What another table may show is shown by it, in place of the stub.
func TestWholeRecordInPlaceOfAStubIsJudged(t *testing.T) {
	dir := t.TempDir()
	strict, loose := tables(t), tables(t)
	loose[0].Checks = nil
	a := openAt(t, filepath.Join(dir, "a.db"), sqlite.Config{Tables: strict})
	b := openAt(t, filepath.Join(dir, "b.db"), sqlite.Config{Tables: loose, Node: "w3"})
	whole := pushed(peer, 1, machineRecord("w2", "x", "bad"))
	apply(t, a, whole)
	if err := a.Discard(t.Context(), withheld(t, a)[0].Hash); err != nil {
		t.Fatal(err)
	}
	apply(t, b, deliverAll(t, a, peer)...)
	if got := query(t, b, "SELECT id FROM machines"); len(got) != 0 {
		t.Fatalf("a stub is shown: %v", got)
	}
	if out := apply(t, b, whole); out[0].Status != store.Duplicate {
		t.Errorf("outcome %+v", out[0])
	}
	same(t, "rows", []store.Row{{record.Of("x")}}, query(t, b, "SELECT id FROM machines"))
	same(t, "states", states(t, a), states(t, b))
	forged := machineRecord("w2", "x", "forged")
	apply(t, a, pushed(peer, 1, forged))
	if got := withheld(t, a); len(got) != 1 || !got[0].Stub {
		t.Errorf("a record of another hash took the place of the stub: %+v", got)
	}
}

func TestForeignRecordIsKeptAsAStub(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	apply(t, db, pushed(peer, 1, machineRecord("w9", "x", strings.Repeat("x", 30_000))))
	got := withheld(t, db)
	if len(got) != 1 || !got[0].Stub || got[0].Reason != store.ReasonOwner || got[0].Size > 1000 {
		t.Fatalf("withheld %+v", got)
	}
	if err := db.Release(t.Context(), got[0].Hash); !errors.Is(err, store.ErrHeld) || !strings.Contains(err.Error(), "never shown") {
		t.Errorf("release: %v", err)
	}
	if _, _, err := db.Withheld(t.Context(), record.Hash{1}); !errors.Is(err, store.ErrNotWithheld) {
		t.Errorf("an unknown hash: %v", err)
	}
	recount(t, db)
}

func TestReleaseSaysWhatStillSpeaksAgainstIt(t *testing.T) {
	wall := newClock()
	path := filepath.Join(t.TempDir(), "node.db")
	db, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{Now: wall.now}))
	if err != nil {
		t.Fatal(err)
	}
	apply(t, db, pushed(peer, 1, machineRecord("w2", "x", "bad")))
	held := withheld(t, db)[0]
	err = db.Release(t.Context(), held.Hash)
	if !errors.Is(err, store.ErrHeld) || !strings.Contains(err.Error(), "CHECK") {
		t.Errorf("release: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	wall.add(time.Hour) // and a new start judges anew
	db = openAt(t, path, sqlite.Config{Now: wall.now})
	again := withheld(t, db)
	if len(again) != 1 || !again[0].Since.Equal(held.Since) {
		t.Errorf("withheld since %v: %+v", held.Since, again)
	}
	_, rec, err := db.Withheld(t.Context(), held.Hash)
	if err != nil || len(rec.Cells) == 0 {
		t.Errorf("the record itself: %+v, %v", rec, err)
	}
}

// A write that every other node would let lose to a record that is only
// withheld here is refused, and says which and what to do.
func TestWriteBelowAStampAheadNamesTheRecord(t *testing.T) {
	wall := newClock()
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Now: wall.now})
	row := store.Row{record.Of("x"), record.Of("ahead"), record.Of(7)}
	apply(t, db, pushed(peer, 1, recordOf(tables(t)[1], row, record.StampOrder(hlc.At(wall.now().Add(time.Hour))))))
	_, _, err := execute(db, t, "INSERT INTO notes (id) VALUES ('x')")
	hash := withheld(t, db)[0].Hash.String()
	for _, want := range []string{"w2", hash, "firebreak withheld show"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if !errors.Is(err, store.ErrOvertaken) {
		t.Errorf("%v is not ErrOvertaken", err)
	}
}

// What is withheld for another reason than the clock does not outrank what
// comes later from here.
func TestWriteAfterAWithheldRecordRanksAboveIt(t *testing.T) {
	wall := newClock()
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Now: wall.now})
	r := recordOf(tables(t)[1], store.Row{record.Of("x"), record.Of("v"), record.Of(7)}, record.StampOrder(hlc.At(wall.now().Add(200*time.Millisecond))))
	r.Cells = record.AppendCell(nil, record.Cell{Column: tables(t)[1].Columns[1].ID})
	apply(t, db, pushed(peer, 1, r))
	if got := withheld(t, db); len(got) != 1 {
		t.Fatalf("withheld %+v", got)
	}
	mustExec(t, db, "INSERT INTO notes (id, body) VALUES ('x', 'mine')")
	if got := withheld(t, db); len(got) != 0 {
		t.Errorf("the local write ranks below what is withheld: %+v", got)
	}
}
