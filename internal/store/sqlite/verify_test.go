package sqlite_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/plain"
)

// sound fails unless every row is what was received and sums to what is kept.
func sound(t *testing.T, db *sqlite.DB) {
	t.Helper()
	v, err := db.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range v.Damage {
		t.Errorf("%s %v: %s", d.Table, d.Key, d.What)
	}
}

// damaged returns a closed database that a statement was run on behind the
// store's back.
func damaged(t *testing.T, sql string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "node.db")
	db, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	gone := machineRecord("w2", "gone", "web")
	gone.Deleted, gone.Cells = true, nil
	apply(t, db, pushed(peer, 1, machineRecord("w2", "a", "web"), machineRecord("w2", "b", "web"), machineRecord("w2", "held", "bad"), gone))
	mustExec(t, db, "INSERT INTO notes (id) VALUES ('n')")
	sound(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := plain.Open(path, plain.Config{})
	if err == nil {
		drop := "DROP TRIGGER _fb_on_update_machines; DROP TRIGGER _fb_on_delete_machines; DROP TRIGGER _fb_on_insert_machines; DROP TRIGGER _fb_on_update_notes;"
		err = errors.Join(raw.Script(drop+sql), raw.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVerifyNamesWhatIsDamaged(t *testing.T) {
	for name, c := range map[string]struct{ sql, table, key, what string }{
		"a cell":                {"UPDATE machines SET app = 'rot' WHERE id = 'b'", "machines", "b", "hashes to"},
		"a type":                {"UPDATE notes SET n = '7.5' WHERE id = 'n'", "notes", "n", "hashes to"},
		"a row that went":       {"DELETE FROM machines WHERE id = 'b'", "machines", "b", "gone"},
		"a row that came":       {"INSERT INTO machines (worker, id, app) VALUES ('w9', 'z', '')", "machines", "z", "never received"},
		"books that went":       {"DELETE FROM _fb_rows_machines WHERE id = 'b'", "machines", "b", "never received"},
		"a row that is deleted": {"INSERT INTO machines (worker, id) VALUES ('w2', 'gone')", "machines", "gone", "was deleted"},
		"what is withheld":      {"UPDATE _fb_withheld SET cells = x'00'", "machines", "held", "is withheld and hashes to"},
		"a fingerprint":         {"UPDATE _fb_writers SET owned = zeroblob(16)", "", "", "fingerprint"},
	} {
		t.Run(name, func(t *testing.T) {
			db := openAt(t, damaged(t, c.sql), sqlite.Config{})
			v, err := db.Verify(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range v.Damage {
				if d.Table == c.table && strings.Contains(d.What, c.what) && (c.key == "" || keyHas(d.Key, c.key)) {
					return
				}
			}
			t.Errorf("found %+v", v)
		})
	}
}

func keyHas(key []record.Value, want string) bool {
	for _, v := range key {
		if v.Data == want {
			return true
		}
	}
	return false
}
