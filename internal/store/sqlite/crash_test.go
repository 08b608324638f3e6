package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

const (
	crashPath    = "FIREBREAK_TEST_CRASH_PATH"
	crashProgram = "FIREBREAK_TEST_CRASH_PROGRAM"
	crashCode    = 17
)

// trip ends the process, or panics, on rows that say so.
func trip(_ string, row store.Row) {
	if len(row) < 3 {
		return
	}
	switch row[2].Data {
	case "crash":
		os.Exit(crashCode)
	case "panic":
		panic("a bug in a decoder")
	}
}

// crashBatch has one bad record among good ones, of three writers.
func crashBatch(bad string) []record.Delivery {
	var out []record.Delivery
	for i, node := range []string{"w2", "w3", "w4"} {
		w := record.Writer{Node: record.Node(node), Boot: 5, Bits: uint64(i) + 1}
		for v := 1; v <= 4; v++ {
			recs := []record.Record{machineRecord(node, fmt.Sprint("a", v), "web"), machineRecord(node, fmt.Sprint("b", v), "web")}
			if node == "w3" && v == 3 {
				recs[1] = machineRecord(node, fmt.Sprint("b", v), bad)
			}
			out = append(out, pushed(w, record.Version(v), recs...))
		}
	}
	return out
}

// applyUntilCrashed is a node that gets the batch, and says what it shows.
func applyUntilCrashed(path string) {
	ctx := context.Background()
	tables, err := sqlite.ParseSQL(sqlite.TestSchema)
	if err != nil {
		panic(err)
	}
	program := os.Getenv(crashProgram)
	cfg := sqlite.Config{Path: path, Fleet: "test", Cluster: "region/iad", Node: "w1", Tables: tables, Trip: trip, Program: program}
	if program == "fixed" {
		cfg.Trip = nil
	}
	db, err := sqlite.Open(ctx, cfg)
	if err == nil {
		_, err = db.Apply(ctx, crashBatch("crash"))
	}
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	os.Exit(0)
}

// crashes starts the node until it lives, and returns how often it crashed.
func crashes(t *testing.T, path, program string) int {
	t.Helper()
	for n := range 10 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), crashPath+"="+path, crashProgram+"="+program)
		child.Stderr = os.Stderr
		err := child.Run()
		var exit *exec.ExitError
		switch {
		case err == nil:
			return n
		case !errors.As(err, &exit) || exit.ExitCode() != crashCode:
			t.Fatal(err)
		}
	}
	t.Fatal("a crash loop")
	return 0
}

// A record that ends the process is in hand with others once, alone twice, and
// then withheld: the rest is shown, and no start crashes again, until another
// program tries it.
func TestRecordThatEndsTheProcessIsWithheld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	if n := crashes(t, path, "v1"); n != 3 {
		t.Errorf("%d crashes, want one in company and two alone", n)
	}
	if n := crashes(t, path, "v1"); n != 0 {
		t.Errorf("%d more crashes by the same program", n)
	}
	func() {
		db, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{Program: "v1"}))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if got := query(t, db, "SELECT count(*) FROM machines"); got[0][0].Int != 23 {
			t.Errorf("%v rows are shown, want 23 of 24", got)
		}
		held := withheld(t, db)
		if len(held) != 1 || held[0].Reason != store.ReasonCrash || held[0].Point.Version != 3 || held[0].Point.Writer.Node != "w3" {
			t.Fatalf("withheld %+v", held)
		}
		recount(t, db)
	}()
	if n := crashes(t, path, "v2"); n != 1 {
		t.Errorf("%d crashes of another program, want one try", n)
	}
	if n := crashes(t, path, "v2"); n != 0 {
		t.Errorf("%d more crashes of the other program", n)
	}
	if n := crashes(t, path, "fixed"); n != 0 {
		t.Errorf("%d crashes of a program that is right", n)
	}
	db := openAt(t, path, sqlite.Config{Program: "fixed"})
	if held := withheld(t, db); len(held) != 0 {
		t.Errorf("the right program still withholds %+v", held)
	}
	if got := query(t, db, "SELECT count(*) FROM machines"); got[0][0].Int != 24 {
		t.Errorf("%v rows are shown, want all", got)
	}
	recount(t, db)
}

func TestRecordThatPanicsIsWithheldAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	db, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{Trip: trip}))
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range apply(t, db, crashBatch("panic")...) {
		if o.Status != store.Applied {
			t.Errorf("delivery %d: %+v", i, o)
		}
	}
	held := withheld(t, db)
	if len(held) != 1 || held[0].Reason != store.ReasonPanic {
		t.Fatalf("withheld %+v", held)
	}
	if got := query(t, db, "SELECT count(*) FROM machines"); got[0][0].Int != 23 {
		t.Errorf("%v rows are shown, want 23 of 24", got)
	}
	recount(t, db)
	if err := db.Release(t.Context(), held[0].Hash); !errors.Is(err, store.ErrHeld) {
		t.Errorf("release by the same program: %v", err)
	}
	put(t, db, machine("w1", "m", "web"))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openAt(t, path, sqlite.Config{}) // a program that is right
	if held := withheld(t, db); len(held) != 0 {
		t.Errorf("withheld %+v", held)
	}
	recount(t, db)
}
