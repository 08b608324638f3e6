package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

const (
	crashPath    = "FIREBREAK_TEST_CRASH_PATH"
	crashProgram = "FIREBREAK_TEST_CRASH_PROGRAM"
	crashLater   = "FIREBREAK_TEST_CRASH_LATER" // by how much the node's clock is ahead
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
	later, err := time.ParseDuration(os.Getenv(crashLater))
	if err != nil {
		panic(err)
	}
	cfg.Now = func() time.Time { return time.Now().Add(later) }
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
	return crashesAt(t, path, program, 0)
}

// crashesAt is crashes with a clock that is ahead.
func crashesAt(t *testing.T, path, program string, later time.Duration) int {
	t.Helper()
	for n := range 10 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), crashPath+"="+path, crashProgram+"="+program, crashLater+"="+later.String())
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

// The same program tries such a record once an hour: what it depended on may
// have passed. A try that ends the process is the only one of its hour, also
// for the start that follows.
func TestRecordThatEndedTheProcessIsTriedOnceAnHour(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	crashes(t, path, "v1")
	for _, c := range []struct {
		later time.Duration
		want  int
	}{{59 * time.Minute, 0}, {61 * time.Minute, 1}, {119 * time.Minute, 0}} {
		if n := crashesAt(t, path, "v1", c.later); n != c.want {
			t.Errorf("%d crashes %v after it was withheld, want %d", n, c.later, c.want)
		}
	}
	wall := newClock()
	wall.at.Store(time.Now().Add(119 * time.Minute).UnixNano())
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int32
		var bad atomic.Bool
		bad.Store(true)
		db := openAt(t, path, sqlite.Config{Program: "v1", Now: wall.now, Trip: func(_ string, row store.Row) {
			if len(row) < 3 || row[2].Data != "crash" {
				return
			}
			tries.Add(1)
			if bad.Load() {
				panic("still so")
			}
		}})
		for _, c := range []struct {
			what  string
			later time.Duration
			tries int32
		}{{"within the hour", 0, 0}, {"after the hour", 5 * time.Minute, 1}, {"within the next", 55 * time.Minute, 1}, {"after that", 10 * time.Minute, 2}} {
			wall.add(c.later)
			time.Sleep(3 * time.Second) // rounds of the loop
			if held := withheld(t, db); len(held) != 1 || held[0].Reason != store.ReasonCrash || tries.Load() != c.tries {
				t.Errorf("%s: %d tries, want %d; withheld %+v", c.what, tries.Load(), c.tries, held)
			}
		}
		bad.Store(false)
		wall.add(time.Hour)
		time.Sleep(3 * time.Second)
		if held := withheld(t, db); len(held) != 0 {
			t.Errorf("what is right by now is withheld: %+v", held)
		}
		if got := query(t, db, "SELECT count(*) FROM machines"); got[0][0].Int != 24 {
			t.Errorf("%v rows are shown, want all", got)
		}
		recount(t, db)
	})
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
