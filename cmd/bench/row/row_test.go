package row_test

import (
	"testing"

	"github.com/firebreak-dev/firebreak/cmd/bench/row"
	"github.com/firebreak-dev/firebreak/internal/record"
)

func TestRowsAreOfAFleetsSizeAndNeverTheSame(t *testing.T) {
	m := row.NewMaker(1)
	seen := map[string]bool{}
	for i := range 1000 {
		r := m.Row(row.Key{Worker: i % 10, ID: 1})
		size, text := 0, ""
		for _, v := range r {
			size += len(v.Data)
			if v.Type == record.Integer {
				size += 2
			}
			text += v.String()
		}
		if size < 150 || size > 230 {
			t.Fatalf("a row of %d bytes: %v", size, r)
		}
		if seen[text] {
			t.Fatalf("a row twice: %v", r)
		}
		seen[text] = true
		if _, err := row.Table().Record(r, ""); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEqualSeedsMakeEqualRows(t *testing.T) {
	a, b := row.NewMaker(7), row.NewMaker(7)
	for i := range 100 {
		x, y := a.Row(row.Key{ID: i}), b.Row(row.Key{ID: i})
		for j := range x {
			if !x[j].Equal(y[j]) {
				t.Fatalf("%v and %v", x, y)
			}
		}
		if a.Pick(10) != b.Pick(10) {
			t.Fatal("picks differ")
		}
	}
}

func TestSomeAreDifferentAndInRange(t *testing.T) {
	seen := map[int]bool{}
	for _, i := range row.NewMaker(1).Some(50, 60) {
		if seen[i] || i < 0 || i >= 60 {
			t.Errorf("%d twice, or out of range", i)
		}
		seen[i] = true
	}
	if len(seen) != 50 {
		t.Errorf("%d of 50", len(seen))
	}
}
