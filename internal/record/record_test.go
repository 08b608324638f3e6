package record_test

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
)

func anyValue() *rapid.Generator[record.Value] {
	return rapid.Custom(func(t *rapid.T) record.Value {
		switch rapid.IntRange(0, 4).Draw(t, "type") {
		case 1:
			return record.Of(rapid.Int64().Draw(t, "int"))
		case 2:
			return record.Of(rapid.Float64().Draw(t, "real"))
		case 3:
			return record.Of(string(rapid.SliceOf(rapid.Byte()).Draw(t, "text")))
		case 4:
			return record.Of(append([]byte{}, rapid.SliceOf(rapid.Byte()).Draw(t, "blob")...))
		}
		return record.Value{}
	})
}

func keyValue() *rapid.Generator[record.Value] {
	return anyValue().Filter(func(v record.Value) bool { return v.Type != record.Null && v.Type != record.Real })
}

func TestValueRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyValue().Draw(t, "v")
		got, rest, err := record.ReadValue(append(record.AppendValue(nil, v), 9, 9))
		if err != nil || !got.Equal(v) || len(rest) != 2 {
			t.Fatalf("%v came back as %v, %d bytes left, %v", v, got, len(rest), err)
		}
	})
}

// The encoding of keys must sort as SQLite sorts the columns: by type, then
// numbers by value and bytes as memcmp, a shorter prefix first.
func TestKeysSortAsTheirColumns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(keyValue(), 1, 3).Draw(t, "a")
		b := rapid.SliceOfN(keyValue(), len(a), len(a)).Draw(t, "b")
		ka, errA := record.EncodeKey(a...)
		kb, errB := record.EncodeKey(b...)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if want, got := slices.CompareFunc(a, b, compareValues), strings.Compare(string(ka), string(kb)); got != want {
			t.Fatalf("%v against %v: keys compare %d, columns %d", a, b, got, want)
		}
		back, err := ka.Columns()
		if err != nil || !slices.EqualFunc(back, a, record.Value.Equal) {
			t.Fatalf("%v came back as %v, %v", a, back, err)
		}
	})
}

func compareValues(a, b record.Value) int {
	if a.Type != b.Type {
		return cmp.Compare(a.Type, b.Type)
	}
	if a.Type == record.Integer {
		return cmp.Compare(a.Int, b.Int)
	}
	return strings.Compare(a.Data, b.Data)
}

func TestKeyRefusesNullAndReal(t *testing.T) {
	for _, v := range []record.Value{{}, record.Of(1.0), record.Of(math.Inf(1))} {
		if _, err := record.EncodeKey(record.Of("a"), v); err == nil {
			t.Errorf("%v was taken into a key", v)
		}
	}
}

// versions is a naive received set.
type versions map[record.Version]bool

func (s versions) received() record.Received {
	r := record.Received{}
	for v := range s {
		r = r.With(record.Range{From: v, To: v})
	}
	return r
}

func drawVersions(t *rapid.T, name string) versions {
	s := versions{}
	for _, v := range rapid.SliceOfN(rapid.Uint64Range(1, 40), 0, 30).Draw(t, name) {
		s[record.Version(v)] = true
	}
	return s
}

func TestReceivedSetIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawVersions(t, "a"), drawVersions(t, "b")
		ra, rb := a.received(), b.received()
		g := record.Range{From: record.Version(rapid.Uint64Range(1, 45).Draw(t, "from"))}
		g.To = g.From + record.Version(rapid.Uint64Range(0, 10).Draw(t, "len"))
		with, union := ra.With(g), ra.Union(rb)
		missing := map[record.Version]bool{}
		for _, m := range ra.Missing(g) {
			for v := m.From; v <= m.To; v++ {
				missing[v] = true
			}
		}
		lacks := map[record.Version]bool{}
		for _, m := range ra.Minus(rb) {
			for v := m.From; v <= m.To; v++ {
				lacks[v] = true
			}
		}
		for v := record.Version(0); v < 60; v++ {
			in := v >= g.From && v <= g.To
			switch {
			case ra.Has(v) != a[v]:
				t.Fatalf("%v has %d: %v", ra, v, ra.Has(v))
			case with.Has(v) != (a[v] || in):
				t.Fatalf("%v with %v has %d: %v", ra, g, v, with.Has(v))
			case union.Has(v) != (a[v] || b[v]):
				t.Fatalf("%v and %v have %d: %v", ra, rb, v, union.Has(v))
			case missing[v] != (in && !a[v]):
				t.Fatalf("%v misses %d of %v: %v", ra, v, g, missing[v])
			case lacks[v] != (b[v] && !a[v]):
				t.Fatalf("%v lacks %d of %v: %v", ra, v, rb, lacks[v])
			}
		}
		back, rest, err := record.ReadReceived(record.AppendReceived(nil, ra))
		if err != nil || len(rest) > 0 || !back.Equal(ra) {
			t.Fatalf("%v came back as %v, %v", ra, back, err)
		}
	})
}

// A request without an end asks up to the last version there is.
func TestReceivedSetsReachTheLastVersion(t *testing.T) {
	last := ^record.Version(0)
	all := record.Received{}.With(record.Range{From: 2, To: last})
	for g, want := range map[record.Range][]record.Range{
		{From: 2, To: 3}:       nil,
		{From: 1, To: 3}:       {{From: 1, To: 1}},
		{From: last, To: last}: nil,
	} {
		if got := all.Missing(g); !slices.Equal(got, want) {
			t.Errorf("%v misses %v of %v, want %v", all, got, g, want)
		}
	}
	if got := all.With(record.Range{From: 7, To: 9}); !got.Equal(all) {
		t.Errorf("%v with what it has is %v", all, got)
	}
}

func drawRecord(t *rapid.T) (record.Record, record.Point) {
	w := record.Writer{Node: record.Node(rapid.SampledFrom([]string{"a", "b", "ab"}).Draw(t, "node")),
		Boot: rapid.Uint64Range(1, 3).Draw(t, "boot"), Bits: rapid.Uint64Range(1, 2).Draw(t, "bits")}
	key, _ := record.EncodeKey(record.Of(string(w.Node)), record.Of("x"))
	r := record.Record{Table: 1, Kind: rapid.SampledFrom(record.Kinds[:]).Draw(t, "kind"), Key: key}
	switch r.Kind {
	case record.Shared:
		r.Order = record.StampOrder(hlc.Timestamp(rapid.Uint64Range(1, 3).Draw(t, "stamp")))
	case record.Ranked:
		k, _ := record.EncodeKey(record.Of(rapid.Int64Range(-1, 1).Draw(t, "num")))
		r.Order = string(k)
	}
	r.Cells = record.EncodeCells([]record.Cell{{Column: 1, Value: anyValue().Draw(t, "cell")}})
	return r, record.Point{Writer: w, Version: record.Version(rapid.Uint64Range(1, 3).Draw(t, "version"))}
}

// naiveWins is the rule of ranks written as a chain of comparisons.
func naiveWins(a record.Record, pa record.Point, b record.Record, pb record.Point) bool {
	var as, bs []any
	switch a.Kind {
	case record.Owned:
		as = []any{pa.Writer.Boot, pa.Writer.Bits, uint64(pa.Version)}
		bs = []any{pb.Writer.Boot, pb.Writer.Bits, uint64(pb.Version)}
	case record.Shared:
		as = []any{uint64(a.Stamp()), string(pa.Writer.Node), pa.Writer.Boot, pa.Writer.Bits}
		bs = []any{uint64(b.Stamp()), string(pb.Writer.Node), pb.Writer.Boot, pb.Writer.Bits}
	case record.Ranked:
		ca, _ := record.Key(a.Order).Columns()
		cb, _ := record.Key(b.Order).Columns()
		as = []any{uint64(ca[0].Int + 10), string(pa.Writer.Node), pa.Writer.Boot, pa.Writer.Bits, uint64(pa.Version)}
		bs = []any{uint64(cb[0].Int + 10), string(pb.Writer.Node), pb.Writer.Boot, pb.Writer.Bits, uint64(pb.Version)}
	}
	for i := range as {
		switch x := as[i].(type) {
		case uint64:
			if y := bs[i].(uint64); x != y {
				return x > y
			}
		case string:
			if y := bs[i].(string); x != y {
				return x > y
			}
		}
	}
	return false
}

func TestMergeIsTheNaiveRuleInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type offered struct {
			r record.Record
			p record.Point
		}
		var all []offered
		kind := rapid.SampledFrom(record.Kinds[:]).Draw(t, "kind")
		for range rapid.IntRange(1, 8).Draw(t, "n") {
			r, p := drawRecord(t)
			if r.Kind == kind {
				all = append(all, offered{r, p})
			}
		}
		merge := func(in []offered) record.Rank {
			var held record.Rank
			for _, o := range in {
				if rank := o.r.Rank(o.p); record.Wins(rank, held) {
					held = rank
				}
			}
			return held
		}
		want := merge(all)
		for _, a := range all {
			for _, b := range all {
				if got, naive := record.Wins(a.r.Rank(a.p), b.r.Rank(b.p)), naiveWins(a.r, a.p, b.r, b.p); got != naive {
					t.Fatalf("%v %v against %v %v: wins %v, naive %v", a.r.Order, a.p, b.r.Order, b.p, got, naive)
				}
			}
		}
		shuffled := rapid.Permutation(append(slices.Clone(all), all...)).Draw(t, "order")
		if got := merge(shuffled); got != want {
			t.Fatalf("another order, with duplicates, gives another winner")
		}
	})
}

func TestFingerprintForgetsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hashes := rapid.SliceOf(rapid.Custom(func(t *rapid.T) record.Hash {
			return record.Hash(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "h"))
		})).Draw(t, "hashes")
		var sum record.Fingerprint
		for _, h := range hashes {
			sum = sum.Add(h)
		}
		for _, h := range rapid.Permutation(hashes).Draw(t, "order") {
			sum = sum.Sub(h)
		}
		if sum != (record.Fingerprint{}) {
			t.Fatalf("what was added and taken out leaves %v", sum)
		}
	})
}

func TestWriterRoundTrips(t *testing.T) {
	w := record.Writer{Node: "w-1", Boot: 1764000000, Bits: 1}
	if got, err := record.ParseWriter(w.String()); err != nil || got != w {
		t.Errorf("%v came back as %v, %v", w, got, err)
	}
	for _, s := range []string{"", "w", "w/1", "w/x/0000000000000001", "w/1/1", "w/-1/0000000000000001", "w/1/zz00000000000001"} {
		if got, err := record.ParseWriter(s); err == nil {
			t.Errorf("%q was read as %v", s, got)
		}
	}
}

func FuzzReadDelivery(f *testing.F) {
	w := record.Writer{Node: "w1", Boot: 5, Bits: 9}
	key, _ := record.EncodeKey(record.Of("w1"), record.Of("x"))
	f.Add(record.AppendDelivery(nil, record.Delivery{Writer: w, Range: record.Range{From: 1, To: 3}, Changesets: []record.Changeset{
		{Writer: w, Version: 2, Wall: -1, Records: []record.Record{{Table: 1, Kind: record.Owned, Key: key}}}}}))
	f.Add(record.AppendDelivery(nil, record.Pushed(record.Changeset{Writer: w, Version: 2, Records: []record.Record{
		{Table: 1, Kind: record.Owned, Key: key, Stub: &record.Stub{Hash: record.Hash{1}, Reason: "constraint"}}}})))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, rest, err := record.ReadDelivery(b)
		if err != nil {
			return
		}
		if again := record.AppendDelivery(nil, d); !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Errorf("read %x, wrote %x", b[:len(b)-len(rest)], again)
		}
		for _, c := range d.Changesets {
			if c.Version < d.Range.From || c.Version > d.Range.To {
				t.Errorf("version %d outside %v", c.Version, d.Range)
			}
			for _, r := range c.Records {
				_ = r.Check() // must not panic
			}
		}
	})
}

func FuzzReadReceived(f *testing.F) {
	f.Add(record.AppendReceived(nil, record.Received{Head: 300, Gaps: []record.Range{{From: 1, To: 2}, {From: 10, To: 200}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, rest, err := record.ReadReceived(b)
		if err != nil {
			return
		}
		if again := record.AppendReceived(nil, r); !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Errorf("read %x as %v, wrote %x", b, r, again)
		}
		if len(r.Gaps) < 100 { // the set must be in its one form
			var norm record.Received
			for _, g := range r.Ranges() {
				norm = norm.With(g)
			}
			if !norm.Equal(r) && len(r.Ranges()) > 0 {
				t.Errorf("%v is not in its one form %v", r, norm)
			}
		}
	})
}

func FuzzKey(f *testing.F) {
	k, _ := record.EncodeKey(record.Of("a\x00b"), record.Of(-1), record.Of([]byte{0}))
	f.Add(string(k))
	f.Fuzz(func(t *testing.T, s string) {
		cols, err := record.Key(s).Columns()
		if err != nil {
			return
		}
		if again, err := record.EncodeKey(cols...); err != nil || string(again) != s {
			t.Errorf("%x read as %v, wrote %x, %v", s, cols, again, err)
		}
	})
}

func FuzzDecodeCells(f *testing.F) {
	f.Add(record.EncodeCells([]record.Cell{{Column: 1, Value: record.Of(1.5)}, {Column: 2, Value: record.Of("x")}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		cells, err := record.DecodeCells(b)
		if err != nil {
			return
		}
		if again := record.EncodeCells(cells); !bytes.Equal(again, b) {
			t.Errorf("read %x as %v, wrote %x", b, cells, again)
		}
	})
}
