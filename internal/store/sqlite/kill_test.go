package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// kills is how often a writing process is killed, over both durabilities.
const kills = 200

// writeUntilKilled writes own rows and peers' rows, and prints each once it is
// acknowledged: "+ID POINT" for a row, "-ID POINT" for one that went, "=ID
// VERSION" for a peer's.
func writeUntilKilled(ctx context.Context, db *sqlite.DB) {
	tables, err := sqlite.ParseSQL(sqlite.TestSchema)
	dieOf(err)
	boot := db.Writer().Boot
	for i := 1; ; i++ {
		id, last := fmt.Sprintf("b%d-%d", boot, i), fmt.Sprintf("b%d-%d", boot, i-1)
		c, err := db.Update(ctx, func(x store.Tx) error {
			if i%3 == 0 {
				if err := x.Delete("machines", record.Of("w1"), record.Of(last)); err != nil {
					return err
				}
			}
			return x.Put("machines", machine("w1", id, "web"))
		})
		dieOf(err)
		w := record.Writer{Node: "w2", Boot: boot, Bits: 1}
		_, err = db.Apply(ctx, []record.Delivery{pushed(w, record.Version(i), recordOf(tables[0], machine("w2", fmt.Sprint(i%20), id), ""))})
		dieOf(err)
		if i%3 == 0 {
			fmt.Printf("-%s %v\n", last, c.Point)
		}
		fmt.Printf("+%s %v\n", id, c.Point)
		fmt.Printf("=%s %d\n", w, i)
	}
}

// acknowledged is what killed processes said.
type acknowledged struct {
	rows    map[string]bool           // own rows that must be there
	gone    map[string]bool           // and those that must not
	points  map[string]string         // the row that each (writer, version) put
	starts  map[string]int            // the start that used a writer
	heads   map[string]record.Version // of the peer, by writer
	current int
}

func (a *acknowledged) hear(t *testing.T, line string) {
	what, at, ok := strings.Cut(line[1:], " ")
	if !ok {
		return // cut off by the kill
	}
	if line[0] == '=' {
		var v record.Version
		if _, err := fmt.Sscan(at, &v); err == nil {
			a.heads[what] = v
		}
		return
	}
	writer, _, _ := strings.Cut(at, "@")
	if start, used := a.starts[writer]; used && start != a.current {
		t.Errorf("starts %d and %d both wrote as %s", start, a.current, writer)
	}
	a.starts[writer] = a.current
	if line[0] == '-' {
		delete(a.rows, what)
		a.gone[what] = true
		return
	}
	a.rows[what] = true
	if about, used := a.points[at]; used && about != what {
		t.Errorf("%s is of %s and of %s", at, about, what)
	}
	a.points[at] = what
}

// killOnce runs a writing process and kills it at a random moment.
func (a *acknowledged) killOnce(t *testing.T, path string, random *rand.Rand, env ...string) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(append(os.Environ(), childPath+"="+path, childKind+"=write"), env...)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	a.current++
	lines, after := bufio.NewScanner(out), random.IntN(30)
	for n := 0; lines.Scan(); n++ { // lines on their way when it is killed still count
		a.hear(t, lines.Text())
		if n == after {
			delay := time.Duration(random.IntN(2000)) * time.Microsecond
			time.AfterFunc(delay, func() { _ = child.Process.Kill() })
		}
	}
	_ = child.Wait()
	if state := child.ProcessState; state.Exited() {
		t.Fatalf("start %d ended by itself: %v", a.current, state)
	}
}

func TestAcknowledgedWritesSurviveKill(t *testing.T) {
	for name, env := range map[string][]string{"fsync": nil, "os": {childSync + "=1"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			random := rand.New(rand.NewPCG(seed, 1))
			t.Logf("seed %d", seed)
			path := filepath.Join(t.TempDir(), "node.db")
			a := &acknowledged{rows: map[string]bool{}, gone: map[string]bool{}, points: map[string]string{}, starts: map[string]int{}, heads: map[string]record.Version{}}
			times := kills / 2
			if testing.Short() {
				times = 10
			}
			for range times {
				a.killOnce(t, path, random, env...)
			}
			a.check(t, path)
		})
	}
}

func (a *acknowledged) check(t *testing.T, path string) {
	t.Helper()
	if len(a.rows) < a.current {
		t.Fatalf("only %d rows were acknowledged in %d starts", len(a.rows), a.current)
	}
	db := openAt(t, path, sqlite.Config{})
	have := map[string]bool{}
	for _, r := range query(t, db, "SELECT id FROM machines WHERE worker = 'w1'") {
		have[r[0].Data] = true
	}
	for id := range a.rows {
		// The last write before a kill may have deleted it unacknowledged.
		if !have[id] && len(query(t, db, "SELECT 1 FROM _fb_rows_machines WHERE id = ? AND _fb_del", id)) == 0 {
			t.Errorf("acknowledged row %s is gone", id)
		}
	}
	for id := range a.gone {
		if have[id] {
			t.Errorf("row %s is there, and its delete was acknowledged", id)
		}
	}
	boots := map[uint64]bool{}
	for _, ws := range states(t, db) {
		if ws.Writer.Node == "w1" {
			if boots[ws.Writer.Boot] {
				t.Errorf("boot %d was taken twice", ws.Writer.Boot)
			}
			boots[ws.Writer.Boot] = true
		}
		if len(ws.Received.Gaps) > 0 {
			t.Errorf("writer %v has gaps: %v", ws.Writer, ws.Received)
		}
		if acked := a.heads[ws.Writer.String()]; ws.Received.Head < acked {
			t.Errorf("writer %v is received up to %d, and %d was acknowledged", ws.Writer, ws.Received.Head, acked)
		}
		for _, d := range deliverAll(t, db, ws.Writer) {
			for _, c := range d.Changesets {
				if about, known := a.points[c.Point().String()]; known && !speaksOf(t, c, about) {
					t.Errorf("%v was acknowledged for %s, and holds %v", c.Point(), about, c.Records)
				}
			}
		}
	}
	if len(boots) != a.current {
		t.Errorf("%d starts have written, want %d", len(boots), a.current)
	}
	recount(t, db)
	wantSound(t, path)
}

// speaksOf reports whether an own changeset puts that row and no other.
func speaksOf(t *testing.T, c record.Changeset, id string) bool {
	t.Helper()
	for _, r := range c.Records {
		cols, err := r.Key.Columns()
		if err != nil {
			t.Fatal(err)
		}
		if !r.Deleted && cols[1].Data != id {
			return false
		}
	}
	return true
}
