package wire_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence/wire"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
)

var rank = presence.Rank{Generation: presence.Generation{Number: 3, Bits: 1 << 63}, Stamp: 1_700_000_000_000, Reporter: "iad-1"}

func TestRecordsSurviveTheWire(t *testing.T) {
	for _, r := range []presence.Record{
		{Region: "iad", App: "web", Class: 5, Rank: rank},
		{Region: "iad", App: "web", Since: 1_600_000_000_000, Rank: rank},
	} {
		var m globalv1.Presence
		reread(t, wire.Presence(r), &m)
		if diff := cmp.Diff(r, wire.ToPresence(r.Region, &m)); diff != "" {
			t.Error(diff)
		}
	}
	r := presence.Region{Name: "iad", Locality: "us", SchemaHash: 9, Gateways: []presence.Gateway{{Node: "iad-1", Address: "[::1]:80"}}, Rank: rank}
	var m globalv1.RegionRecord
	reread(t, wire.Region(r), &m)
	if diff := cmp.Diff(r, wire.ToRegion(&m)); diff != "" {
		t.Error(diff)
	}
}

func TestAClassBeyondAllStaysBad(t *testing.T) {
	r := wire.ToPresence("iad", &globalv1.Presence{App: "web", Class: 1 << 20, Stamp: 1, Reporter: "n", Generation: wire.Generation(rank.Generation)})
	if r.Check() == nil {
		t.Errorf("class 1<<20 became %d and passed", r.Class)
	}
}

func TestAnEmptyMessageIsNoRecord(t *testing.T) {
	if wire.ToPresence("iad", nil).Check() == nil || wire.ToRegion(nil).Check() == nil {
		t.Error("a missing message passed")
	}
}

func reread(t *testing.T, from, to proto.Message) {
	t.Helper()
	b, err := proto.Marshal(from)
	if err == nil {
		err = proto.Unmarshal(b, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}
