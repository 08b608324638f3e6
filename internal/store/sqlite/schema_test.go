package sqlite_test

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/schema/definition"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// region is some nodes that exchange what they have when told to.
type region struct {
	tb    testing.TB
	dir   string
	nodes map[record.Node]*sqlite.DB
	names []record.Node
	log   *slog.Logger // of nodes; nil for none
}

func newRegion(tb testing.TB, names ...record.Node) *region {
	r := &region{tb: tb, dir: tb.TempDir(), nodes: map[record.Node]*sqlite.DB{}, names: names}
	for _, n := range names {
		r.start(n)
	}
	tb.Cleanup(func() {
		for _, n := range names {
			r.stop(n)
		}
	})
	return r
}

func (r *region) start(n record.Node) {
	cfg := config(r.tb, filepath.Join(r.dir, string(n)+".db"), sqlite.Config{Node: n, Tables: []schema.Table{}, Definitions: true, Durability: sqlite.OS, Logger: r.log})
	db, err := sqlite.Open(r.tb.Context(), cfg)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.nodes[n] = db
}

func (r *region) stop(n record.Node) {
	if err := r.nodes[n].Close(); err != nil {
		r.tb.Error(err)
	}
}

func (r *region) load(n record.Node, files string) {
	r.tb.Helper()
	if err := r.tryLoad(n, files); err != nil {
		r.tb.Fatal(err)
	}
}

func (r *region) tryLoad(n record.Node, files string) error {
	r.tb.Helper()
	ts, err := sqlite.ParseSQL(files)
	if err != nil {
		return err
	}
	_, err = r.nodes[n].LoadSchema(r.tb.Context(), sqlite.SchemaLoad{Tables: ts, Who: "test"})
	return err
}

// pull gives a node what another has and it has not.
func (r *region) pull(to, from record.Node) {
	r.tb.Helper()
	s, err := r.nodes[from].Snapshot(r.tb.Context())
	if err != nil {
		r.tb.Fatal(err)
	}
	defer s.Close()
	ws, err := s.Writers()
	if err != nil {
		r.tb.Fatal(err)
	}
	for _, w := range ws {
		if w.Writer.Node == to {
			continue
		}
		ds, err := s.Deliver(w.Writer, record.Range{From: 1, To: 1 << 50}, 1<<30)
		if err != nil {
			r.tb.Fatal(err)
		}
		apply(r.tb, r.nodes[to], ds...)
	}
}

// heal lets everybody have everything, and waits until it is in effect.
func (r *region) heal() {
	r.tb.Helper()
	for _, a := range r.names {
		for _, b := range r.names {
			if a != b {
				r.pull(a, b)
			}
		}
	}
	r.settle()
}

func (r *region) settle() {
	r.tb.Helper()
	for _, n := range r.names {
		if err := r.nodes[n].WaitSchema(r.tb.Context()); err != nil {
			r.tb.Fatal(err)
		}
	}
}

func (r *region) exec(n record.Node, sql string, args ...any) store.Commit {
	r.tb.Helper()
	return mustExec(r.tb, r.nodes[n], sql, args...)
}

// all asks every node, and fails unless all answer want.
func (r *region) all(sql, want string) {
	r.tb.Helper()
	for _, n := range r.names {
		if got := fmt.Sprint(query(r.tb, r.nodes[n], sql)); got != want {
			r.tb.Errorf("%s: %s: %s, want %s", n, sql, got, want)
		}
	}
}

// prints are what a node says of the rows of every writer, after it was made
// sure that they are what it serves.
func (r *region) prints(n record.Node) string {
	r.tb.Helper()
	recount(r.tb, r.nodes[n])
	var b strings.Builder
	for _, ws := range states(r.tb, r.nodes[n]) {
		fmt.Fprintf(&b, "%v %v %v\n", ws.Writer, ws.Received, ws.Fingerprints)
	}
	return b.String()
}

func (r *region) equal() {
	r.tb.Helper()
	want := r.prints(r.names[0])
	for _, n := range r.names[1:] {
		if got := r.prints(n); got != want {
			r.tb.Errorf("%s has\n%s%s has\n%s", r.names[0], want, n, got)
		}
	}
}

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

// A definition is never run as SQL beyond the one thing that it may be.
func TestHostileDefinitions(t *testing.T) {
	r := newRegion(t, "w1")
	r.load("w1", "CREATE TABLE victim (id TEXT NOT NULL PRIMARY KEY, v TEXT)")
	r.exec("w1", "INSERT INTO victim VALUES ('a', 'safe')")
	db := r.nodes["w1"]
	id := db.Tables()[0].ID
	evil := record.Writer{Node: "evil", Boot: 1000, Bits: 1}
	version := record.Version(0)
	send := func(row []record.Value) {
		t.Helper()
		rec, err := definition.TableOf().Record(row, "")
		if err != nil {
			t.Fatal(err)
		}
		version++
		apply(t, db, pushed(evil, version, rec))
	}
	def := func(d definition.Definition) []record.Value { return d.Row("evil") }
	gen := func(name, expr string) definition.Definition {
		return definition.Definition{What: definition.Generated, Parent: id, Generated: schema.Generated{Name: name, Expr: expr}}
	}
	index := func(name, terms, where string) definition.Definition {
		return definition.Definition{What: definition.Index, Parent: id, Index: schema.Index{Name: name, Terms: terms, Where: where}}
	}
	for _, d := range []definition.Definition{
		gen("g1", "1); DROP TABLE victim; --"),
		gen("g2", "1)) /* "),
		gen("g3", "'x"),
		gen("_fb_x", "1"),
		index("i1", "v); CREATE TRIGGER x AFTER INSERT ON victim BEGIN SELECT 1; END; --", ""),
		index("i2", "v", "1; DELETE FROM victim"),
		{What: definition.Column, Parent: id, Number: 1 << 40, Column: schema.Column{Name: "c", Type: "TEXT"}},
		{What: definition.Column, Parent: id, Column: schema.Column{Name: "c", Type: "TEXT CHECK (0)"}},
		{What: definition.Table, Places: []int{0}, Table: schema.Table{Name: "fleet_machines", Kind: record.Shared, Key: []schema.Column{{Name: "id", Type: "TEXT"}}}},
		{What: "trigger", Parent: id},
	} {
		send(def(d))
	}
	if got := withheld(t, db); len(got) != int(version) {
		t.Errorf("%d of %d are withheld: %v", len(got), version, got)
	}
	forged := index("i3", "v", "").Row("evil")
	forged[5] = record.Of([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
	send(forged)
	if got := withheld(t, db); len(got) != int(version) {
		t.Errorf("a forged rank is not withheld")
	}
	// What is well formed and no SQL of a table: never in effect, and said so.
	odd := []definition.Definition{
		gen("g4", "(SELECT max(v) FROM victim)"), gen("g5", "random()"), gen("g6", "no_such_column"), gen("g7", "load_extension('x')"),
		index("i4", "nothing", ""), index("i5", "v COLLATE nowhere", ""),
	}
	for _, d := range odd {
		send(def(d))
	}
	r.settle()
	s, err := db.SchemaStatus(t.Context())
	if err != nil || len(s.Idle) != len(odd) {
		t.Errorf("idle: %v, %v", s.Idle, err)
	}
	r.all("SELECT * FROM victim", `[["a" "safe"]]`)
	r.all("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND name NOT LIKE '\\_fb\\_%' ESCAPE '\\'", "[[0]]")
	r.load("w1", "CREATE TABLE victim (id TEXT NOT NULL PRIMARY KEY, v TEXT, w TEXT)")
	r.exec("w1", "UPDATE victim SET w = 'still works'")
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
