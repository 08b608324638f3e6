package definition_test

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/schema/definition"
)

func items() schema.Table {
	return schema.Table{
		Name: "items", Spelled: "Items", Kind: record.Shared,
		Key:       []schema.Column{{Name: "id", Type: "TEXT", NotNull: true}},
		Columns:   []schema.Column{{Name: "a", Type: "TEXT"}, {Name: "n", Type: "INTEGER", NotNull: true, Default: record.Of(3)}, {Name: "at", Type: "TEXT", Expr: "datetime('now')"}},
		Generated: []schema.Generated{{Name: "g", Type: "TEXT", Expr: "a || ')'"}},
		Checks:    []schema.Check{{Name: "pos", Expr: "n > 0"}},
		Indexes:   []schema.Index{{Name: "items_a", Terms: "a, n DESC", Where: "a <> ';'"}},
		Order:     []string{"a", "id", "n", "g", "at"},
	}
}

func set(defs ...definition.Definition) *definition.Set {
	s := &definition.Set{}
	for _, d := range defs {
		s.Add(d)
	}
	return s
}

func TestRowReadsBack(t *testing.T) {
	for _, d := range definition.Of(items(), 4) {
		got, who, err := definition.Read(d.Row("ann"))
		if err != nil || who != "ann" {
			t.Errorf("%s %s: %v", d.What, d.Name(), err)
		}
		if diff := cmp.Diff(d, got); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", d.What, d.Name(), diff)
		}
	}
}

func TestAssembleGivesTheTableBack(t *testing.T) {
	want := items().WithIDs()
	got := set(definition.Of(items(), 0)...).Assemble()
	if diff := cmp.Diff([]schema.Table{want}, got.Tables); diff != "" || len(got.Idle) > 0 {
		t.Errorf("idle %v (-want +got):\n%s", got.Idle, diff)
	}
	kept, err := definition.Tables(definition.Append(nil, got.Tables))
	if diff := cmp.Diff(got.Tables, kept); diff != "" || err != nil {
		t.Errorf("kept, %v (-want +got):\n%s", err, diff)
	}
}

// A wrong merge would make nodes differ for good.
func TestSetIsTheSameInAnyOrder(t *testing.T) {
	var all []definition.Definition
	for _, number := range []uint64{0, 1, 2} {
		for _, d := range definition.Of(items(), 0) {
			d.Number = number
			all = append(all, d)
			d.Place++
			d.Index.Where, d.Table.Strict = "", d.What == definition.Table
			all = append(all, d)
		}
	}
	other := items()
	other.Key[0].Type = "INTEGER"
	all = append(all, definition.Of(other, 0)...)
	want := set(all...)
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		got := set(all...)
		for _, d := range all[:10] {
			if got.Add(d) {
				t.Fatalf("seed %d: what was merged wins again", seed)
			}
		}
		if got.Hash() != want.Hash() || !cmp.Equal(got.Assemble(), want.Assemble()) {
			t.Fatalf("seed %d: another order gives another schema", seed)
		}
	}
}

func TestHigherNumberWinsAndThenTheLowerHash(t *testing.T) {
	a := definition.Of(items(), 0)[0]
	b := a
	b.Table.Strict = true
	if definition.Wins(a, b) == definition.Wins(b, a) {
		t.Error("two definitions of one number tie")
	}
	b.Number = 1
	if !definition.Wins(b, a) || definition.Wins(a, b) {
		t.Error("the lower number wins")
	}
}

func TestDroppedAndMadeAgainIsAnother(t *testing.T) {
	c := definition.Of(items(), 0)[1]
	d := c
	d.Number = 2
	if c.ID() == d.ID() || c.Key() != d.Key() || len(d.IDs()) != 2 {
		t.Errorf("ids %x and %x, keys %v and %v", c.ID(), d.ID(), c.Key(), d.Key())
	}
	got := set(definition.Of(items(), 0)...).With(d).Assemble()
	if !got.Gone[record.ColumnID(c.ID())] || got.Gone[record.ColumnID(d.ID())] {
		t.Errorf("gone: %v", got.Gone)
	}
}

func TestLowerIDHasTheName(t *testing.T) {
	text, number := items(), items()
	text.Columns, number.Columns = text.Columns[:1], []schema.Column{{Name: "a", Type: "INTEGER"}}
	got := set(append(definition.Of(text, 0), definition.Of(number, 0)...)...).Assemble()
	if len(got.Idle) != 1 || uint64(got.Tables[0].Columns[0].ID) > got.Idle[0].ID() {
		t.Errorf("idle %v beside %v", got.Idle, got.Tables[0].Columns)
	}
	other := items()
	other.Key = append(other.Key, schema.Column{Name: "k2", Type: "TEXT", NotNull: true})
	other.Order = nil
	got = set(append(definition.Of(items(), 0), definition.Of(other, 0)...)...).Assemble()
	if len(got.Tables) != 1 || len(got.Hidden) != 1 || got.Tables[0].ID > got.Hidden[0].ID {
		t.Errorf("shown %v, hidden %v", got.Tables, got.Hidden)
	}
}

func TestForgedRowsAreRefused(t *testing.T) {
	row := func(change func(*definition.Definition)) []record.Value {
		d := definition.Of(items(), 0)[5]
		change(&d)
		return d.Row("x")
	}
	index := func(terms, where string) []record.Value {
		return row(func(d *definition.Definition) { d.Index.Terms, d.Index.Where = terms, where })
	}
	swap := func(at int, v any) []record.Value {
		r := row(func(*definition.Definition) {})
		r[at] = record.Of(v)
		return r
	}
	for name, r := range map[string][]record.Value{
		"second statement": index("a); DROP TABLE items; --", ""), "open quote": index("a || 'x", ""), "open name": index(`"a`, ""),
		"comment": index("a --", ""), "open comment": index("a /*", ""), "closes too much": index("a) WHERE (1", ""), "semicolon": index("a", "1;"),
		"NUL": index("a\x00b", ""), "no UTF-8": index("a\xff", ""),
		"number": row(func(d *definition.Definition) { d.Number = definition.MaxNumber + 1 }), "huge number": swap(4, int64(1)<<62), "negative": swap(4, -1),
		"rank": swap(5, []byte("0123456789abcdef")), "name": swap(2, "other"), "base": swap(3, 7), "body": swap(6, []byte{1, 2, 3}), "type": swap(6, "text"),
		"what": swap(0, "trigger"), "no table": swap(1, 0), "short": row(func(*definition.Definition) {})[:7], "reserved": row(func(d *definition.Definition) { d.Index.Name = "_fb_x" }),
	} {
		if d, _, err := definition.Read(r); err == nil {
			t.Errorf("%s: taken as %+v", name, d)
		}
	}
	if _, _, err := definition.Read(index(`a, lower("n;x") || ';)'`, "a IN (1, 2)")); err != nil {
		t.Errorf("an honest one: %v", err)
	}
}

// What is read is what would be written, or it is refused.
func FuzzRead(f *testing.F) {
	for _, d := range definition.Of(items(), 0) {
		r := d.Row("x")
		f.Add(r[0].Data, r[1].Int, r[2].Data, r[3].Int, r[4].Int, []byte(r[5].Data), []byte(r[6].Data), r[7].Data)
	}
	f.Fuzz(func(t *testing.T, what string, parent int64, name string, base, number int64, low, body []byte, who string) {
		text, blob := record.Of, func(b []byte) record.Value { return record.Of(append([]byte{}, b...)) }
		row := []record.Value{text(what), text(parent), text(name), text(base), text(number), blob(low), blob(body), text(who)}
		d, by, err := definition.Read(row)
		if err != nil {
			return
		}
		if diff := cmp.Diff(row, d.Row(by)); diff != "" {
			t.Errorf("reads as %+v, which is\n%s", d, diff)
		}
		set(d).Assemble()
	})
}

func FuzzTables(f *testing.F) {
	f.Add(definition.Append(nil, []schema.Table{items()}))
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = definition.Tables(b) })
}
