package storetest

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

var bob = record.Writer{Node: "b", Boot: 100, Bits: 1}

// owned makes a record of the owned table.
func owned(owner, id string, val any, n int) record.Record {
	return mustRecord(Tables()[0], thing(owner, id, val, n), "")
}

func mustRecord(t schema.Table, row store.Row, stamp string) record.Record {
	r, err := t.Record(row, stamp)
	if err != nil {
		panic(err) // the suite's own rows are well formed
	}
	return r
}

func tombstone(r record.Record) record.Record {
	r.Deleted, r.Cells = true, nil
	return r
}

func applyTwiceChangesNothing(t *testing.T, s *suite) {
	st := s.open("a")
	d := changeset(bob, 1, s.now, owned("b", "x", "v", 1))
	if out := s.apply(st, d); out[0].Status != store.Applied {
		t.Fatalf("first outcome %+v", out[0])
	}
	before := s.writers(st)
	feed, err := st.Feed(s.snapshot(st).Position())
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	if out := s.apply(st, d, d); out[0].Status != store.Duplicate || out[1].Status != store.Duplicate {
		t.Errorf("outcomes %+v, want duplicates", out)
	}
	if diff := cmp.Diff(before, s.writers(st)); diff != "" {
		t.Errorf("state changed (-before +after):\n%s", diff)
	}
	s.apply(st, changeset(bob, 2, s.now, owned("b", "y", "v", 1)))
	entries, err := feed.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if entries[0].Point.Version != 2 {
		t.Errorf("a duplicate emitted %+v", entries[0])
	}
}

// history is what several writers wrote over the same few keys, of every kind.
func history(rng *rand.Rand, now time.Time) []record.Delivery {
	tables := Tables()
	var out []record.Delivery
	ids := []string{"x", "y", "z"}
	for _, node := range []string{"b", "c"} {
		for boot := range uint64(2) {
			w := record.Writer{Node: record.Node(node), Boot: 100 + boot, Bits: boot + 7}
			for v := range record.Version(8) {
				id := ids[rng.IntN(len(ids))]
				var r record.Record
				switch rng.IntN(3) {
				case 0:
					r = mustRecord(tables[0], thing(node, id, int(v), rng.IntN(3)), "")
				case 1:
					stamp := hlc.At(now) - hlc.Timestamp(rng.IntN(4)+1)<<16
					r = mustRecord(tables[1], note(id, int(v)), record.StampOrder(stamp+hlc.Timestamp(v)))
				case 2:
					r = mustRecord(tables[2], mark(id, rng.IntN(3), int(v)), "")
				}
				if r.Kind != record.Ranked && rng.IntN(4) == 0 {
					r = tombstone(r)
				}
				out = append(out, changeset(w, v+1, now, r))
			}
		}
	}
	return out
}

func anyOrderGivesEqualState(t *testing.T, s *suite) {
	rng := rand.New(rand.NewPCG(1, 2))
	all := history(rng, s.now)
	var want []store.WriterState
	var wantRows [][]store.Row
	for i := range 6 {
		st := s.open(record.Node("n" + string(rune('0'+i))))
		shuffled := slices.Clone(all)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		for len(shuffled) > 0 {
			n := min(len(shuffled), 1+rng.IntN(7))
			s.apply(st, shuffled[:n]...)
			if rng.IntN(3) == 0 {
				s.apply(st, shuffled[0])
			}
			shuffled = shuffled[n:]
		}
		got := s.written(st)
		gotRows := [][]store.Row{s.rows(st, "things"), s.rows(st, "notes"), s.rows(st, "marks")}
		if i == 0 {
			want, wantRows = got, gotRows
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("order %d: states differ (-first +this):\n%s", i, diff)
		}
		if diff := cmp.Diff(wantRows, gotRows); diff != "" {
			t.Fatalf("order %d: rows differ (-first +this):\n%s", i, diff)
		}
	}
	if len(wantRows[0]) == 0 || len(wantRows[1]) == 0 || len(wantRows[2]) == 0 {
		t.Errorf("a table is empty at the end: the history shows nothing: %v", wantRows)
	}
}

func higherRankWinsWhateverTheOrder(t *testing.T, s *suite) {
	tables := Tables()
	late := record.Writer{Node: "b", Boot: 101, Bits: 0}
	low, high := s.now.Add(-time.Second), s.now
	for _, c := range []struct {
		name, table string
		lo, hi      record.Delivery
	}{
		{"owned: a later boot beats a higher version", "things",
			changeset(bob, 9, s.now, owned("b", "x", "lo", 1)), changeset(late, 1, s.now, owned("b", "x", "hi", 1))},
		{"shared: the later stamp beats the higher writer", "notes",
			changeset(late, 2, s.now, mustRecord(tables[1], note("x", "lo"), record.StampOrder(hlc.At(low)))),
			changeset(bob, 3, s.now, mustRecord(tables[1], note("x", "hi"), record.StampOrder(hlc.At(high))))},
		{"ranked: the number beats everything", "marks",
			changeset(late, 5, s.now, mustRecord(tables[2], mark("x", 1, "lo"), "")),
			changeset(bob, 5, s.now, mustRecord(tables[2], mark("x", 2, "hi"), ""))},
	} {
		for i, order := range [][]record.Delivery{{c.lo, c.hi}, {c.hi, c.lo}} {
			st := s.open(record.Node(c.table + string(rune('0'+i))))
			for _, d := range order {
				s.apply(st, d)
			}
			rows := s.rows(st, c.table)
			if len(rows) != 1 || !slices.ContainsFunc(rows[0], func(v record.Value) bool { return v.Equal(record.Of("hi")) }) {
				t.Errorf("%s, order %d: rows %v", c.name, i, rows)
			}
		}
	}
}

func foreignRecordNeverCompetes(t *testing.T, s *suite) {
	st := s.open("a")
	forger := record.Writer{Node: "b", Boot: uint64(s.now.Unix()) + 1<<20, Bits: 1}
	carol := record.Writer{Node: "c", Boot: 5, Bits: 5}
	if out := s.apply(st, changeset(forger, 1, s.now, owned("c", "x", "forged", 1))); out[0].Withheld != 1 {
		t.Errorf("outcome %+v, want one withheld", out[0])
	}
	s.apply(st, changeset(carol, 1, s.now, owned("c", "x", "true", 1)))
	if got := s.get(st, "things", "c", "x"); got == nil || !got[2].Equal(record.Of("true")) {
		t.Errorf("c's row is %v", got)
	}
	if !s.state(st, forger).Received.Has(1) {
		t.Error("the forged changeset is not received: sync would fetch it for ever")
	}
	withheld, err := s.snapshot(st).Withheld()
	if err != nil || len(withheld) != 1 || withheld[0].Reason != store.ReasonOwner {
		t.Errorf("withheld %+v, %v", withheld, err)
	}
}

func unknownTableIsWithheldAndServed(t *testing.T, s *suite) {
	other := schema.Table{Name: "later", Kind: record.Owned,
		Key:     []schema.Column{{Name: "owner", Type: "TEXT", NotNull: true}, {Name: "id", Type: "TEXT", NotNull: true}},
		Columns: []schema.Column{{Name: "val", Type: "TEXT"}}}.WithIDs()
	rec := mustRecord(other, store.Row{record.Of("b"), record.Of("x"), record.Of("v")}, "")
	without, with := s.open("a"), s.openWith("d", append(Tables(), other))
	d := changeset(bob, 1, s.now, rec, owned("b", "x", "v", 1))
	if out := s.apply(without, d); out[0].Status != store.Applied || out[0].Withheld != 1 {
		t.Errorf("outcome %+v", out[0])
	}
	if got := s.get(without, "things", "b", "x"); got == nil {
		t.Error("the known row of the changeset is missing")
	}
	s.apply(with, s.everything(without, bob)...)
	if rows := s.rows(with, "later"); len(rows) != 1 {
		t.Errorf("a withheld record was not served whole: %v", rows)
	}
	if diff := cmp.Diff(s.state(without, bob), s.state(with, bob)); diff != "" {
		t.Errorf("equal received sets, other states (-without +with):\n%s", diff)
	}
}

func constraintWithholdsOnlyItsRecord(t *testing.T, s *suite) {
	st := s.open("a")
	out := s.apply(st,
		changeset(bob, 1, s.now, owned("b", "good", "v", 1), owned("b", "bad", "v", 5000)),
		changeset(bob, 2, s.now, owned("b", "after", "v", 1)))
	if out[0].Withheld != 1 || out[1].Withheld != 0 {
		t.Errorf("outcomes %+v", out)
	}
	if got := len(s.rows(st, "things")); got != 2 {
		t.Errorf("%d rows are visible, want 2", got)
	}
	if got := s.state(st, bob).Received; !got.Equal(record.Received{Head: 2}) {
		t.Errorf("received %v, want 2", got)
	}
	s.apply(st, changeset(bob, 3, s.now, owned("b", "bad", "v", 2)))
	if got := s.get(st, "things", "b", "bad"); got == nil {
		t.Error("a later good record of the key is not visible")
	}
	if withheld, err := s.snapshot(st).Withheld(); err != nil || len(withheld) != 0 {
		t.Errorf("withheld %+v, %v after a higher record came", withheld, err)
	}
}

func stampAheadIsWithheldUntilItIsNot(t *testing.T, s *suite) {
	st := s.open("a")
	ahead := record.StampOrder(hlc.At(s.now.Add(time.Hour)))
	s.apply(st, changeset(bob, 1, s.now, mustRecord(Tables()[1], note("x", "v"), ahead)))
	if rows := s.rows(st, "notes"); len(rows) != 0 {
		t.Fatalf("a stamp an hour ahead is visible: %v", rows)
	}
	feed, err := st.Feed(s.snapshot(st).Position())
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	s.setNow(s.now.Add(time.Hour))
	s.put(st, "notes", note("other", "wakes the writer")) // releases happen on the writer's time
	for {
		entries, err := feed.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			for _, c := range e.Changes {
				if c.Table == "notes" && len(c.New) > 0 && c.New[0].Equal(record.Of("x")) {
					return
				}
			}
		}
	}
}

func malformedDeliveryIsRejected(t *testing.T, s *suite) {
	st := s.open("a")
	good := owned("b", "x", "v", 1)
	badCells, badKey, badKind := good, good, good
	badCells.Cells = []byte{1, 2, 3}
	badKey.Key = "\x09"
	badKind.Kind = 77
	for _, r := range []record.Record{badCells, badKey, badKind} {
		out := s.apply(st, changeset(bob, 1, s.now, r, owned("b", "y", "v", 1)))
		if out[0].Status != store.Rejected || out[0].Err == nil {
			t.Errorf("outcome %+v for %v", out[0], r)
		}
	}
	if rows := s.rows(st, "things"); len(rows) != 0 {
		t.Errorf("rows of a rejected delivery: %v", rows)
	}
	if got := s.state(st, bob).Received; got.Head != 0 {
		t.Errorf("a rejected version is received: %v", got)
	}
}

func evictionDropsRowsInAnyOrder(t *testing.T, s *suite) {
	evict := mustRecord(Tables()[3], store.Row{record.Of("b"), record.Of(150)}, "")
	carol := record.Writer{Node: "c", Boot: 5, Bits: 5}
	later := record.Writer{Node: "b", Boot: 151, Bits: 3}
	all := []record.Delivery{
		changeset(bob, 1, s.now, owned("b", "x", "v", 1)), changeset(carol, 1, s.now, evict),
		changeset(later, 1, s.now, owned("b", "y", "v", 1)), changeset(bob, 2, s.now, owned("b", "z", "v", 1)),
	}
	for i, order := range [][]int{{0, 1, 2, 3}, {1, 0, 3, 2}, {2, 3, 0, 1}} {
		st := s.open(record.Node("n" + string(rune('0'+i))))
		for _, j := range order {
			s.apply(st, all[j])
		}
		if diff := cmp.Diff([]store.Row{thing("b", "y", "v", 1)}, s.rows(st, "things")); diff != "" {
			t.Errorf("order %v: rows (-want +got):\n%s", order, diff)
		}
		if fp := s.state(st, bob).Fingerprints[0]; fp != (record.Fingerprint{}) {
			t.Errorf("order %v: fingerprint %v of an evicted writer's owned rows", order, fp)
		}
	}
}
