package sqlite_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// A consumer that fell behind the memory reads on from disk, each entry once,
// and goes over to memory without a gap.
func TestSlowConsumerReadsOnFromDisk(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Durability: sqlite.OS})
	slow := feedFrom(t, db)
	const n = 5000 // beyond the ring
	row := recordOf(tables(t)[0], machine("w2", "m", "web"), "")
	var batch []record.Delivery
	for v := range n {
		batch = append(batch, pushed(peer, record.Version(v+1), row))
	}
	apply(t, db, batch...)
	put(t, db, machine("w1", "m", "web"))
	var last uint64
	fromDisk := 0
	for i := 0; i < n+1; {
		entries, err := slow.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			i++
			if e.Position.Sequence != last+1 && last != 0 {
				t.Fatalf("entry %d after %d", e.Position.Sequence, last)
			}
			last = e.Position.Sequence
			if len(e.Changes) == 1 && !e.Changes[0].OldKnown {
				fromDisk++
			}
			if len(e.States) == 0 {
				t.Fatalf("entry %+v has no states", e)
			}
			if i == n+1 && (e.Local == nil || e.Local.Records[0].Kind != record.Owned) {
				t.Errorf("own entry %+v", e)
			}
		}
	}
	if fromDisk == 0 {
		t.Error("nothing came from disk: the test shows nothing")
	}
}

func TestForgottenPositionIsAResync(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Durability: sqlite.OS, FeedKeep: 10})
	s, err := db.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	old := s.Position()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	slow := feedFrom(t, db)
	for i := range 1200 {
		put(t, db, machine("w1", "m", fmt.Sprint(i)))
	}
	// The trim follows the commit that made it due.
	for {
		if _, err := db.Feed(old); errors.Is(err, store.ErrResync) {
			break
		}
		put(t, db, machine("w1", "m", "once more"))
		put(t, db, machine("w1", "m", "and again"))
	}
	if _, err := slow.Next(t.Context()); !errors.Is(err, store.ErrResync) {
		t.Errorf("a consumer behind what is kept: %v", err)
	}
	feedFrom(t, db)
}

func TestPositionOfEveryStartGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	var kept []store.Position
	for start := range 4 {
		db := openAt(t, path, sqlite.Config{})
		put(t, db, machine("w1", "m", fmt.Sprint(start)))
		s, err := db.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, s.Position())
		_ = s.Close()
		for i, p := range kept[:start] {
			f, err := db.Feed(p)
			if err != nil {
				t.Fatalf("start %d: position of start %d: %v", start, i, err)
			}
			n := 0
			for n < start-i {
				entries, err := f.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				n += len(entries)
			}
			if n != start-i {
				t.Errorf("start %d: %d entries after start %d", start, n, i)
			}
		}
		beyond := kept[0]
		beyond.Sequence++ // the first start never got there
		if start > 0 {
			if _, err := db.Feed(beyond); !errors.Is(err, store.ErrResync) {
				t.Errorf("a position beyond the end of a start: %v", err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
