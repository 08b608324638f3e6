package table

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
)

// Frames as earlier versions packed them, with each dictionary there ever was.
// Lines are added, never changed: they must be read for as long as a cluster
// may have such a node.
func TestFramesOfEachDictionaryAreRead(t *testing.T) {
	data, err := os.ReadFile("testdata/packed.json")
	if err != nil {
		t.Fatal(err)
	}
	var corpus []struct {
		Dictionary uint32      `json:"dictionary"`
		Worker     record.Node `json:"worker"`
		Versions   int         `json:"versions"`
		Hex        string      `json:"hex"`
	}
	if err := json.Unmarshal(data, &corpus); err != nil {
		t.Fatal(err)
	}
	packing, err := replica.NewPacking(Dictionaries()...)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint32]bool{}
	for _, x := range corpus {
		frame, err := hex.DecodeString(x.Hex)
		if err != nil {
			t.Fatal(err)
		}
		c := replica.New(replica.Config{Packing: packing}, record.Writer{Node: "a", Boot: 10, Bits: 1}, nil, 0, time.Unix(2_000_000_000, 0))
		c.Step(0, replica.Connected{Peer: x.Worker})
		c.Step(0, replica.Arrived{From: x.Worker, Frame: frame})
		got := c.Ready().Apply
		if len(got) != x.Versions {
			t.Errorf("dictionary %d: %d versions, want %d: %+v", x.Dictionary, len(got), x.Versions, c.Stats())
		}
		for _, d := range got {
			for _, r := range d.Changesets[0].Records {
				if err := r.Check(); err != nil || r.Table != byName(t, Machines).ID {
					t.Errorf("dictionary %d: %v of table %v: %v", x.Dictionary, r.Key, r.Table, err)
				}
			}
		}
		seen[x.Dictionary] = true
	}
	for _, d := range Dictionaries() {
		if !seen[d.Number] {
			t.Errorf("no frame is packed with dictionary %d", d.Number)
		}
	}
}
