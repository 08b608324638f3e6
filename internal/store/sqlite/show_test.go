package sqlite_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/plain"
)

func TestNullIsNotReplacedByADefault(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	w2 := record.Writer{Node: "w2", Boot: 5, Bits: 1}
	good, bad := machineRecord("w2", "a", "web"), machineRecord("w2", "b", "")
	app := tables(t)[0].Columns[0]
	bad.Cells = record.AppendCell(nil, record.Cell{Column: app.ID})
	out := apply(t, db, pushed(w2, 1, good, bad))
	if out[0].Status != store.Applied || out[0].Withheld != 1 {
		t.Fatalf("outcome %+v", out[0])
	}
	if diff := cmp.Diff([]store.Row{{record.Of("a")}}, query(t, db, "SELECT id FROM machines")); diff != "" {
		t.Error(diff)
	}
}

func TestRefusedRowLeavesItsNeighbours(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	w2 := record.Writer{Node: "w2", Boot: 5, Bits: 1}
	var recs []record.Record
	for i := range 9 {
		app := "web"
		if i%4 == 0 {
			app = "bad" // the CHECK refuses it
		}
		recs = append(recs, machineRecord("w2", fmt.Sprint(i), app))
	}
	if out := apply(t, db, pushed(w2, 1, recs...)); out[0].Withheld != 3 {
		t.Fatalf("outcome %+v", out[0])
	}
	got := query(t, db, "SELECT group_concat(id, '') FROM (SELECT id FROM machines ORDER BY id)")
	if diff := cmp.Diff([]store.Row{{record.Of("123567")}}, got); diff != "" {
		t.Error(diff)
	}
}

// TestIndexOfAnotherProgramDropsNoRows has somebody make a unique index: a row
// that collides by it is withheld, and the one that is there stays.
func TestIndexOfAnotherProgramDropsNoRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	db, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	p, err := plain.Open(path, plain.Config{})
	if err == nil {
		err = errors.Join(p.Script("CREATE UNIQUE INDEX one_app ON machines (app)"), p.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	db = openAt(t, path, sqlite.Config{})
	w2 := record.Writer{Node: "w2", Boot: 5, Bits: 1}
	out := apply(t, db, pushed(w2, 1, machineRecord("w2", "a", "web"), machineRecord("w2", "b", "web"), machineRecord("w2", "c", "db")))
	if out[0].Withheld != 1 {
		t.Errorf("outcome %+v", out[0])
	}
	apply(t, db, pushed(w2, 2, machineRecord("w2", "c", "web")))
	got := query(t, db, "SELECT id, app FROM machines ORDER BY id")
	want := []store.Row{{record.Of("a"), record.Of("web")}, {record.Of("c"), record.Of("db")}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := db.Update(t.Context(), func(x store.Tx) error { return x.Put("machines", machine("w1", "mine", "web")) }); err == nil {
		t.Error("a local write took the place of another row")
	}
}

// TestSQLIsCapturedBetweenOtherWrites has triggers turned on and off.
func TestSQLIsCapturedBetweenOtherWrites(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	w2 := record.Writer{Node: "w2", Boot: 5, Bits: 1}
	for i := range 3 {
		app := fmt.Sprint("app", i)
		if c := put(t, db, machine("w1", "put", app)); c.Records != 1 {
			t.Errorf("round %d: Update made %d records", i, c.Records)
		}
		_, c, err := execute(db, t, "INSERT OR REPLACE INTO machines (worker, id, app) VALUES ('w1', 'sql', ?), ('w1', 'put', 'x')", app)
		if err != nil || c.Records != 2 {
			t.Errorf("round %d: Exec made %d records: %v", i, c.Records, err)
		}
		if out := apply(t, db, pushed(w2, record.Version(i+1), machineRecord("w2", "a", app))); out[0].Status != store.Applied {
			t.Errorf("round %d: %+v", i, out[0])
		}
	}
}

// TestKeyIsTakenDownAsItIsStored writes a number into a key of text.
func TestKeyIsTakenDownAsItIsStored(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	row := machine("w1", "", "web")
	row[1] = record.Of(7)
	if c := put(t, db, row); c.Records != 1 {
		t.Errorf("%d records", c.Records)
	}
	if c := put(t, db, machine("w1", "7", "web")); c.Records != 0 || len(c.Standing) != 1 {
		t.Errorf("the same row again: %+v", c)
	}
	c, err := db.Update(t.Context(), func(x store.Tx) error {
		if err := x.Delete("machines", record.Of("w1"), record.Of("nothing")); err != nil {
			return err
		}
		return x.Delete("machines", record.Of("w1"), record.Of(7))
	})
	if err != nil || c.Records != 1 {
		t.Errorf("delete: %+v, %v", c, err)
	}
}
