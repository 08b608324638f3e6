package record_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
)

func TestStubTravelsAndSumsLikeItsRecord(t *testing.T) {
	h := record.NewHasher("acme", "region/iad")
	w := record.Writer{Node: "b", Boot: 1, Bits: 2}
	key, err := record.EncodeKey(record.Of("b"), record.Of("x"))
	if err != nil {
		t.Fatal(err)
	}
	whole := record.Record{Table: 1, Kind: record.Owned, Key: key, Cells: record.EncodeCells([]record.Cell{{Column: 5, Value: record.Of("v")}})}
	at := record.Point{Writer: w, Version: 3}
	stub := whole
	stub.Cells, stub.Stub = nil, &record.Stub{Hash: h.Hash(whole, at), Reason: "constraint"}
	if h.Hash(stub, at) != h.Hash(whole, at) || stub.Rank(at) != whole.Rank(at) {
		t.Error("a stub hashes or ranks unlike its record")
	}
	sent := record.Pushed(record.Changeset{Writer: w, Version: 3, Wall: 1, Records: []record.Record{stub, whole}})
	got, rest, err := record.ReadDelivery(record.AppendDelivery(nil, sent))
	if err != nil || len(rest) > 0 {
		t.Fatalf("%v, %d bytes left", err, len(rest))
	}
	if diff := cmp.Diff(sent, got); diff != "" {
		t.Errorf("over the wire (-sent +got):\n%s", diff)
	}
	for _, bad := range []record.Record{
		{Table: 1, Kind: record.Owned, Key: key, Cells: whole.Cells, Stub: stub.Stub},
		{Table: 1, Kind: record.Owned, Key: key, Stub: &record.Stub{}},
		{Table: 1, Kind: record.Owned, Key: key, Stub: &record.Stub{Reason: strings.Repeat("x", 33)}},
	} {
		if bad.Check() == nil {
			t.Errorf("accepted %+v", bad)
		}
	}
}
