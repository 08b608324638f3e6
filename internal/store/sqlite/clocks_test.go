package sqlite_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// A row that is deleted and written again within one tick of a clock that
// stands still is there, here and at a peer, whatever the order it comes in.
func TestDeleteAndInsertInOneTickKeepTheRow(t *testing.T) {
	wall := newClock() // nobody moves it
	dir := t.TempDir()
	db := openAt(t, filepath.Join(dir, "a.db"), sqlite.Config{Now: wall.now, Durability: sqlite.OS})
	other := openAt(t, filepath.Join(dir, "b.db"), sqlite.Config{Now: wall.now, Durability: sqlite.OS, Node: "w2"})
	mustExec(t, db, "INSERT INTO notes (id, body) VALUES ('x', 'first')")
	const pairs = 1000
	for i := range pairs {
		mustExec(t, db, "DELETE FROM notes WHERE id = 'x'")
		mustExec(t, db, "INSERT INTO notes (id, body) VALUES ('x', ?)", fmt.Sprint(i))
	}
	want := []store.Row{{record.Of(fmt.Sprint(pairs - 1))}}
	same(t, "here", want, query(t, db, "SELECT body FROM notes"))
	ds := deliverAll(t, db, db.Writer())
	apply(t, other, ds...)
	same(t, "at a peer", want, query(t, other, "SELECT body FROM notes"))
	same(t, "states", states(t, db), states(t, other))
}

func TestDeleteAndInsertInOneTransactionAreOneRecord(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	mustExec(t, db, "INSERT INTO notes (id, body) VALUES ('x', 'old')")
	feed := feedFrom(t, db)
	_, c, err := db.Exec(t.Context(), sqlite.Request{Statements: []sqlite.Statement{
		{SQL: "DELETE FROM notes WHERE id = 'x'"}, {SQL: "INSERT INTO notes (id, body) VALUES ('x', 'new')"},
	}})
	if err != nil || c.Records != 1 {
		t.Fatalf("%+v, %v: want one record", c, err)
	}
	entries, err := feed.Next(t.Context())
	if err != nil || len(entries) != 1 || len(entries[0].Changes) != 1 || entries[0].Changes[0].Old[1].Data != "old" || entries[0].Changes[0].New[1].Data != "new" {
		t.Errorf("entries %+v, %v: want one update", entries, err)
	}
	_, c, err = db.Exec(t.Context(), sqlite.Request{Statements: []sqlite.Statement{
		{SQL: "DELETE FROM notes WHERE id = 'x'"}, {SQL: "INSERT INTO notes (id, body) VALUES ('x', 'new')"},
	}})
	if err != nil || c.Records != 0 {
		t.Errorf("%+v, %v: the same row again is no write", c, err)
	}
}

// Two parted nodes insert the same key where there was none: after the heal the
// later one stands on both, whole, and the other's watchers see it replaced.
func TestLaterOfTwoFirstInsertsStandsEverywhere(t *testing.T) {
	wall := newClock()
	dir := t.TempDir()
	a := openAt(t, filepath.Join(dir, "a.db"), sqlite.Config{Now: wall.now})
	b := openAt(t, filepath.Join(dir, "b.db"), sqlite.Config{Now: wall.now, Node: "w2"})
	const insert = "INSERT INTO notes (id, body) VALUES ('o1', ?) ON CONFLICT DO NOTHING"
	mustExec(t, a, insert, "org-a")
	wall.add(2 * time.Second)
	if c := mustExec(t, b, insert, "org-b"); c.Records != 1 {
		t.Fatalf("%+v: b has seen no row yet", c)
	}
	feed := feedFrom(t, a)
	apply(t, a, deliverAll(t, b, b.Writer())...)
	apply(t, b, deliverAll(t, a, a.Writer())...)
	want := []store.Row{{record.Of("org-b")}}
	same(t, "at a", want, query(t, a, "SELECT body FROM notes"))
	same(t, "at b", want, query(t, b, "SELECT body FROM notes"))
	entries, err := feed.Next(t.Context())
	if err != nil || len(entries[0].Changes) != 1 || entries[0].Changes[0].Old[1].Data != "org-a" || entries[0].Changes[0].Point.Writer.Node != "w2" {
		t.Errorf("a's feed tells %+v, %v: want the lost row and who replaced it", entries, err)
	}
	if c := mustExec(t, a, insert, "org-a"); c.Records != 0 {
		t.Errorf("a inserts over what it has seen: %+v", c)
	}
}

// A wall that goes back under a restart neither stamps below what was given
// nor loses a write.
func TestWallThatGoesBackOverARestartLosesNoWrite(t *testing.T) {
	wall := newClock()
	path := filepath.Join(t.TempDir(), "node.db")
	db, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{Now: wall.now}))
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "INSERT INTO notes (id, body) VALUES ('x', 'before')")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	wall.add(-200 * time.Millisecond) // within what a node may stamp ahead
	db = openAt(t, path, sqlite.Config{Now: wall.now})
	mustExec(t, db, "UPDATE notes SET body = 'after'")
	mustExec(t, db, "INSERT INTO machines (worker, id) VALUES ('w1', 'm')")
	same(t, "rows", []store.Row{{record.Of("after")}}, query(t, db, "SELECT body FROM notes"))
	sound(t, db)
}

// A record from a clock that is years ahead is withheld for the first reason
// found, which may be another than its stamp: that does not move the clock of
// this node either, which could not write a shared row any more.
func TestWithheldStampAheadMovesNoClock(t *testing.T) {
	wall := newClock()
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Now: wall.now})
	stamp := record.StampOrder(hlc.At(wall.now().AddDate(3, 0, 0)))
	notes := tables(t)[1]
	unknown := notes
	unknown.Name = "elsewhere"
	unknown = unknown.WithIDs()
	row := store.Row{record.Of("x"), record.Of("years ahead"), record.Of(7)}
	misfit, err := record.EncodeKey(record.Of("x"), record.Of("y"))
	if err != nil {
		t.Fatal(err)
	}
	wide := recordOf(notes, row, stamp)
	wide.Key = misfit
	stub := recordOf(notes, row, stamp)
	stub.Cells, stub.Stub = nil, &record.Stub{Hash: record.Hash{1}, Reason: string(store.ReasonConstraint)}
	apply(t, db, pushed(peer, 1, recordOf(unknown, row, stamp)), pushed(peer, 2, wide), pushed(peer, 3, stub))
	if got := len(withheld(t, db)); got != 3 {
		t.Fatalf("%d records are withheld, want all 3", got)
	}
	mustExec(t, db, "INSERT INTO notes (id, body) VALUES ('z', 'now')")
	// What could never leave this node is refused, and says why.
	if _, _, err := execute(db, t, "INSERT INTO notes (id, body) VALUES ('x', 'below')"); !errors.Is(err, store.ErrOvertaken) {
		t.Errorf("a write below a stub from the future: %v", err)
	}
}
