package record_test

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"math"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
)

var rewrite = flag.Bool("rewrite", false, "rewrite testdata/golden.json")

const goldenFile = "testdata/golden.json"

// vector is one line of the golden file.
type vector struct {
	Name string `json:"name"`
	Of   string `json:"of"`
	Hex  string `json:"hex"`
}

// vectors computes every encoding that must never change by accident.
func vectors(t *testing.T) []vector {
	t.Helper()
	var out []vector
	add := func(name, of string, b []byte) { out = append(out, vector{name, of, hex.EncodeToString(b)}) }
	for _, v := range []record.Value{
		{}, record.Of(0), record.Of(-1), record.Of(math.MaxInt64), record.Of(1.5), record.Of(math.Copysign(0, -1)),
		record.Of(""), record.Of("a\x00b"), record.Of([]byte{}), record.Of([]byte{0, 255}),
	} {
		add("value", v.String(), record.AppendValue(nil, v))
	}
	for _, cols := range [][]record.Value{
		{record.Of("w1"), record.Of("m-1")}, {record.Of(-1)}, {record.Of(1)}, {record.Of("a\x00b")}, {record.Of([]byte{0})},
	} {
		k, err := record.EncodeKey(cols...)
		if err != nil {
			t.Fatal(err)
		}
		name := ""
		for _, c := range cols {
			name += c.String() + " "
		}
		add("key", name, []byte(k))
	}
	table := record.NewTableID("things", record.Owned, []record.KeyColumn{{Name: "worker", Type: "TEXT"}, {Name: "id", Type: "TEXT"}}, 0)
	column := record.NewColumnID(table, "app", "TEXT", record.Of("none"), false, 0)
	add("table id", "things owned (worker TEXT, id TEXT) number 0", u64(uint64(table)))
	add("column id", "app TEXT default 'none' number 0", u64(uint64(column)))
	add("column id", "app TEXT default (random()) number 2", u64(uint64(record.NewColumnID(table, "app", "TEXT", record.Of("random()"), true, 2))))

	w := record.Writer{Node: "w1", Boot: 1764000000, Bits: 0x0123456789abcdef}
	at := record.Point{Writer: w, Version: 7}
	key, _ := record.EncodeKey(record.Of("w1"), record.Of("m-1"))
	order, _ := record.EncodeKey(record.Of(3))
	cells := record.EncodeCells([]record.Cell{{Column: column, Value: record.Of("web")}, {Column: 1, Value: record.Of(80)}})
	add("cells", "column 1 = 80, app = 'web'", cells)
	owned := record.Record{Table: table, Kind: record.Owned, Key: key, Cells: cells}
	shared := record.Record{Table: 2, Kind: record.Shared, Key: key, Order: record.StampOrder(hlc.Timestamp(1764000000123<<16 | 5)), Cells: cells}
	ranked := record.Record{Table: 3, Kind: record.Ranked, Key: key, Order: string(order), Cells: cells}
	dead := record.Record{Table: table, Kind: record.Owned, Key: key, Deleted: true}
	hasher := record.NewHasher("acme", "region/iad")
	for _, r := range []struct {
		name string
		rec  record.Record
	}{{"owned", owned}, {"shared at 1764000000123.5", shared}, {"ranked by 3", ranked}, {"tombstone", dead}} {
		add("rank", r.name+" "+at.String(), []byte(r.rec.Rank(at)))
		h := hasher.Hash(r.rec, at)
		add("content hash", r.name+" in acme region/iad", h[:])
	}
	add("writer", w.String(), record.AppendWriter(nil, w))
	for _, r := range []record.Received{{}, {Head: 9}, {Head: 300, Gaps: []record.Range{{From: 1, To: 2}, {From: 10, To: 200}}}} {
		add("received set", r.String(), record.AppendReceived(nil, r))
	}
	add("delivery", "versions 6..8 of w1, records in 7", record.AppendDelivery(nil, record.Delivery{Writer: w, Range: record.Range{From: 6, To: 8},
		Changesets: []record.Changeset{{Writer: w, Version: 7, Wall: 1764000000123, Records: []record.Record{owned, shared, ranked, dead}}}}))
	return out
}

func u64(v uint64) []byte {
	b := make([]byte, 8)
	for i := range b {
		b[i] = byte(v >> (56 - 8*i))
	}
	return b
}

func TestBytesAreTheGoldenOnes(t *testing.T) {
	got := vectors(t)
	if *rewrite {
		data, err := json.MarshalIndent(got, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenFile, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	var want []vector
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stored data and other versions depend on these bytes (-golden +now):\n%s", diff)
	}
}
