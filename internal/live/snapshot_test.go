package live_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/live"
)

// However many readers begin to read a result and read no further, what they
// hold is bounded: the oldest begin anew, the newest reads on.
func TestSlowReadersOfSnapshotsAreBounded(t *testing.T) {
	const limit, rows = 1 << 20, 400
	n := newNode(t, live.Config{MaxBytes: limit})
	for i := range rows {
		n.exec("INSERT INTO m (id, note) VALUES (?, ?)", fmt.Sprintf("%03d", i), strings.Repeat("x", 200))
	}
	r := n.watch("SELECT id, port, note FROM m")
	var slow []*live.Snapshot
	for i := range 20 {
		s, err := r.w.Snapshot(n.ctx())
		if err != nil {
			t.Fatal(err)
		}
		if page, err := s.Next(); err != nil || len(page) == 0 || len(page) == rows {
			t.Fatalf("first page of %d rows: %d, %v", rows, len(page), err)
		}
		slow = append(slow, s)
		n.exec("UPDATE m SET port = ? WHERE id = '399'", i)
		r.next()
		if held := live.Shelved(n.e); held > limit/4 {
			t.Fatalf("%d bytes are held for %d slow readers, over %d", held, i+1, limit/4)
		}
	}
	if _, err := slow[0].Next(); !errors.Is(err, live.ErrBehind) {
		t.Errorf("the slowest reads on: %v", err)
	}
	last := slow[len(slow)-1]
	page, err := last.Next()
	if end := page[len(page)-1].Cells; err != nil || len(page) != rows-256 || end[1].Int != 18 {
		t.Errorf("the newest does not read the rest as of its change: %d rows, the last %v, %v", len(page), end, err)
	}
	for _, s := range slow {
		s.Close()
	}
	if held := live.Shelved(n.e); held != 0 {
		t.Errorf("%d bytes are held for nobody", held)
	}
}

// A result that only its readers need and that is over the limit by itself can
// be read, if it is the only one.
func TestOneLargeSnapshotIsReadToItsEnd(t *testing.T) {
	n := newNode(t, live.Config{MaxBytes: 160 << 10})
	for i := range 300 {
		n.exec("INSERT INTO m (id, note) VALUES (?, ?)", fmt.Sprint(i), strings.Repeat("x", 100))
	}
	r := n.watch("SELECT id, port, note FROM m")
	s, err := r.w.Snapshot(n.ctx())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n.exec("UPDATE m SET port = 1 WHERE id = '1'")
	r.next()
	read := 0
	for {
		page, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		read += len(page)
	}
	if read != 300 {
		t.Errorf("%d rows of 300", read)
	}
}

// spoil damages the journal while it is in use.
func (n *node) spoil(how func(*os.File, int64) error) {
	n.t.Helper()
	f, err := os.OpenFile(filepath.Join(n.dir, "watches.journal"), os.O_RDWR, 0)
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = how(f, info.Size())
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// A journal that is damaged under a running node ends its watches; they can be
// opened anew, and are told of what comes, without a restart.
func TestJournalDamagedAtRunTimeHeals(t *testing.T) {
	page := int64(os.Getpagesize())
	for name, how := range map[string]func(*os.File, int64) error{
		"all pages but the first two": func(f *os.File, size int64) error {
			_, err := f.WriteAt(make([]byte, size-2*page), 2*page)
			return err
		},
		"all pages": func(f *os.File, size int64) error {
			_, err := f.WriteAt(make([]byte, size), 0)
			return err
		},
		"cut short": func(f *os.File, _ int64) error { return f.Truncate(page) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, live.Config{})
			const sql = "SELECT id, port FROM m"
			r := n.watch(sql)
			for i := range 20 {
				n.exec("INSERT INTO m (id, port) VALUES (?, 0)", fmt.Sprint(i))
				r.next()
			}
			n.spoil(how)
			n.exec("UPDATE m SET port = 1")
			for {
				cs, err := r.w.Next(n.ctx(), r.last)
				if errors.Is(err, live.ErrLost) {
					break
				}
				if err != nil {
					t.Fatalf("a watch whose journal is damaged: %v", err)
				}
				r.take(cs)
			}
			r.w.Release()
			if err := live.Renewed(n.ctx(), n.e, 1); err != nil {
				t.Fatal(err)
			}
			if _, err := n.e.Find(n.ctx(), r.w.ID()); !errors.Is(err, live.ErrUnknown) {
				t.Errorf("the old watch is found: %v", err)
			}
			again := n.watch(sql)
			n.exec("UPDATE m SET port = 2 WHERE id = '7'")
			again.next()
			again.settle(sql)
			id := again.w.ID()
			n.stop()
			n.start()
			w, err := n.e.Find(n.ctx(), id)
			if err != nil {
				t.Fatalf("the new journal does not survive a restart: %v", err)
			}
			w.Release()
		})
	}
}
