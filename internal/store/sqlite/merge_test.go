package sqlite_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

var peer = record.Writer{Node: "w2", Boot: 5, Bits: 1}

// What SQLite would change on its way into the table is not what was hashed,
// and could land on another row.
func TestRecordThatWouldNotStoreAsSentIsWithheld(t *testing.T) {
	ts, err := sqlite.ParseSQL("CREATE TABLE vals (id INTEGER NOT NULL PRIMARY KEY, i INTEGER, r REAL, t TEXT)")
	if err != nil {
		t.Fatal(err)
	}
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Tables: ts})
	stamp := record.StampOrder(hlc.At(time.Now().Add(-time.Minute)))
	good := recordOf(ts[0], store.Row{record.Of(1), record.Of(1), record.Of(1.5), record.Of("1")}, stamp)
	apply(t, db, pushed(peer, 1, good))
	forged := []store.Row{
		{record.Of("1"), record.Of(2), {}, {}},
		{record.Of("1.0"), record.Of(2), {}, {}},
		{record.Of(2), record.Of("12"), {}, {}},
		{record.Of(3), record.Of(1.0), {}, {}},
		{record.Of(4), {}, record.Of(1), {}},
		{record.Of(5), {}, {}, record.Of(7)},
	}
	for i, row := range forged {
		r := recordOf(ts[0], row, stamp)
		out := apply(t, db, pushed(peer, record.Version(i+2), r))
		if out[0].Status != store.Applied || out[0].Withheld != 1 {
			t.Errorf("%v: outcome %+v", row, out[0])
		}
	}
	notCanonical := good
	key, _ := record.EncodeKey(record.Of(6))
	notCanonical.Key, notCanonical.Cells = key, record.EncodeCells([]record.Cell{{Column: ts[0].Columns[0].ID}}) // NULL is the absent value
	if out := apply(t, db, pushed(peer, 90, notCanonical)); out[0].Withheld != 1 {
		t.Errorf("a cell that should be left out: %+v", out[0])
	}
	same(t, "rows", []store.Row{{record.Of(1), record.Of(1), record.Of(1.5), record.Of("1")}}, query(t, db, "SELECT * FROM vals"))
	recount(t, db)
}

func TestForgedRankIsWithheld(t *testing.T) {
	ts := tables(t)
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	r := recordOf(ts[2], store.Row{record.Of("m"), record.Of(1), record.Of("w2")}, "")
	high := recordOf(ts[2], store.Row{record.Of("m"), record.Of(1000), record.Of("w2")}, "")
	r.Order = high.Order // says 1000, holds 1
	if out := apply(t, db, pushed(peer, 1, r)); out[0].Withheld != 1 {
		t.Errorf("outcome %+v", out[0])
	}
	if c := mustExec(t, db, "INSERT INTO grants VALUES ('m', 2, 'w1')"); c.Records != 1 {
		t.Errorf("the forged rank holds the row: %+v", c)
	}
	evict := recordOf(ts[3], store.Row{record.Of("w1"), record.Of(int64(1) << 60)}, "")
	put(t, db, machine("w1", "m", "web"))
	if out := apply(t, db, pushed(peer, 2, evict)); out[0].Withheld != 1 {
		t.Errorf("an eviction for ever: %+v", out[0])
	}
	if got := query(t, db, "SELECT 1 FROM machines"); len(got) != 1 {
		t.Error("an eviction for ever took effect")
	}
}

func TestEvictedNodeWritesNoOwnedRowsUntilItRenews(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	put(t, db, machine("w1", "m", "web"))
	boot := int64(db.Writer().Boot)
	apply(t, db, pushed(peer, 1, recordOf(tables(t)[3], store.Row{record.Of("w1"), record.Of(boot)}, "")))
	if got := query(t, db, "SELECT 1 FROM machines"); len(got) != 0 {
		t.Errorf("rows of the evicted node: %v", got)
	}
	_, err := db.Update(t.Context(), func(x store.Tx) error { return x.Put("machines", machine("w1", "n", "web")) })
	if !errors.Is(err, store.ErrFenced) {
		t.Errorf("write of the evicted start: %v", err)
	}
	if _, err := db.Renew(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	put(t, db, machine("w1", "n", "web"))
	recount(t, db)
}

// An earlier start with a higher boot, not known of, comes in by itself: the
// store must not let it roll back what this start has acknowledged.
func TestOwnTailDoesNotRollBackThisStart(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	first := db.Writer()
	put(t, db, machine("w1", "m", "now"))
	put(t, db, machine("w1", "gone", "now"))
	mustExec(t, db, "DELETE FROM machines WHERE id = 'gone'")
	feed := feedFrom(t, db)
	tail := record.Writer{Node: "w1", Boot: first.Boot + 500, Bits: 1}
	apply(t, db, pushed(tail, 1, machineRecord("w1", "m", "then"), machineRecord("w1", "gone", "then"), machineRecord("w1", "lost", "then")))
	if w := db.Writer(); w.Boot <= tail.Boot {
		t.Errorf("writer %v was not renewed above %v", w, tail)
	}
	same(t, "rows", []store.Row{{record.Of("lost"), record.Of("then")}, {record.Of("m"), record.Of("now")}}, query(t, db, "SELECT id, app FROM machines ORDER BY id"))
	entries, err := feed.Next(t.Context())
	if err != nil || entries[0].Local == nil || entries[0].Point.Writer != db.Writer() || len(entries[0].Changes) != 0 {
		t.Errorf("first entry %+v, %v: want what was stamped again, without changes", entries, err)
	}
	recount(t, db)
}

func TestRenewSplitsAtTheCaps(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Durability: sqlite.OS})
	for i := range 60 {
		var rows []store.Row
		for j := range 20 {
			rows = append(rows, machine("w1", fmt.Sprintf("m%d-%d", i, j), strings.Repeat("x", 3000)))
		}
		put(t, db, rows...)
	}
	w, err := db.Renew(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, d := range deliverAll(t, db, w) {
		for _, c := range d.Changesets {
			n += len(c.Records)
			if size := len(record.AppendDelivery(nil, record.Pushed(c))); size > record.MaxChangeset || len(c.Records) > record.MaxRecords {
				t.Errorf("changeset %v: %d bytes, %d records", c.Point(), size, len(c.Records))
			}
		}
	}
	if n != 1200 {
		t.Errorf("%d records stamped again, want 1200", n)
	}
	recount(t, db)
}

// clock is a wall that tests move.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time      { return time.Unix(0, c.at.Load()) }
func (c *clock) add(d time.Duration) { c.at.Add(int64(d)) }

func TestStampAheadIsReleasedByItself(t *testing.T) {
	wall := newClock()
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Now: wall.now})
	notes := tables(t)[1]
	row := func(body string) store.Row { return store.Row{record.Of("x"), record.Of(body), record.Of(7)} }
	at := func(d time.Duration) string { return record.StampOrder(hlc.At(wall.now().Add(d))) }
	apply(t, db, pushed(peer, 1, recordOf(notes, row("ahead"), at(time.Hour))))
	apply(t, db, pushed(record.Writer{Node: "w3", Boot: 5, Bits: 1}, 1, recordOf(notes, row("meanwhile"), at(0))))
	if got := query(t, db, "SELECT body FROM notes"); len(got) != 1 || got[0][0].Data != "meanwhile" {
		t.Errorf("while it is withheld: %v", got)
	}
	_, err := db.Update(t.Context(), func(x store.Tx) error { return x.Put("notes", row("mine")) })
	if !errors.Is(err, store.ErrOvertaken) {
		t.Errorf("a write below it: %v", err)
	}
	before := states(t, db)
	feed := feedFrom(t, db)
	wall.add(time.Hour)
	entries, err := feed.Next(t.Context()) // nothing but time wakes the store
	if err != nil || len(entries[0].Changes) != 1 || entries[0].Changes[0].New[1].Data != "ahead" {
		t.Fatalf("entries %+v, %v", entries, err)
	}
	same(t, "states", before, states(t, db))
	if got := withheld(t, db); len(got) != 0 {
		t.Errorf("still withheld: %v", got)
	}
	if c := mustExec(t, db, "UPDATE notes SET body = 'mine'"); c.Records != 1 {
		t.Errorf("a write above it: %+v", c)
	}
	recount(t, db)
}

func TestSharedWriteWaitsForTheWallAndThenRefuses(t *testing.T) {
	wall := newClock()
	path := filepath.Join(t.TempDir(), "node.db")
	db := openAt(t, path, sqlite.Config{Now: wall.now})
	mustExec(t, db, "INSERT INTO notes (id) VALUES ('x')")
	wall.add(-10 * time.Minute)
	if _, _, err := execute(db, t, "INSERT INTO notes (id) VALUES ('y')"); !errors.Is(err, hlc.ErrAhead) {
		t.Errorf("ten minutes back: %v", err)
	}
	put(t, db, machine("w1", "m", "web")) // no clock judges owned rows
	wall.add(10*time.Minute - 600*time.Millisecond)
	done := make(chan error, 1)
	go func() {
		_, _, err := execute(db, t, "INSERT INTO notes (id) VALUES ('y')")
		done <- err
	}()
	wall.add(600 * time.Millisecond)
	if err := <-done; err != nil {
		t.Errorf("after the wall came back: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	wall.add(-10 * time.Minute)
	db = openAt(t, path, sqlite.Config{Now: wall.now})
	if _, _, err := execute(db, t, "INSERT INTO notes (id) VALUES ('z')"); !errors.Is(err, hlc.ErrAhead) {
		t.Errorf("the largest stamp was forgotten over a restart: %v", err)
	}
}

// A local update carries cells of columns that are not known here; REPLACE
// resets them like any column it leaves out.
func TestUpdateCarriesUnknownCells(t *testing.T) {
	full := tables(t)
	wide := changed(full, func(t *schema.Table) {
		t.Columns = append(t.Columns, schema.Column{Name: "image", Type: "TEXT"})
		*t = t.WithIDs()
	})
	path := filepath.Join(t.TempDir(), "node.db")
	db := openAt(t, path, sqlite.Config{})
	first := record.Writer{Node: "w1", Boot: 5, Bits: 1} // an earlier start of this node, of a newer program
	var recs []record.Record
	for _, id := range []string{"a", "b", "c"} {
		recs = append(recs, recordOf(wide[0], append(machine("w1", id, "web"), record.Of("img")), ""))
	}
	apply(t, db, pushed(first, 1, recs...))
	mustExec(t, db, "UPDATE machines SET app = 'x' WHERE id = 'a'")
	put(t, db, machine("w1", "b", "x"))
	mustExec(t, db, "REPLACE INTO machines (worker, id, app) VALUES ('w1', 'c', 'x')")
	recount(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openAt(t, path, sqlite.Config{Tables: wide})
	same(t, "images", []store.Row{{record.Of("img")}, {record.Of("img")}, {{}}}, query(t, db, "SELECT image FROM machines ORDER BY id"))
}

func TestConcurrentUpdatesAreDense(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	feed := feedFrom(t, db)
	const writers, each = 8, 25
	seen := make([]atomic.Bool, writers*each+1)
	var all sync.WaitGroup
	refused := errors.New("refused")
	for i := range writers {
		all.Go(func() {
			for j := range each {
				_, err := db.Update(t.Context(), func(x store.Tx) error {
					_ = x.Put("machines", machine("w1", "never", "x"))
					return refused
				})
				if !errors.Is(err, refused) {
					t.Errorf("refused update: %v", err)
				}
				c, err := db.Update(t.Context(), func(x store.Tx) error {
					return x.Put("machines", machine("w1", fmt.Sprint(i), fmt.Sprint(j)))
				})
				if err != nil || c.Point.Version == 0 || c.Point.Version > writers*each || seen[c.Point.Version].Swap(true) {
					t.Errorf("commit %+v, %v", c, err)
				}
			}
		})
	}
	all.Wait()
	var last record.Version
	for last < writers*each {
		entries, err := feed.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Point.Version != last+1 || len(e.Changes) != 1 {
				t.Fatalf("entry %v after %d, %d changes", e.Point, last, len(e.Changes))
			}
			last++
		}
	}
	if got := query(t, db, "SELECT count(*) FROM machines"); got[0][0].Int != writers {
		t.Errorf("%v rows", got)
	}
	recount(t, db)
}

func TestOwnWriterCannotBeForged(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	put(t, db, machine("w1", "m", "web"))
	out := apply(t, db, pushed(db.Writer(), 2, machineRecord("w1", "m", "forged")), pushed(db.Writer(), 1, machineRecord("w1", "m", "web")))
	if out[0].Status != store.Rejected || out[1].Status != store.Duplicate {
		t.Errorf("outcomes %+v", out)
	}
	if c := put(t, db, machine("w1", "m", "db")); c.Point.Version != 2 {
		t.Errorf("next version %v", c.Point)
	}
}

func TestHostileDeliveriesAreRejected(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	r := machineRecord("w2", "m", "web")
	big := make([]record.Record, record.MaxRecords+1)
	for i := range big {
		big[i] = machineRecord("w2", fmt.Sprint(i), "web")
	}
	other := record.Changeset{Writer: record.Writer{Node: "w3", Boot: 1}, Version: 1}
	for name, d := range map[string]record.Delivery{
		"no node":              pushed(record.Writer{Boot: 5}, 1, r),
		"long node":            pushed(record.Writer{Node: record.Node(strings.Repeat("x", 64)), Boot: 5}, 1, r),
		"version 0":            {Writer: peer, Range: record.Range{From: 0, To: 3}},
		"maximum version":      {Writer: peer, Range: record.Range{From: 1, To: 1<<64 - 1}},
		"backward range":       {Writer: peer, Range: record.Range{From: 5, To: 4}},
		"another's changeset":  {Writer: peer, Range: record.Range{From: 1, To: 1}, Changesets: []record.Changeset{other}},
		"one version twice":    {Writer: peer, Range: record.Range{From: 1, To: 2}, Changesets: []record.Changeset{{Writer: peer, Version: 1}, {Writer: peer, Version: 1}}},
		"two records of a key": pushed(peer, 1, r, machineRecord("w2", "m", "db")),
		"too many records":     pushed(peer, 1, big...),
	} {
		if out := apply(t, db, d); out[0].Status != store.Rejected || out[0].Err == nil {
			t.Errorf("%s: %+v", name, out[0])
		}
	}
	var sparse []record.Delivery
	for v := record.Version(2); v <= 2*4096; v += 2 {
		sparse = append(sparse, record.Delivery{Writer: peer, Range: record.Range{From: v, To: v}})
	}
	apply(t, db, sparse...)
	if out := apply(t, db, record.Delivery{Writer: peer, Range: record.Range{From: 10_000, To: 10_000}}); out[0].Status != store.Rejected {
		t.Errorf("a gap too many: %+v", out[0])
	}
	if len(query(t, db, "SELECT 1 FROM machines")) != 0 {
		t.Error("a rejected delivery left a row")
	}
}

// A delivery may cover versions that were received before, in another company.
func TestOverlappingDeliveryTakesOnlyWhatIsNew(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	foreign := pushed(peer, 1, machineRecord("w9", "m", "forged")).Changesets[0]
	second := pushed(peer, 2, machineRecord("w2", "m", "web")).Changesets[0]
	apply(t, db, record.Delivery{Writer: peer, Range: record.Range{From: 1, To: 1}, Changesets: []record.Changeset{foreign}})
	out := apply(t, db, record.Delivery{Writer: peer, Range: record.Range{From: 1, To: 3}, Changesets: []record.Changeset{foreign, second}})
	if out[0].Status != store.Applied || out[0].Withheld != 0 {
		t.Errorf("outcome %+v", out[0])
	}
	if got := states(t, db); len(got) != 1 || !got[0].Received.Equal(record.Received{Head: 3}) {
		t.Errorf("states %+v", got)
	}
	if got := withheld(t, db); len(got) != 1 {
		t.Errorf("withheld %+v", got)
	}
	recount(t, db)
}
