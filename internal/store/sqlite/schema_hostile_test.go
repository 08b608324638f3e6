package sqlite_test

import (
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/schema/definition"
)

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
