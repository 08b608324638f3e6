package sqlite_test

import (
	"errors"
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

// abandoned makes a database of n rows and leaves it as a killed process does,
// its log and index beside it.
func abandoned(t *testing.T, n int) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "node.db")
	c := startChild(t, path)
	for i := range n {
		c.ask("put", fmt.Sprint("m", i))
	}
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-c.ended
	return path
}

func rewrite(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func garble(b []byte) []byte {
	for i := range b {
		b[i] = byte(i*31 + 7)
	}
	return b
}

func TestDamageIsFoundAtOpenAndSetAside(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, path string){
		"a page": func(t *testing.T, path string) {
			rewrite(t, path, func(b []byte) []byte { garble(b[5*4096 : 20*4096]); return b })
		},
		"the head": func(t *testing.T, path string) {
			rewrite(t, path, func(b []byte) []byte { garble(b[:4096]); return b })
		},
		"a short file": func(t *testing.T, path string) { rewrite(t, path, func(b []byte) []byte { return b[:len(b)/2] }) },
		"no database":  func(t *testing.T, path string) { rewrite(t, path, func(b []byte) []byte { return garble(b) }) },
		"a note of the last start": func(t *testing.T, path string) {
			if err := os.WriteFile(path+".damaged", []byte("met\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := abandoned(t, 100)
			moveLog(t, path)
			harm(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{})); !errors.Is(err, sqlite.ErrDamaged) || !strings.Contains(err.Error(), "move it away") {
				t.Fatalf("opened: %v", err)
			}
			db := openAt(t, path, sqlite.Config{SetAside: true})
			if rows := query(t, db, "SELECT id FROM machines"); len(rows) != 0 {
				t.Errorf("%d rows came out of a damaged file", len(rows))
			}
			put(t, db, machine("w1", "new", "web"))
			kept, _ := filepath.Glob(path + ".aside-*Z")
			if len(kept) != 1 {
				t.Fatalf("set aside: %v", kept)
			}
			if after, _ := os.ReadFile(kept[0]); len(after) < len(before)/2 {
				t.Errorf("%d bytes are kept of %d", len(after), len(before))
			}
		})
	}
}

// moveLog moves the log into the file, and leaves the file as one that nobody
// closed.
func moveLog(t *testing.T, path string) {
	t.Helper()
	if out, err := shell(t, path, "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
}

func TestDisksThatBreakAgainAndAgainAreNotFilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	for i := range 4 {
		if err := os.WriteFile(path, garble(make([]byte, 9000)), 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{SetAside: true}))
		if (err == nil) != (i < 3) {
			t.Fatalf("start %d: %v", i, err)
		}
		if err == nil {
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		} else if !strings.Contains(err.Error(), "3 damaged files") {
			t.Errorf("start %d: %v", i, err)
		}
	}
}

// A log that lost its end is an older state, which peers make good; unless the
// file has taken of that end already.
func TestLogThatLostItsEnd(t *testing.T) {
	t.Run("before any of it was moved", func(t *testing.T) {
		path := abandoned(t, 60)
		rewrite(t, path+"-wal", func(b []byte) []byte { return b[:len(b)*2/3] })
		db := openAt(t, path, sqlite.Config{})
		if n := len(query(t, db, "SELECT id FROM machines")); n == 0 || n >= 60 {
			t.Errorf("%d rows of 60", n)
		}
		recount(t, db)
	})
	t.Run("after it was moved", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "node.db")
		c := startChild(t, path)
		for i := range 60 {
			c.ask("put", fmt.Sprint("m", i%3))
		}
		if out, err := shell(t, path, "PRAGMA wal_checkpoint(PASSIVE)"); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if err := c.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-c.ended
		rewrite(t, path+"-wal", func(b []byte) []byte { return b[:len(b)*2/3] })
		if _, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{})); !errors.Is(err, sqlite.ErrDamaged) {
			t.Fatalf("opened: %v", err)
		}
		db := openAt(t, path, sqlite.Config{SetAside: true})
		put(t, db, machine("w1", "new", "web"))
	})
	t.Run("without having lost it", func(t *testing.T) {
		path := abandoned(t, 60)
		db := openAt(t, path, sqlite.Config{})
		if n := len(query(t, db, "SELECT id FROM machines")); n != 60 {
			t.Errorf("%d rows of 60", n)
		}
	})
}

// A page that goes bad while the node runs ends it, whoever meets it, before
// what is on it can reach a peer; the next start sets the file aside, however
// sound it looks then.
func TestDamageMetWhileRunningEndsTheStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	db, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{SetAside: true}))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		put(t, db, machine("w1", fmt.Sprintf("m%04d", i), strings.Repeat("x", 3000)))
	}
	moveLog(t, path)
	// By another process: one that closed the file here would drop its locks.
	if out, err := exec.Command("dd", "if=/dev/urandom", "of="+path, "bs=4096", "seek=10", "count=200", "conv=notrunc").CombinedOutput(); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	s, err := db.Snapshot(t.Context())
	if err == nil {
		_, err = s.Deliver(db.Writer(), record.Range{From: 1, To: 1000}, 1<<30)
		_ = s.Close()
	}
	if !errors.Is(err, sqlite.ErrDamaged) {
		t.Errorf("deliver: %v", err)
	}
	if err := db.Watch(t.Context()); !errors.Is(err, sqlite.ErrDamaged) {
		t.Errorf("the store ends with %v", err)
	}
	if _, err := db.Update(t.Context(), func(x store.Tx) error { return x.Put("machines", machine("w1", "later", "web")) }); !errors.Is(err, sqlite.ErrDamaged) {
		t.Errorf("a write after it: %v", err)
	}
	_ = db.Close()
	again := openAt(t, path, sqlite.Config{SetAside: true})
	if n := len(query(t, again, "SELECT id FROM machines")); n != 0 {
		t.Errorf("%d rows of the damaged file are served", n)
	}
}
