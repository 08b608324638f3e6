package live_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/live"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// load loads the schema file of a node whose tables come by definitions.
func (n *node) load(sql string) {
	n.t.Helper()
	tables, err := sqlite.ParseSQL(sql)
	if err == nil {
		_, err = n.db.LoadSchema(n.ctx(), sqlite.SchemaLoad{Tables: tables, Who: "test"})
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// Columns that come and go change the places of others, and the keys of rows
// that are asked for after the query's own columns.
func TestWatchesFollowAChangingSchema(t *testing.T) {
	n := newNode(t, live.Config{}, definitions)
	table := func(columns string) string {
		return "CREATE TABLE d (id TEXT NOT NULL PRIMARY KEY, " + columns + "); CREATE TABLE e (id TEXT NOT NULL PRIMARY KEY, v TEXT)"
	}
	n.load(table("a TEXT, z TEXT"))
	for i := range 4 {
		n.exec("INSERT INTO d (id, a, z) VALUES (?, 'x', 'web')", fmt.Sprint("k", i))
	}
	const all = "SELECT * FROM d"
	stay := map[string]*reader{}
	for _, sql := range []string{
		"SELECT id, z FROM d WHERE z = 'web'", "SELECT id, z FROM d", "SELECT count(*) FROM d", "SELECT d.id, v FROM d LEFT JOIN e ON e.id = d.z",
		"SELECT z, count(*) FROM d GROUP BY z", "SELECT id FROM d WHERE id IN ('k1', 'k9')",
	} {
		stay[sql] = n.watch(sql)
	}
	star, other := n.watch(all), n.watch("SELECT v FROM e")
	gone, err := n.e.Updates(n.ctx(), "e")
	if err != nil {
		t.Fatal(err)
	}
	check := func(step string) {
		t.Helper()
		n.quiet()
		for sql, r := range stay {
			if !r.isFresh(sql) {
				t.Fatalf("%s: %s: told %v, and a fresh query gives %v", step, sql, r.rows, n.query(sql))
			}
		}
	}
	n.load(table("a TEXT, m TEXT, z TEXT"))
	n.exec("UPDATE d SET z = 'db' WHERE id = 'k1'")
	n.exec("INSERT INTO d (id, z, m) VALUES ('k9', 'web', 'mid')")
	check("a column between others")
	if cs, err := star.w.Next(n.ctx(), star.last); !errors.Is(err, live.ErrSchema) {
		t.Errorf("SELECT * has another column, and goes on: %v, %v", cs, err)
	}
	n.load(table("m TEXT, z TEXT"))
	n.exec("UPDATE d SET z = 'web' WHERE id = 'k1'")
	check("a column dropped")
	n.load(table("m TEXT, z TEXT, z2 TEXT AS (z || '2')"))
	n.exec("UPDATE d SET z = 'api' WHERE id IN ('k1', 'k2')")
	check("a generated column")
	// Nothing is written from here on: the change of the schema alone ends them.
	n.load("CREATE TABLE d (id TEXT NOT NULL PRIMARY KEY, m TEXT, z TEXT, z2 TEXT AS (z || '2'))")
	if cs, err := other.w.Next(n.ctx(), other.last); !errors.Is(err, live.ErrSchema) {
		t.Errorf("a table that is gone: %v, %v", cs, err)
	}
	if _, err := gone.Next(n.ctx()); !errors.Is(err, live.ErrSchema) {
		t.Errorf("updates of a table that is gone: %v", err)
	}
	n.stop()
	n.start()
	if _, err := n.e.Find(n.ctx(), other.w.ID()); !errors.Is(err, live.ErrUnknown) {
		t.Errorf("after a restart it is known: %v", err)
	}
	const sql = "SELECT id, z FROM d WHERE z = 'web'"
	again := n.watch(sql)
	if again.w.ID() != stay[sql].w.ID() {
		t.Error("a query that the change did not concern is another watch now")
	}
}
