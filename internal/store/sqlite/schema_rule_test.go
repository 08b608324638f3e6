package sqlite_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/schema/definition"
	"github.com/firebreak-dev/firebreak/internal/schema/plan"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

func parseFiles(t *testing.T, sql string) []schema.Table {
	t.Helper()
	out, err := sqlite.ParseSQL(sql)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// planned plans a load of files where was is loaded, here and nowhere else.
func planned(t *testing.T, was, is string) (plan.Plan, error) {
	t.Helper()
	now := &definition.Set{}
	loaded := parseFiles(t, was)
	for _, tab := range loaded {
		if tab.Kind != 0 {
			for _, d := range definition.Of(tab, 0) {
				now.Add(d)
			}
		}
	}
	return plan.Make(parseFiles(t, is), loaded, now)
}

func TestChangesAreAllowedOrRefusedByRule(t *testing.T) {
	const base = "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, a TEXT, n INTEGER NOT NULL DEFAULT 1, g TEXT AS (a) VIRTUAL, CHECK (n > 0)); CREATE INDEX t_a ON t (a);"
	edit := func(old, new string) string { return strings.Replace(base, old, new, 1) }
	for _, c := range []struct {
		is   string
		rule schema.Rule // empty: allowed
		acts []plan.Act
	}{
		{is: base},
		{is: "-- a comment\r\n" + edit("CREATE TABLE t", "CREATE TABLE T")},
		{is: edit("a TEXT,", "a TEXT, b TEXT,"), acts: []plan.Act{plan.AddColumn}},
		{is: edit("a TEXT,", "a TEXT, b TEXT NOT NULL DEFAULT '',"), acts: []plan.Act{plan.AddColumn}},
		{is: edit("a TEXT,", "a TEXT, b TEXT AS (n) ,"), acts: []plan.Act{plan.AddComputed}},
		{is: edit("CREATE INDEX t_a ON t (a);", "DROP INDEX IF EXISTS t_a;"), acts: []plan.Act{plan.DropIndex}},
		{is: edit("ON t (a)", "ON t (a, n)"), acts: []plan.Act{plan.CreateIndex}},
		{is: edit(", g TEXT AS (a) VIRTUAL", ""), acts: []plan.Act{plan.DropComputed}},
		{is: base + "CREATE TABLE u (id TEXT NOT NULL PRIMARY KEY)", acts: []plan.Act{plan.CreateTable}},
		{is: base + "\n-- firebreak: local\nCREATE TABLE u (id)", acts: []plan.Act{plan.CreateLocal}},
		{is: "", acts: []plan.Act{plan.DropTable}},

		{is: edit("a TEXT,", "a TEXT, b TEXT NOT NULL,"), rule: schema.RuleNewNotNull},
		{is: edit("a TEXT,", "a TEXT, b TEXT DEFAULT (datetime('now')),"), rule: schema.RuleNewExpression},
		{is: edit("a TEXT,", "a TEXT, b TEXT AS (n) STORED,"), rule: schema.RuleNewStored},
		{is: edit("a TEXT,", "a TEXT, b TEXT CHECK (b <> ''),"), rule: schema.RuleCheckChange},
		{is: edit("n > 0", "n > 1"), rule: schema.RuleCheckChange},
		{is: edit(", CHECK (n > 0)", ""), rule: schema.RuleCheckChange},
		{is: edit("a TEXT,", "a INTEGER,"), rule: schema.RuleColumnChange},
		{is: edit("a TEXT,", "a TEXT COLLATE NOCASE,"), rule: schema.RuleColumnChange},
		{is: edit("a TEXT,", "a TEXT DEFAULT 'x',"), rule: schema.RuleColumnChange},
		{is: edit("n INTEGER NOT NULL DEFAULT 1", "n INTEGER DEFAULT 1"), rule: schema.RuleColumnChange},
		{is: edit("g TEXT AS (a) VIRTUAL", "g TEXT"), rule: schema.RuleColumnChange},
		{is: edit("AS (a)", "AS (a || a)"), rule: schema.RuleGeneratedChange},
		{is: edit("id TEXT NOT NULL PRIMARY KEY", "id INTEGER NOT NULL PRIMARY KEY"), rule: schema.RuleKeyChange},
		{is: edit("CHECK (n > 0)", "CHECK (n > 0), PRIMARY KEY (id, n)"), rule: "-"}, // two keys: SQLite's own refusal
		{is: "-- firebreak: owned by id\n" + base, rule: schema.RuleKindChange},
		{is: "-- firebreak: local\n" + base, rule: schema.RuleKindChange},
		{is: "-- firebreak: ranked by n\n" + base, rule: schema.RuleRanked},
		{is: edit(");", ") WITHOUT ROWID;"), rule: schema.RuleOptionChange},
		{is: edit(");", ") STRICT;"), rule: schema.RuleOptionChange},
		{is: base + "CREATE TABLE u (id TEXT NOT NULL PRIMARY KEY, a TEXT);\n-- firebreak: local\nCREATE TABLE t_b (id)", acts: []plan.Act{plan.CreateTable, plan.CreateLocal}},
	} {
		if c.rule == "-" {
			if _, err := sqlite.ParseSQL(c.is); err == nil {
				t.Errorf("%s: taken", c.is)
			}
			continue
		}
		p, err := planned(t, base, c.is)
		ref, _ := errors.AsType[*schema.Refusal](err)
		if c.rule != "" {
			if ref == nil || ref.Rule != c.rule || ref.Do == "" {
				t.Errorf("%s\nrefused with %v, want rule %s and what to do instead", c.is, err, c.rule)
			}
			continue
		}
		var acts []plan.Act
		for _, s := range p.Steps {
			acts = append(acts, s.Act)
		}
		if err != nil || !slices.Equal(acts, c.acts) {
			t.Errorf("%s\nplans %v, want %v: %v", c.is, acts, c.acts, err)
		}
	}
}

// What other nodes have loaded counts too.
func TestChangesBesideOtherNodesFiles(t *testing.T) {
	r := newRegion(t, "w1", "w2")
	r.load("w1", "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, a TEXT)")
	r.heal()
	r.load("w2", "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, a TEXT); CREATE INDEX theirs ON t (a)")
	r.heal()
	for files, rule := range map[string]schema.Rule{
		"CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY)":                                                                                              schema.RuleColumnUsed,
		"CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, a TEXT); CREATE TABLE theirs (id TEXT NOT NULL PRIMARY KEY)":                                  schema.RuleNameTaken,
		"CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, a TEXT); CREATE TABLE u (id TEXT NOT NULL PRIMARY KEY, x TEXT); CREATE INDEX theirs ON u (x)": schema.RuleNameTaken,
		"CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, a TEXT);\n-- firebreak: local\nCREATE TABLE theirs (id TEXT NOT NULL PRIMARY KEY)":            schema.RuleNameTaken,
		"CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, a TEXT, theirs TEXT NOT NULL)":                                                                schema.RuleNewNotNull,
	} {
		err := r.tryLoad("w1", files)
		if ref, ok := errors.AsType[*schema.Refusal](err); !ok || ref.Rule != rule {
			t.Errorf("%s\nrefused with %v, want %s", files, err, rule)
		}
	}
	wide := "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, a TEXT"
	for i := range definition.MaxColumns - 1 {
		wide += fmt.Sprintf(", c%d", i)
	}
	err := r.tryLoad("w1", wide+")")
	if ref, ok := errors.AsType[*schema.Refusal](err); !ok || ref.Rule != schema.RuleLimit && ref.Rule != schema.RuleColumns {
		t.Errorf("too many columns: %v", err)
	}
}

func TestLocalTableOfFilesIsOfThisNodeAlone(t *testing.T) {
	r := newRegion(t, "w1", "w2")
	const local = "-- firebreak: local\nCREATE TABLE seen (k TEXT PRIMARY KEY, run INTEGER); CREATE UNIQUE INDEX seen_run ON seen (run);"
	r.load("w1", local)
	c := r.exec("w1", "INSERT INTO seen VALUES ('a', 1)")
	if c.Records != 0 {
		t.Errorf("a row of a local table made %d records", c.Records)
	}
	r.heal()
	same(t, "tables at w2", "[[0]]", fmt.Sprint(query(t, r.nodes["w2"], "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'seen%'")))
	if ref, ok := errors.AsType[*schema.Refusal](r.tryLoad("w1", strings.Replace(local, "run INTEGER", "run TEXT", 1))); !ok || ref.Rule != schema.RuleLocalChange {
		t.Errorf("a changed local table: %v", ref)
	}
	r.load("w1", "")
	r.all("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'seen%'", "[[0]]")
}
