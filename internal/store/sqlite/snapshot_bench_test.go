package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// BenchmarkSnapshotRow reads one row of a snapshot by its whole key, as each
// event of a watch does several times.
func BenchmarkSnapshotRow(b *testing.B) {
	db := openAt(b, filepath.Join(b.TempDir(), "node.db"), sqlite.Config{Durability: sqlite.OS})
	mustExec(b, db, "INSERT INTO notes (id, body) VALUES ('a', 'x')")
	snap, err := db.Snapshot(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		err := snap.Scan("notes", []record.Value{record.Of("a")}, func(store.Row, record.Point, int64) error { n++; return nil })
		if err != nil || n != 1 {
			b.Fatalf("%d rows: %v", n, err)
		}
	}
	if err := snap.Close(); err != nil {
		b.Fatal(err)
	}
}
