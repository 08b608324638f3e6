package live_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/firebreak-dev/firebreak/internal/live"
)

func TestRowsKeepTheirIDs(t *testing.T) {
	n := newNode(t, live.Config{})
	n.exec("INSERT INTO m (id, app, port) VALUES ('m1', 'web', 82), ('m2', 'web', 81)")
	r := n.watch("SELECT id, port FROM m WHERE app = ?", "web")
	if len(r.rows) != 2 || r.last != 0 {
		t.Fatalf("snapshot: %v, change %d", r.rows, r.last)
	}
	n.exec("INSERT INTO m (id, app, port) VALUES ('m3', 'web', 1)")
	n.exec("INSERT INTO m (id, app, port) VALUES ('x', 'other', 1)")
	if cs := r.next(); cs[0].Kind != live.Insert || cs[0].Row.ID != 3 {
		t.Fatalf("insert: %+v", cs)
	}
	n.exec("UPDATE m SET port = 2 WHERE id = 'm3'")
	if cs := r.next(); cs[0].Kind != live.Update || cs[0].Row.ID != 3 || cs[0].Row.Cells[1].Int != 2 {
		t.Fatalf("update: %+v", cs)
	}
	n.exec("UPDATE m SET app = 'web' WHERE id = 'x'") // comes in
	if cs := r.next(); cs[0].Kind != live.Insert || cs[0].Row.ID != 4 {
		t.Fatalf("comes in: %+v", cs)
	}
	n.exec("UPDATE m SET app = 'other' WHERE id = 'm3'") // goes out
	if cs := r.next(); cs[0].Kind != live.Delete || cs[0].Row.ID != 3 || cs[0].Row.Cells[1].Int != 2 {
		t.Fatalf("goes out: %+v", cs)
	}
	n.exec("UPDATE m SET app = 'web' WHERE id = 'm3'")
	if cs := r.next(); cs[0].Row.ID != 5 {
		t.Fatalf("an id was used again: %+v", cs)
	}
}

func TestResultsThatAreNotRows(t *testing.T) {
	for name, sql := range map[string]string{
		"group":            "SELECT app, count(*), max(port) FROM m GROUP BY app",
		"group by number":  "SELECT app, count(*) FROM m GROUP BY 1",
		"group by text":    "SELECT count(*) FROM m GROUP BY lower(app), port > 3",
		"group by alias":   "SELECT upper(app) AS u, count(*) FROM m GROUP BY u",
		"aggregate":        "SELECT count(*), sum(port) FROM m WHERE app = 'web'",
		"distinct":         "SELECT DISTINCT app FROM m",
		"union":            "SELECT app FROM m UNION SELECT owner FROM a",
		"union all":        "SELECT app FROM m UNION ALL SELECT app FROM m",
		"join":             "SELECT m.id, a.owner FROM m JOIN a ON a.name = m.app",
		"left join":        "SELECT m.id, a.owner FROM m LEFT JOIN a ON a.name = m.app AND a.zone = m.port",
		"unused left join": "SELECT m.id FROM m LEFT JOIN a ON a.name = m.app",
		"comma join":       "SELECT x.id, y.id FROM m x, m AS y WHERE x.app = y.app AND x.id < y.id",
		"subquery":         "SELECT id FROM m WHERE app IN (SELECT name FROM a WHERE zone > 2)",
		"exists":           "SELECT id FROM m WHERE EXISTS (SELECT 1 FROM a WHERE a.name = m.app)",
		"scalar":           "SELECT id, (SELECT count(*) FROM a WHERE name = app) FROM m",
		"from subquery":    "SELECT s.app, s.n FROM (SELECT app, count(*) n FROM m GROUP BY app) s WHERE s.n > 1",
		"view":             "SELECT app, port FROM ports ORDER BY port",
		"with":             "WITH w AS (SELECT app, port FROM m) SELECT app, max(port) FROM w GROUP BY app",
		"shadowing with":   "WITH m AS (SELECT name AS id FROM a) SELECT id FROM m",
		"limit":            "SELECT id, port FROM m ORDER BY port DESC, id LIMIT 3",
		"window":           "SELECT id, row_number() OVER (PARTITION BY app ORDER BY port, id) FROM m",
		"having":           "SELECT app FROM m GROUP BY app HAVING count(*) > 2",
		"json":             "SELECT m.id, j.value FROM m, json_each('[1,2]') j WHERE m.port = j.value",
		"rowid-less keys":  "SELECT zone, owner FROM a WHERE name = 'web'",
		"in list":          "SELECT id, app FROM m WHERE app IN ('web', 'db') AND port > 1",
		"quoted":           `SELECT "id", [app] FROM "m" WHERE "m"."app" = 'web' ORDER BY 1`,
		"is distinct from": "SELECT id, port IS DISTINCT FROM 3 FROM m",
		"between":          "SELECT id FROM m WHERE port BETWEEN 1 AND app = 'web'",
		"numeric text":     "SELECT id FROM m WHERE port = '3'",
		"nulls":            "SELECT id FROM m WHERE port IS NULL",
		"filter":           "SELECT count(*) FILTER (WHERE port > 2) FROM m",
		"case":             "SELECT id, CASE WHEN port > 3 THEN 'high' ELSE 'low' END FROM m WHERE app = 'web'",
		"not":              "SELECT id FROM m WHERE NOT app = 'web'",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, live.Config{})
			r := n.watch(sql)
			workload(n, 1, 60, func() { r.settle(sql) })
		})
	}
}

func TestRefusals(t *testing.T) {
	n := newNode(t, live.Config{})
	for sql, why := range map[string]string{
		"SELECT 1":                    "at least 1 table",
		"DELETE FROM m":               "only a SELECT",
		"SELECT * FROM nosuch":        "no such table",
		"SELEC 1":                     "only a SELECT",
		"SELECT * FROM m; SELECT 1":   "one statement",
		"SELECT k FROM scratch":       "local",
		"SELECT m.id FROM m, scratch": "local",
		"SELECT id, random() FROM m":  "changes without any write",
		"SELECT id FROM m WHERE note < datetime('NOW')": "time of day",
		"SELECT id, date() FROM m":                      "time of day",
		"SELECT id FROM m WHERE note = CURRENT_DATE":    "changes without any write",
		"SELECT name FROM sqlite_schema":                "database's own",
		"SELECT id FROM m WHERE app = ?":                "1 parameters",
	} {
		_, err := n.e.Open(n.ctx(), sql, nil)
		var refusal *live.RefusedError
		if !errors.As(err, &refusal) || !strings.Contains(refusal.Reason, why) {
			t.Errorf("%s: %v", sql, err)
		}
	}
	n.watch("SELECT id, datetime(port, 'unixepoch') FROM m") // depends on nothing but rows
}

func TestOneWatchForAll(t *testing.T) {
	n := newNode(t, live.Config{})
	a, b := n.watch("SELECT id FROM m WHERE app = ?", "web"), n.watch("SELECT id FROM m WHERE app = ? ;", "web")
	other := n.watch("SELECT id FROM m WHERE app = ?", "db")
	if a.w != b.w || a.w.ID() == other.w.ID() || a.w.Hash() == other.w.Hash() {
		t.Error("the same query with the same parameters is one watch, with others another")
	}
}

func TestWatchGoesOnAfterRestart(t *testing.T) {
	n := newNode(t, live.Config{})
	n.exec("INSERT INTO m (id, app, port) VALUES ('m1', 'web', 1), ('m2', 'web', 2)")
	const sql = "SELECT id, port FROM m WHERE app = 'web'"
	r := n.watch(sql)
	n.exec("UPDATE m SET port = 9 WHERE id = 'm1'")
	r.next()
	id := r.w.ID()
	n.stop()
	n.start()
	n.exec("DELETE FROM m WHERE id = 'm2'") // nobody reads yet
	w, err := n.e.Find(n.ctx(), id)
	if err != nil {
		t.Fatal(err)
	}
	r.w = w
	if cs := r.next(); cs[0].Kind != live.Delete || cs[0].ID != 2 {
		t.Errorf("after the restart: %+v", cs)
	}
	again, err := w.Next(n.ctx(), 0)
	if err != nil || len(again) == 0 || again[0].ID != 1 {
		t.Errorf("from the beginning: %+v, %v", again, err)
	}
	if o := n.watch(sql); o.w.ID() != id {
		t.Error("the query has another id after the restart")
	}
}

func TestChangesWhileAtRest(t *testing.T) {
	now := time.Now()
	clock := now
	n := newNode(t, live.Config{Now: func() time.Time { return clock }})
	n.exec("INSERT INTO m (id, app, port) VALUES ('m1', 'web', 1)")
	r := n.watch("SELECT id, port FROM m")
	r.w.Release()
	clock = now.Add(time.Minute)
	live.Sweep(n.e)
	n.exec("UPDATE m SET port = 2")
	n.exec("INSERT INTO m (id, port) VALUES ('m2', 3)")
	w, err := n.e.Find(n.ctx(), r.w.ID())
	if err != nil {
		t.Fatal(err)
	}
	r.w = w
	r.settle("SELECT id, port FROM m")
	w.Release()
	clock = now.Add(3 * time.Hour)
	live.Sweep(n.e)
	live.Sweep(n.e)
	if _, err := n.e.Find(n.ctx(), w.ID()); !errors.Is(err, live.ErrUnknown) {
		t.Errorf("a watch that nobody wanted for hours: %v", err)
	}
}

func TestPositionsThatAreNot(t *testing.T) {
	n := newNode(t, live.Config{Keep: 5})
	r := n.watch("SELECT id, port FROM m")
	for i := range 20 {
		n.exec("INSERT INTO m (id, port) VALUES (?, 1)", string(rune('a'+i)))
		r.next()
	}
	if err := r.w.Check(n.ctx(), 1000); !errors.Is(err, live.ErrFuture) {
		t.Errorf("future: %v", err)
	}
	if err := r.w.Check(n.ctx(), 3); !errors.Is(err, live.ErrBehind) {
		t.Errorf("no longer kept: %v", err)
	}
	if err := r.w.Check(n.ctx(), 15); err != nil {
		t.Errorf("kept: %v", err)
	}
	if _, err := n.e.Find(n.ctx(), uuid.New()); !errors.Is(err, live.ErrUnknown) {
		t.Errorf("never seen: %v", err)
	}
}

// Another history of the database, or a journal that may lack what was told,
// makes earlier watches unknown. Nothing else would be true.
func TestAnotherHistoryForgetsWatches(t *testing.T) {
	for name, spoil := range map[string]func(n *node){
		"older database": func(n *node) {
			db := filepath.Join(n.dir, "node.db")
			if err := os.Rename(filepath.Join(n.dir, "copy"), db); err != nil {
				t.Fatal(err)
			}
			_, _ = os.Remove(db+"-wal"), os.Remove(db+"-shm")
		},
		"new database": func(n *node) {
			for _, f := range []string{"", "-wal", "-shm"} {
				_ = os.Remove(filepath.Join(n.dir, "node.db"+f))
			}
		},
		"damaged journal": func(n *node) {
			if err := os.WriteFile(filepath.Join(n.dir, "watches.journal"), make([]byte, 1<<16), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, live.Config{})
			n.exec("INSERT INTO m (id, port) VALUES ('m1', 1)")
			n.stop()
			b, err := os.ReadFile(filepath.Join(n.dir, "node.db"))
			if err == nil {
				err = os.WriteFile(filepath.Join(n.dir, "copy"), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			n.start()
			r := n.watch("SELECT id, port FROM m")
			n.exec("UPDATE m SET port = 2")
			r.next()
			id := r.w.ID()
			n.stop()
			spoil(n)
			n.start()
			if _, err := n.e.Find(n.ctx(), id); !errors.Is(err, live.ErrUnknown) {
				t.Errorf("found: %v", err)
			}
			if o := n.watch("SELECT id, port FROM m"); o.w.ID() == id {
				t.Error("the id is used again")
			}
		})
	}
}

func TestUpdatesOfATable(t *testing.T) {
	n := newNode(t, live.Config{})
	u, err := n.e.Updates(n.ctx(), "m")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	n.exec("INSERT INTO m (id) VALUES ('u1')")
	n.exec("DELETE FROM m")
	var got []live.KeyChange
	for len(got) < 2 {
		cs, err := u.Next(n.ctx())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, cs...)
	}
	if got[0].Gone || !got[1].Gone || got[1].Key[0].Data != "u1" {
		t.Errorf("updates: %+v", got)
	}
	if _, err := n.e.Updates(n.ctx(), "scratch"); err == nil {
		t.Error("a local table tells of its changes")
	}
}

// A watch that wants a column to equal a value costs nothing when others
// change, and one row's query when its own do.
func TestKeyedWatchesLookOnlyAtTheirMatches(t *testing.T) {
	n := newNode(t, live.Config{})
	for i := range 50 {
		n.watch("SELECT id, port FROM m WHERE id = ?", string(rune('A'+i)))
	}
	mine := n.watch("SELECT id, port FROM m WHERE id = ?", "mine")
	before := live.Looks(n.e)
	for i := range 20 {
		n.exec("INSERT INTO m (id, port) VALUES (?, 1)", "other"+string(rune('a'+i)))
	}
	n.exec("INSERT INTO m (id, port) VALUES ('mine', 1)")
	mine.next()
	if looks := live.Looks(n.e) - before; looks != 1 {
		t.Errorf("%v looks for one match", looks)
	}
}

func TestTooLargeEndsTheWatchAlone(t *testing.T) {
	n := newNode(t, live.Config{MaxRows: 10})
	small := n.watch("SELECT id FROM m WHERE id = 'm1'")
	large := n.watch("SELECT id FROM m WHERE id > ''")
	for i := range 12 {
		n.exec("INSERT INTO m (id) VALUES (?)", "n"+string(rune('a'+i)))
	}
	n.exec("INSERT INTO m (id) VALUES ('m1')")
	small.next()
	w, err := n.e.Open(n.ctx(), "SELECT id FROM m", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := live.Whole(n.ctx(), w); !errors.Is(err, live.ErrTooLarge) {
		t.Errorf("a result of 13 rows: %v", err)
	}
	_ = large
}
