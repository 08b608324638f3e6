package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// writeUntilKilled writes own rows and peers' rows, and prints each once it is
// acknowledged.
func writeUntilKilled(ctx context.Context, db *sqlite.DB) {
	die := dieOf
	tables, err := sqlite.ParseSQL(sqlite.TestSchema)
	die(err)
	boot := db.Writer().Boot
	for i := 1; ; i++ {
		id := fmt.Sprintf("b%d-%d", boot, i)
		_, err := db.Update(ctx, func(x store.Tx) error {
			if i%3 == 0 {
				if err := x.Delete("machines", record.Of("w1"), record.Of(fmt.Sprintf("b%d-%d", boot, i-1))); err != nil {
					return err
				}
			}
			return x.Put("machines", machine("w1", id, "web"))
		})
		die(err)
		w := record.Writer{Node: "w2", Boot: boot, Bits: 1}
		_, err = db.Apply(ctx, []record.Delivery{pushed(w, record.Version(i), recordOf(tables[0], machine("w2", fmt.Sprint(i%20), id), ""))})
		die(err)
		if i%3 == 0 {
			fmt.Printf("-b%d-%d\n", boot, i-1)
		}
		fmt.Println(id)
	}
}

func TestAcknowledgedWritesSurviveKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	want := map[string]bool{}
	for round := range 5 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childPath+"="+path, childKind+"=write")
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if gone, ok := strings.CutPrefix(lines.Text(), "-"); ok {
				delete(want, gone)
			} else {
				want[lines.Text()] = true
			}
			if n == 40+round*13 {
				_ = child.Process.Kill() // lines on their way still count
			}
		}
		_ = child.Wait()
	}
	if len(want) < 150 {
		t.Fatalf("only %d writes were acknowledged", len(want))
	}
	db := openAt(t, path, sqlite.Config{})
	have := map[string]bool{}
	for _, r := range query(t, db, "SELECT id FROM machines WHERE worker = 'w1'") {
		have[r[0].Data] = true
	}
	for id := range want {
		// The last write before a kill may have deleted it unacknowledged.
		if !have[id] && len(query(t, db, "SELECT 1 FROM _fb_rows_machines WHERE id = ? AND _fb_del", id)) == 0 {
			t.Errorf("acknowledged row %s is gone", id)
		}
	}
	boots := map[uint64]bool{}
	for _, ws := range states(t, db) {
		if ws.Writer.Node == "w1" {
			if boots[ws.Writer.Boot] {
				t.Errorf("boot %d was taken twice", ws.Writer.Boot)
			}
			boots[ws.Writer.Boot] = true
			if len(ws.Received.Gaps) > 0 {
				t.Errorf("own writer %v has gaps: %v", ws.Writer, ws.Received)
			}
		}
	}
	if len(boots) != 5 {
		t.Errorf("%d starts have written, want 5", len(boots))
	}
	recount(t, db)
}
