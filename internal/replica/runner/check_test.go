package runner_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/replica/replicatest"
	"github.com/firebreak-dev/firebreak/internal/replica/runner"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/plain"
)

// A shared row that a disk turned is found before it is exchanged for others.
func TestTurnedRowsAreFoundBeforeAnExchange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	open := func() *sqlite.DB {
		db, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Fleet: "acme", Cluster: "region/iad", Node: "a", Tables: replicatest.Tables(), Durability: sqlite.OS})
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	db := open()
	for _, id := range []string{"x", "y"} {
		if _, err := db.Update(t.Context(), func(tx store.Tx) error {
			return tx.Put(replicatest.Shared, store.Row{record.Of(id), record.Of(1)})
		}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := runner.CheckRows(t.Context(), db.Snapshot); got != (replica.Checked{}) || err != nil {
		t.Errorf("sound rows: %+v, %v", got, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := plain.Open(path, plain.Config{})
	if err == nil {
		table := replicatest.Shared
		err = errors.Join(raw.Script("DROP TRIGGER _fb_on_update_"+table+"; UPDATE "+table+" SET val = 666 WHERE id = 'x'"), raw.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	db = open()
	if got, err := runner.CheckRows(t.Context(), db.Snapshot); got != (replica.Checked{Damaged: true}) || !errors.Is(err, store.ErrDamaged) {
		t.Errorf("a turned row: %+v, %v", got, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := runner.CheckRows(t.Context(), db.Snapshot); got != (replica.Checked{Failed: true}) || err == nil {
		t.Errorf("a closed store: %+v, %v", got, err)
	}
}
