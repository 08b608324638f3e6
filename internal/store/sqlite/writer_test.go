package sqlite_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/plain"
)

func writersOf(t *testing.T, db *sqlite.DB) map[record.Writer]store.WriterState {
	t.Helper()
	s, err := db.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all, err := s.Writers()
	if err != nil {
		t.Fatal(err)
	}
	out := map[record.Writer]store.WriterState{}
	for _, w := range all {
		out[w.Writer] = w
	}
	return out
}

// The state of this node's own writer is in the feed alone until another start,
// a renewal or a strip settles it.
func TestOwnStateIsKeptThroughStartsRenewalsAndStrips(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	open := func(node record.Node) *sqlite.DB {
		t.Helper()
		db, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{Node: node}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	// same reopens the store and compares what is known of every writer.
	same := func(db *sqlite.DB, between func()) *sqlite.DB {
		t.Helper()
		sound(t, db)
		before := writersOf(t, db)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		node := db.Writer().Node
		if between != nil {
			between()
			node = "w9"
		}
		db = open(node)
		if diff := cmp.Diff(before, writersOf(t, db)); diff != "" {
			t.Errorf("after another start: %s", diff)
		}
		sound(t, db)
		return db
	}
	db := open("w1")
	put(t, db, machine("w1", "a", "web"), machine("w1", "b", "web"))
	db = same(db, nil)
	put(t, db, machine("w1", "a", "other")) // takes from the earlier writer's
	put(t, db, machine("w1", "c", "web"))
	apply(t, db, pushed(peer, 1, machineRecord("w2", "a", "web")))
	db = same(db, nil)
	if _, err := db.Renew(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	db = same(db, nil)
	put(t, db, machine("w1", "d", "web"))
	if _, err := db.Renew(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	put(t, db, machine("w1", "e", "web"))
	db = same(db, func() {
		if _, err := sqlite.Strip(t.Context(), path, "w9", tables(t)); err != nil {
			t.Fatal(err)
		}
	})
	put(t, db, machine("w9", "a", "web"))
	same(db, nil)
}

func TestDamagedOwnStateIsFound(t *testing.T) {
	for name, sql := range map[string]string{
		"nothing":           "own = x''",
		"half of it":        "own = substr(own, 1, length(own) / 2)",
		"too much":          "own = CAST(own || x'0401' AS BLOB)",
		"a writer unknown":  "own = CAST(x'01000000000000ffff' || substr(own, 10) AS BLOB)",
		"no bytes but zero": "own = zeroblob(length(own))",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "node.db")
			db, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{}))
			if err != nil {
				t.Fatal(err)
			}
			put(t, db, machine("w1", "a", "web"))
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			raw, err := plain.Open(path, plain.Config{})
			if err == nil {
				err = errors.Join(raw.Script("UPDATE _fb_local_feed SET "+sql+" WHERE sequence = (SELECT max(sequence) FROM _fb_local_feed)"), raw.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{})); !errors.Is(err, sqlite.ErrDamaged) {
				t.Errorf("opened with %v", err)
			}
		})
	}
}
