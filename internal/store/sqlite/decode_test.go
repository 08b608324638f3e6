package sqlite

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// randomRow fits the columns of t, about half of them absent.
func randomRow(r *rand.Rand, t *table) store.Row {
	row := store.Row{}
	for range t.Key {
		row = append(row, record.Of(string(rune('a'+r.IntN(26)))))
	}
	for _, c := range t.Columns {
		switch {
		case r.IntN(2) == 0:
			row = append(row, c.Absent())
		case affinityOf(c.Type) == affinityText:
			row = append(row, record.Of("x"))
		default:
			row = append(row, record.Of(r.IntN(9)))
		}
	}
	for _, at := range t.rankAt {
		row[at] = record.Of(r.IntN(9))
	}
	return row
}

func TestEncodeAndDecodeAgreeWithTheSchema(t *testing.T) {
	tables, err := ParseSQL(testSchema)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, s := range tables {
		tab := newTable(s)
		for range 200 {
			row := randomRow(r, tab)
			stamp := record.StampOrder(7)
			want, err := s.Record(row, stamp)
			if err != nil {
				t.Fatal(err)
			}
			got, err := tab.encode(row, stamp)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatal(diff)
			}
			back, more, canonical, err := tab.decode(got, row[:len(s.Key)])
			if err != nil || !canonical || more != nil {
				t.Fatalf("canonical %v, more %x: %v", canonical, more, err)
			}
			if diff := cmp.Diff(row, back); diff != "" {
				t.Fatal(diff)
			}
		}
	}
}

func TestDecodeTellsWhatIsNotCanonical(t *testing.T) {
	tables, err := ParseSQL(testSchema)
	if err != nil {
		t.Fatal(err)
	}
	notes, grants := newTable(tables[1]), newTable(tables[2])
	key := []record.Value{record.Of("a")}
	n := notes.columns[0]
	for _, c := range notes.columns {
		if c.Name == "n" {
			n = c
		}
	}
	r := record.Record{Kind: record.Shared, Cells: record.AppendCell(nil, record.Cell{Column: n.ID, Value: n.absent})}
	if _, _, canonical, err := notes.decode(r, key); canonical || err != nil {
		t.Errorf("a cell that equals its absent value: canonical %v, %v", canonical, err)
	}
	stranger := record.Cell{Column: 1, Value: record.Of("x")}
	r.Cells = record.AppendCell(nil, stranger)
	row, more, canonical, err := notes.decode(r, key)
	if !canonical || err != nil {
		t.Errorf("a cell of an unknown column: canonical %v, %v", canonical, err)
	}
	if diff := cmp.Diff(record.AppendCell(nil, stranger), more); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(store.Row{key[0], {}, record.Of(7)}, row); diff != "" {
		t.Error(diff)
	}
	g, err := grants.encode(store.Row{key[0], record.Of(3), {}}, "")
	if err != nil {
		t.Fatal(err)
	}
	g.Order = record.StampOrder(1)
	if _, _, canonical, err := grants.decode(g, key); canonical || err != nil {
		t.Errorf("a rank that is not that of its cells: canonical %v, %v", canonical, err)
	}
}

func TestColumnsThatIndexesNeed(t *testing.T) {
	tables, err := ParseSQL(`CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, a, b, "C c", d, e, f, g AS (a || b), h AS (g || '!'));
		CREATE INDEX t_h ON t (h); CREATE INDEX t_c ON t ("c c" DESC) WHERE e IS NOT NULL`)
	if err != nil {
		t.Fatal(err)
	}
	tab := newTable(tables[0])
	if want := `UPDATE "t" SET "d" = ?, "f" = ? WHERE "id" = ?`; tab.cold != want {
		t.Errorf("the update of the others is %s, want %s", tab.cold, want)
	}
}
