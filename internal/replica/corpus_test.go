package replica

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// The corpus holds frames as earlier versions wrote them, one file per version
// of the protocol. Files are added, never changed: what is in them must be read
// for as long as a cluster may have such a node.
func TestFramesOfTheCorpusAreRead(t *testing.T) {
	files, err := filepath.Glob("testdata/corpus/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var all []vector
		if err := json.Unmarshal(data, &all); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, v := range all {
			b, err := hex.DecodeString(v.Hex)
			if err != nil {
				t.Fatal(err)
			}
			if name := file + ": " + v.Name + " " + v.Of; frameNames[v.Name] {
				readsFrame(t, name, b)
			}
		}
	}
}

// frameNames are the vectors that are whole frames.
var frameNames = map[string]bool{"push": true, "root": true, "leaves": true, "ask": true, "sets": true, "want": true, "answer": true}

func readsFrame(t *testing.T, name string, b []byte) {
	t.Helper()
	c := New(Config{Packing: packing(t)}, record.Writer{Node: "a", Boot: 10, Bits: 1}, nil, 0, time.Unix(2_000_000_000, 0))
	c.Step(0, Connected{"w1"})
	c.Step(0, Arrived{"w1", b})
	if c.stats.Malformed > 0 || c.stats.Unknown > 0 || c.stats.Foreign > 0 {
		t.Errorf("%s is not read: %+v", name, c.stats)
	}
	if r := c.Ready(); b[0] == kindPush && len(r.Apply) != 1 {
		t.Errorf("%s gives %d deliveries", name, len(r.Apply))
	}
	for n := 1; n < len(b); n++ { // cut at each byte, it costs a count and no more
		c.Step(0, Connected{"w1"})
		c.Step(0, Arrived{"w1", b[:n:n]})
		c.Ready()
	}
}
