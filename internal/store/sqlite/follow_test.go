package sqlite_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// A commit is visible to a snapshot a moment before it is on the feed's line:
// whoever opens a feed from what he has just seen must not be sent away.
func TestFeedGoesOnFromASnapshotWhileOthersWrite(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{Durability: sqlite.OS})
	stop, wrote := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				wrote <- nil
				return
			default:
			}
			row := machine("w1", fmt.Sprint(i%50), fmt.Sprint("app", i))
			if _, err := db.Update(t.Context(), func(tx store.Tx) error { return tx.Put("machines", row) }); err != nil {
				wrote <- err
				return
			}
		}
	}()
	for range 3000 {
		snap, err := db.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		feed, err := db.Feed(snap.Position())
		if err != nil {
			t.Errorf("feed from a snapshot's position: %v", err)
			break
		}
		_ = feed.Close()
		if err := snap.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}
