package sqlite_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

const shop = `
	CREATE TABLE items (id TEXT NOT NULL PRIMARY KEY, c TEXT, d TEXT);
	-- firebreak: owned by node
	CREATE TABLE mine (node TEXT NOT NULL, id TEXT NOT NULL, v INTEGER NOT NULL, PRIMARY KEY (node, id));
	CREATE INDEX items_d ON items (d);`

func TestSchemaLoadedAtOneNodeIsInEffectAtAll(t *testing.T) {
	r := newRegion(t, "w1", "w2", "w3")
	r.load("w1", shop)
	r.exec("w1", "INSERT INTO items VALUES ('k', 'x', 'y')")
	r.exec("w1", "INSERT INTO mine VALUES ('w1', 'a', 7)")
	r.heal()
	r.all("SELECT * FROM items", "[[\"k\" \"x\" \"y\"]]")
	r.all("SELECT * FROM mine", "[[\"w1\" \"a\" 7]]")
	r.all("EXPLAIN QUERY PLAN SELECT id FROM items WHERE d = 'y'", fmt.Sprint(query(t, r.nodes["w1"], "EXPLAIN QUERY PLAN SELECT id FROM items WHERE d = 'y'")))
	r.equal()
	for _, n := range r.names[1:] {
		same(t, "tables of "+string(n), r.nodes["w1"].Tables(), r.nodes[n].Tables())
		if got := withheld(t, r.nodes[n]); len(got) != 0 {
			t.Errorf("%s withholds %v", n, got)
		}
	}
}

func TestEqualFilesWriteNothingTwice(t *testing.T) {
	r := newRegion(t, "w1", "w2")
	r.load("w1", shop)
	r.heal()
	before := r.prints("w2")
	r.load("w2", shop)
	r.load("w2", shop)
	if after := r.prints("w2"); after != before {
		t.Errorf("a load of the same files made\n%s of\n%s", after, before)
	}
}

func TestEqualFilesLoadedApartAreOneSchema(t *testing.T) {
	r := newRegion(t, "w1", "w2")
	r.load("w1", shop)
	r.load("w2", shop)
	r.exec("w1", "INSERT INTO items (id, c) VALUES ('a', 'of w1')")
	r.exec("w2", "INSERT INTO items (id, c) VALUES ('b', 'of w2')")
	r.heal()
	r.all("SELECT id, c FROM items ORDER BY id", `[["a" "of w1"] ["b" "of w2"]]`)
	r.equal()
}

// No change of the schema makes or hashes a record.
func TestChangeOfSchemaReplicatesNoRecord(t *testing.T) {
	r := newRegion(t, "w1", "w2")
	r.load("w1", shop)
	for i := range 300 {
		r.exec("w1", "INSERT INTO items VALUES (?, ?, ?)", fmt.Sprint(i), strings.Repeat("c", i%7), "d")
	}
	r.heal()
	user := func() (out []record.Fingerprint) {
		for _, ws := range states(t, r.nodes["w2"]) {
			out = append(out, ws.Fingerprints[0], ws.Fingerprints[1]) // definitions are ranked
		}
		return out
	}
	before := user()
	for i, files := range []string{
		strings.Replace(shop, ", d TEXT", ", d TEXT, e TEXT, f INTEGER NOT NULL DEFAULT 5", 1),
		strings.Replace(shop, ", d TEXT", ", d TEXT, e TEXT, f INTEGER NOT NULL DEFAULT 5, g TEXT AS (d || f)", 1),
		strings.Replace(shop, "CREATE INDEX items_d ON items (d)", "", 1),
		"CREATE TABLE items (id TEXT NOT NULL PRIMARY KEY, d TEXT)",
		"CREATE TABLE items (id TEXT NOT NULL PRIMARY KEY, d TEXT); CREATE INDEX items_d2 ON items (d, id) WHERE d IS NOT NULL",
		"",
	} {
		r.load("w1", files)
		r.heal()
		r.equal()
		same(t, fmt.Sprintf("fingerprints after change %d", i+1), before, user())
	}
	r.all("SELECT name FROM sqlite_schema WHERE name LIKE 'items%'", "[]")
}

func TestLateCellNeverEntersLaterColumnOfItsName(t *testing.T) {
	for _, typ := range []string{"INTEGER", "TEXT"} { // as it was, too
		t.Run(typ, func(t *testing.T) { lateCell(t, typ) })
	}
}

func lateCell(t *testing.T, typ string) {
	r := newRegion(t, "w1", "w2", "w3")
	const with, without = "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, c TEXT, d TEXT)", "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, d TEXT)"
	r.load("w1", with)
	r.exec("w1", "INSERT INTO t VALUES ('k', 'first', 'd')")
	r.heal()
	r.exec("w3", "UPDATE t SET c = 'old'")
	r.load("w1", without)
	r.load("w1", "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, c "+typ+", d TEXT)")
	r.heal()
	r.equal()
	r.all("SELECT c FROM t", "[[NULL]]")
	r.exec("w1", "UPDATE t SET c = 5")
	r.heal()
	r.equal()
	r.exec("w3", "UPDATE t SET d = 'later'")
	r.heal()
	r.equal()
	got := fmt.Sprint(query(t, r.nodes["w1"], "SELECT * FROM t"))
	if strings.Contains(got, "old") || strings.Contains(got, "first") || !strings.Contains(got, "later") {
		t.Errorf("row is %s", got)
	}
	for _, n := range r.names {
		same(t, "row at "+string(n), got, fmt.Sprint(query(t, r.nodes[n], "SELECT id, d, c FROM t")))
	}
}

func TestSkewedNodesKeepWorking(t *testing.T) {
	r := newRegion(t, "new", "old", "far")
	r.load("new", shop)
	r.heal()
	wide := strings.Replace(shop, ", d TEXT", ", d TEXT, e TEXT, n INTEGER NOT NULL DEFAULT 3", 1) + "; CREATE TABLE extra (id INTEGER NOT NULL PRIMARY KEY, v TEXT)"
	r.load("new", wide)
	r.exec("new", "INSERT INTO items (id, c, e, n) VALUES ('k', 'c', 'e', 9)")
	r.exec("new", "INSERT INTO extra VALUES (1, 'x')")
	// The old node gets the rows without the definitions: they are a version
	// each, so leave out those of ranked tables.
	s, err := r.nodes["new"].Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ds, err := s.Deliver(r.nodes["new"].Writer(), record.Range{From: 1, To: 1000}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	var rows []record.Delivery
	for _, d := range ds {
		for _, c := range d.Changesets {
			if c.Records[0].Kind != record.Ranked {
				rows = append(rows, record.Pushed(c))
			}
		}
	}
	apply(t, r.nodes["old"], rows...)
	if got := withheld(t, r.nodes["old"]); len(got) != 1 || got[0].Reason != store.ReasonSchema {
		t.Errorf("withheld at the old node: %v", got)
	}
	same(t, "row at the old node", `[["k" "c" NULL]]`, fmt.Sprint(query(t, r.nodes["old"], "SELECT * FROM items")))
	r.exec("old", "UPDATE items SET d = 'of the old'")
	r.pull("far", "old") // forwards what it does not know itself
	r.settle()
	r.heal()
	r.equal()
	r.all("SELECT id, c, d, e, n FROM items", `[["k" "c" "of the old" "e" 9]]`)
	r.all("SELECT * FROM extra", `[[1 "x"]]`)
}

func TestRowWithoutCellOfNotNullColumnShowsZero(t *testing.T) {
	r := newRegion(t, "w1", "w2")
	const with = "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, s TEXT NOT NULL, i INTEGER NOT NULL, r REAL NOT NULL, b BLOB NOT NULL, d TEXT)"
	r.load("w1", with)
	r.heal()
	r.load("w1", "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, d TEXT)")
	c := r.exec("w1", "INSERT INTO t VALUES ('k', 'd')")
	s, err := r.nodes["w1"].Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ds, err := s.Deliver(c.Point.Writer, record.Range{From: c.Point.Version, To: c.Point.Version}, 1<<20)
	s.Close()
	if err != nil {
		t.Fatal(err)
	}
	apply(t, r.nodes["w2"], ds...)
	same(t, "row", `[["k" "" 0 0 "" "d"]]`, strings.NewReplacer("x''", `""`, "0.0", "0").Replace(fmt.Sprint(query(t, r.nodes["w2"], "SELECT * FROM t"))))
	recount(t, r.nodes["w2"])
	r.exec("w2", "UPDATE t SET d = 'other'")
	recount(t, r.nodes["w2"])
	r.heal()
	r.equal()
	r.all("SELECT * FROM t", `[["k" "other"]]`)
}

func TestOldFileOfAnotherNodeBringsNothingBack(t *testing.T) {
	r := newRegion(t, "w1", "w2")
	r.load("w1", shop)
	r.heal()
	r.load("w2", shop)
	r.load("w1", "CREATE TABLE items (id TEXT NOT NULL PRIMARY KEY, d TEXT)")
	r.heal()
	r.load("w2", shop)
	r.heal()
	r.all("SELECT name FROM pragma_table_info('items')", `[["id"] ["d"]]`)
	r.all("SELECT count(*) FROM sqlite_schema WHERE name = 'mine'", "[[0]]")
	// Left out and put in again, it comes back: under another id, without rows.
	r.load("w2", "CREATE TABLE items (id TEXT NOT NULL PRIMARY KEY, d TEXT)")
	r.load("w2", shop)
	r.heal()
	r.all("SELECT count(*) FROM sqlite_schema WHERE name = 'mine'", "[[1]]")
	r.equal()
}

func TestTwoColumnsOfOneName(t *testing.T) {
	r := newRegion(t, "w1", "w2")
	r.load("w1", "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY)")
	r.heal()
	r.load("w2", "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY)")
	r.load("w1", "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, c TEXT)")
	r.load("w2", "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, c INTEGER)")
	r.exec("w1", "INSERT INTO t VALUES ('a', 'text')")
	r.exec("w2", "INSERT INTO t VALUES ('b', 7)")
	r.heal()
	r.equal()
	got := fmt.Sprint(query(t, r.nodes["w1"], "SELECT * FROM t ORDER BY id"))
	same(t, "rows", got, fmt.Sprint(query(t, r.nodes["w2"], "SELECT * FROM t ORDER BY id")))
	for _, n := range r.names {
		s, err := r.nodes[n].SchemaStatus(t.Context())
		if err != nil || len(s.Idle) != 1 || s.Idle[0].Name != "c" {
			t.Errorf("%s: idle %v, %v", n, s.Idle, err)
		}
	}
	// Once the one that has the name is dropped, the other has it.
	loser, rows := "w2", `[["a" NULL] ["b" 7]]`
	if strings.Contains(got, "7") {
		loser, rows = "w1", `[["a" "text"] ["b" NULL]]`
	}
	winner := map[string]record.Node{"w1": "w2", "w2": "w1"}[loser]
	r.load(winner, "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY)")
	r.heal()
	r.equal()
	r.all("SELECT * FROM t ORDER BY id", rows)
}

func TestTablesMadeApartWithOtherChecks(t *testing.T) {
	r := newRegion(t, "w1", "w2")
	r.load("w1", "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, n INTEGER CHECK (n < 10))")
	r.load("w2", "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, n INTEGER NOT NULL DEFAULT 1, m TEXT)")
	r.exec("w1", "INSERT INTO t VALUES ('a', 3)")
	r.exec("w2", "INSERT INTO t VALUES ('b', 300, 'm')")
	r.heal()
	r.equal()
	same(t, "rows", fmt.Sprint(query(t, r.nodes["w1"], "SELECT id FROM t ORDER BY id")), fmt.Sprint(query(t, r.nodes["w2"], "SELECT id FROM t ORDER BY id")))
	same(t, "withheld", len(withheld(t, r.nodes["w1"])), len(withheld(t, r.nodes["w2"])))
}

func TestNewcomerKeepsRecordsOfDroppedTable(t *testing.T) {
	r := newRegion(t, "w1", "w2")
	r.load("w1", shop)
	r.exec("w1", "INSERT INTO items VALUES ('k', 'x', 'y')")
	r.load("w1", "")
	r.heal()
	r.equal()
	if got := withheld(t, r.nodes["w2"]); len(got) != 0 {
		t.Errorf("withheld: %v", got)
	}
	s, err := r.nodes["w2"].SchemaStatus(t.Context())
	if err != nil || len(s.Hidden) != 1 || len(s.Tables) != 0 {
		t.Errorf("status %+v, %v", s, err)
	}
}

func TestSchemaSurvivesRestart(t *testing.T) {
	r := newRegion(t, "w1", "w2")
	r.load("w1", shop)
	r.exec("w1", "INSERT INTO items VALUES ('k', 'x', 'y')")
	r.load("w1", strings.Replace(shop, "c TEXT, ", "", 1))
	r.heal()
	before := r.prints("w1")
	r.stop("w1")
	r.start("w1")
	r.settle()
	got := r.prints("w1")
	if !strings.HasPrefix(got, strings.TrimSuffix(before, "\n")[:20]) || fmt.Sprint(query(t, r.nodes["w1"], "SELECT * FROM items")) != `[["k" "y"]]` {
		t.Errorf("after the restart: %s", got)
	}
	same(t, "tables", r.nodes["w2"].Tables(), r.nodes["w1"].Tables())
	r.exec("w1", "UPDATE items SET d = 'z'")
	r.heal()
	r.equal()
	r.all("SELECT * FROM items", `[["k" "z"]]`)
}

func TestRefusedLoadChangesNothing(t *testing.T) {
	r := newRegion(t, "w1")
	r.load("w1", shop)
	before := r.prints("w1")
	err := r.tryLoad("w1", strings.Replace(shop, ", d TEXT", ", d TEXT, e TEXT NOT NULL", 1)+"; CREATE TABLE fine (id TEXT NOT NULL PRIMARY KEY)")
	if ref, ok := errors.AsType[*schema.Refusal](err); !ok || ref.Rule != schema.RuleNewNotNull {
		t.Errorf("refused with %v", err)
	}
	if after := r.prints("w1"); after != before {
		t.Errorf("before %s after %s", before, after)
	}
	r.all("SELECT count(*) FROM sqlite_schema WHERE name = 'fine'", "[[0]]")
}

// Nodes whose files change at one moment define the same: who comes second has
// less left to do, and is not refused for it.
func TestLoadsAtOneMomentAllSucceed(t *testing.T) {
	r := newRegion(t, "w1")
	r.load("w1", shop)
	for i := range 5 {
		files := parse(t, strings.Replace(shop, ", d TEXT", fmt.Sprintf(", d TEXT, e%d TEXT, g%d TEXT AS (d)", i, i), 1)+fmt.Sprintf("CREATE INDEX x%d ON items (c);", i))
		errs := make(chan error)
		for range 8 {
			go func() {
				_, err := r.nodes["w1"].LoadSchema(t.Context(), sqlite.SchemaLoad{Tables: files, Who: "me"})
				errs <- err
			}()
		}
		for range 8 {
			if err := <-errs; err != nil {
				t.Errorf("load %d: %v", i, err)
			}
		}
	}
}

// A plan warns of what it makes, once: not of what was there before.
func TestPlanWarnsOfTypesThatAreNone(t *testing.T) {
	r := newRegion(t, "w1")
	for _, c := range []struct{ files, want string }{
		{"CREATE TABLE docs (id TEXT NOT NULL PRIMARY KEY, j JSON)", "column j: JSON is no type"},
		{"CREATE TABLE docs (id TEXT NOT NULL PRIMARY KEY, j JSON, Seen TIMESTAMP)", "column seen: TIMESTAMP is no type"},
		{"CREATE TABLE docs (id TEXT NOT NULL PRIMARY KEY, j JSON, Seen TIMESTAMP, n INTEGER)", ""},
	} {
		files := parse(t, c.files)
		p, err := r.nodes["w1"].PlanSchema(t.Context(), files)
		if err != nil {
			t.Fatal(err)
		}
		if all := strings.Join(p.Notes, "; "); strings.Count(all, "is no type") != min(1, len(c.want)) || !strings.Contains(all, c.want) {
			t.Errorf("%s: notes %q, want %q", c.files, all, c.want)
		}
		r.load("w1", c.files)
	}
}

func TestPlanIsBoundToTheSchemaItWasMadeOn(t *testing.T) {
	r := newRegion(t, "w1", "w2")
	r.load("w1", shop)
	r.heal()
	files, err := sqlite.ParseSQL(shop + "; CREATE TABLE more (id TEXT NOT NULL PRIMARY KEY)")
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.nodes["w1"].PlanSchema(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	r.load("w2", "CREATE TABLE other (id TEXT NOT NULL PRIMARY KEY)")
	r.heal()
	l := sqlite.SchemaLoad{Tables: files, Hash: p.Hash}
	if _, err := r.nodes["w1"].LoadSchema(t.Context(), l); !errors.Is(err, sqlite.ErrSchemaMoved) {
		t.Errorf("load by an old plan: %v", err)
	}
	if p, err = r.nodes["w1"].PlanSchema(t.Context(), files); err != nil {
		t.Fatal(err)
	}
	l.Hash = p.Hash
	if _, err := r.nodes["w1"].LoadSchema(t.Context(), l); err != nil {
		t.Error(err)
	}
}

func TestStepsOfLargeTablesWaitForTheirTurn(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a table with 25,000 rows")
	}
	r := newRegion(t, "w1", "w2")
	r.load("w1", shop)
	for i := range 25 {
		r.exec("w1", "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO items SELECT ? || '/' || i, 'c', 'd' FROM n", i)
	}
	r.heal()
	r.load("w1", strings.Replace(shop, "c TEXT, ", "", 1)) // does not wait for itself
	r.all("SELECT count(*) FROM items", "[[25000]]")
	same(t, "columns at w1", `[["id"] ["d"]]`, fmt.Sprint(query(t, r.nodes["w1"], "SELECT name FROM pragma_table_info('items')")))
	r.pull("w2", "w1")
	s := waitStatus(t, r.nodes["w2"], func(s sqlite.SchemaStatus) bool { return len(s.Pending) == 1 && !s.Pending[0].Due.IsZero() })
	if p := s.Pending[0]; p.Act != "drop column" || p.Rows != 25000 || p.Pause <= 0 || time.Until(p.Due) > 31*time.Second {
		t.Errorf("pending %+v", p)
	}
	r.exec("w2", "UPDATE items SET c = 'new' WHERE id = '1/1'") // meanwhile
	r.pull("w1", "w2")
	r.equal()
}

func waitStatus(t *testing.T, db *sqlite.DB, ok func(sqlite.SchemaStatus) bool) sqlite.SchemaStatus {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		s, err := db.SchemaStatus(t.Context())
		if err == nil && ok(s) {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("status %+v, %v", s, err)
		}
		if err := db.WaitSchema(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// A connection that has read before the schema changed describes what is there
// now: no query begins by columns that are gone.
func TestDescriptionIsOfTheSchemaOfNow(t *testing.T) {
	r := newRegion(t, "w1")
	r.load("w1", shop)
	db := r.nodes["w1"]
	items := sqlite.Query{SQL: "SELECT * FROM items"}
	for range 64 { // on every connection
		query(t, db, items.SQL)
	}
	r.load("w1", strings.Replace(shop, ", d TEXT", ", d TEXT, e TEXT", 1))
	for range 64 {
		d, err := db.Describe(t.Context(), items)
		if err != nil || !slices.Equal(d.Columns, []string{"id", "c", "d", "e"}) {
			t.Fatalf("columns %v, %v", d.Columns, err)
		}
	}
	for range 64 {
		query(t, db, items.SQL)
	}
	r.load("w1", "")
	for range 64 {
		if d, err := db.Describe(t.Context(), items); err == nil || !strings.Contains(err.Error(), "no such table: items") {
			t.Fatalf("a table that is gone has columns %v, %v", d.Columns, err)
		}
	}
}
