package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

func TestSmoke(t *testing.T) {
	tables, err := ParseSQL(`-- firebreak: owned by worker
CREATE TABLE machines (worker TEXT, id TEXT, app TEXT NOT NULL DEFAULT '', at TIMESTAMP, ok BOOLEAN, CHECK (app <> 'bad'), PRIMARY KEY (worker, id)) WITHOUT ROWID;
CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT);`)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", tables)
	db, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "node.db"), Fleet: "f", Cluster: "region/a", Node: "w1", Tables: tables})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	c, err := db.Update(t.Context(), func(x store.Tx) error {
		return x.Put("machines", store.Row{record.Of("w1"), record.Of("m1"), record.Of("web"), record.Of("2020-01-01"), record.Of(7)})
	})
	t.Log(c, err)
	a, c, err := db.Exec(t.Context(), []Statement{{SQL: "UPDATE machines SET app = 'x' RETURNING app;"}})
	t.Log(a, c, err)
	r, err := db.Query(t.Context(), Query{SQL: "SELECT * FROM machines -- c"}, func(n []string, r store.Row) error { t.Log(n, r); return nil })
	t.Log(r, err)
	t.Log(db.Stats())
}
