package live_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/firebreak-dev/firebreak/internal/live"
)

const (
	killDir    = "FIREBREAK_TEST_LIVE_DIR"
	killedSQL  = "SELECT id, port, note FROM m WHERE app = 'web'"
	killRounds = 4
)

// heard is a change as a client sees it.
func heard(c live.Change) string {
	return fmt.Sprintf("%d %v %d %v", c.ID, c.Kind, c.Row.ID, c.Row.Cells)
}

// killedChild writes without end, and prints what its watch tells.
func killedChild(t *testing.T, dir string) {
	n := &node{t: t, dir: dir, sql: schemaSQL, more: plainStore}
	n.start()
	w, err := n.e.Open(t.Context(), killedSQL, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, last, err := live.Whole(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("watch", w.ID(), last)
	go func() {
		for i := time.Now().UnixNano(); ; i++ {
			n.exec("INSERT OR REPLACE INTO m (id, app, port, note) VALUES (?, 'web', ?, 'x')", fmt.Sprint(i%7), i)
			n.exec("DELETE FROM m WHERE id = ?", fmt.Sprint(i*3%7))
		}
	}()
	for {
		cs, err := w.Next(t.Context(), last)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cs {
			fmt.Println(heard(c))
			last = c.ID
		}
	}
}

// A process that is killed at any moment goes on under the ids that it told:
// none comes again with something else.
func TestIdsNeverRepeatAfterAKill(t *testing.T) {
	if dir := os.Getenv(killDir); dir != "" {
		killedChild(t, dir)
	}
	if testing.Short() {
		t.Skip("it starts processes")
	}
	dir := t.TempDir()
	told := map[string]string{} // by change id
	first := ""
	for round := range killRounds {
		cmd := exec.Command(os.Args[0], "-test.run=^TestIdsNeverRepeatAfterAKill$")
		cmd.Env = append(os.Environ(), killDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for i := 0; lines.Scan(); i++ {
			line := lines.Text()
			if i == 0 {
				id, _, _ := strings.Cut(strings.TrimPrefix(line, "watch "), " ")
				if first == "" {
					first = id
				}
				if id != first {
					t.Fatalf("the watch is %s now, it was %s", id, first)
				}
				continue
			}
			id, _, _ := strings.Cut(line, " ")
			if was, known := told[id]; known && was != line {
				t.Fatalf("told %q, and after a kill %q", was, line)
			}
			told[id] = line
			if i == 100+50*round {
				_ = cmd.Process.Kill() // what it had printed by then counts as told
			}
		}
		_ = cmd.Wait()
	}
	n := &node{t: t, dir: dir, sql: schemaSQL, more: plainStore}
	n.start()
	defer n.stop()
	w, err := n.e.Find(n.ctx(), uuid.MustParse(first))
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, n: n, w: w}
	rows, last, err := live.Whole(n.ctx(), w)
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for r.last < last {
		cs, err := w.Next(n.ctx(), r.last)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cs {
			if c.ID != r.last+1 {
				t.Fatalf("change %d follows %d", c.ID, r.last)
			}
			r.last = c.ID
			if was, known := told[fmt.Sprint(c.ID)]; known && was != heard(c) {
				t.Fatalf("told %q, and the journal has %q", was, heard(c))
			} else if known {
				kept++
			}
		}
	}
	if kept != len(told) {
		t.Errorf("%d changes were told, %d of them are in the journal", len(told), kept)
	}
	if fresh := n.query(killedSQL); len(fresh) != len(rows) {
		t.Errorf("%d rows are told, there are %d", len(rows), len(fresh))
	}
	t.Logf("%d changes told in %d lives", len(told), killRounds)
}
