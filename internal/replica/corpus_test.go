package replica

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// The corpus holds frames as earlier versions wrote them, some files per
// version of the protocol. Files are added, never changed: what is in them must
// be read for as long as a cluster may have such a node.
func TestFramesOfTheCorpusAreRead(t *testing.T) {
	files, err := filepath.Glob("testdata/corpus/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	seen := map[byte]bool{}
	for _, file := range files {
		for _, v := range vectorsOf(t, file) {
			if read, ok := readings[v.Name]; ok {
				b := frameOf(t, v)
				seen[b[0]] = true
				read.frame(t, filepath.Base(file)+": "+v.Name+" "+v.Of, b)
			}
		}
	}
	for _, kind := range []byte{kindPush, kindRoot, kindLeaves, kindAsk, kindSets, kindWant, kindAnswer, kindListing, kindMore, kindSurvey, kindSurveyed, kindPacked} {
		if !seen[kind] {
			t.Errorf("the corpus has no frame of kind %#x", kind)
		}
	}
}

// Only at the end of an earlier version's fields is a frame whole that is cut:
// anywhere else it costs a count and does nothing.
func TestFramesCutAtAnyByteAreMalformed(t *testing.T) {
	for _, v := range vectorsOf(t, goldenFile) {
		read, ok := readings[v.Name]
		if !ok {
			continue
		}
		b := frameOf(t, v)
		for n := range len(b) {
			c := read.core(nil, b)
			c.Step(time.Second, Arrived{"w1", b[:n:n]})
			if slices.Contains(read.ends, n) {
				continue
			}
			if r := c.Ready(); c.stats.Malformed != 1 || len(r.Apply)+len(r.Serves)+len(r.Sends) > 0 || r.Take != nil {
				t.Errorf("%s %s, cut at byte %d of %d: %d malformed, or it does something", v.Name, v.Of, n, len(b), c.stats.Malformed)
			}
		}
	}
}

func vectorsOf(t *testing.T, file string) (all []vector) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return all
}

func frameOf(t *testing.T, v vector) []byte {
	t.Helper()
	b, err := hex.DecodeString(v.Hex)
	if err != nil || len(b) == 0 {
		t.Fatalf("%s %s: %v", v.Name, v.Of, err)
	}
	return b
}

// reading is what a kind of frame does to a core that waits for it.
type reading struct {
	waits func(*session)          // for it; nil if it comes unasked
	did   func(*Core, Ready) bool // what it is to do
	ends  []int                   // where it is whole too
}

// core waits for frame b.
func (x reading) core(p *Packing, b []byte) *Core {
	c := New(Config{Packing: p}, record.Writer{Node: "a", Boot: 10, Bits: 1}, nil, 0, time.Unix(2_000_000_000, 0))
	c.Step(0, Connected{"w1"})
	c.Ready()
	s := &c.peer("w1").session
	s.id, s.due, s.end = 5, time.Minute, time.Minute
	if x.waits != nil {
		x.waits(s)
	}
	if b[0] == kindListing {
		s.page = int(b[9])
	}
	c.closing.surveys = []survey{{node: "w1", id: 5, until: time.Minute}}
	return c
}

func (x reading) frame(t *testing.T, name string, b []byte) {
	t.Helper()
	c := x.core(packing(t), b)
	c.Step(time.Second, Arrived{"w1", b})
	if c.stats.Malformed > 0 || c.stats.Unknown > 0 || c.stats.Foreign > 0 || c.stats.Unasked > 0 {
		t.Errorf("%s is not read: %+v", name, c.stats)
	}
	if !x.did(c, c.Ready()) {
		t.Errorf("%s does not do what it says", name)
	}
}

// readings are those of the vectors that are whole frames.
var readings = map[string]reading{
	"push":   {did: func(_ *Core, r Ready) bool { return len(r.Apply) == 1 && r.Apply[0].Range.From == 7 }, ends: []int{1}},
	"root":   {did: func(_ *Core, r Ready) bool { return len(r.Sends) == 1 && r.Sends[0].Frame[0] == kindLeaves }},
	"leaves": {did: func(c *Core, _ Ready) bool { return len(c.peer("w1").session.leaves) == 1 }},
	"ask":    {did: func(_ *Core, r Ready) bool { return len(r.Sends) == 1 && r.Sends[0].Frame[0] == kindSets }},
	"sets": {
		waits: func(s *session) { s.phase, s.leaves = asking, []nodeLeaf{{node: "w1"}} },
		did: func(c *Core, _ Ready) bool {
			s := c.peer("w1").session
			return s.phase == settling && len(s.sets) == 1 && s.sets[0].Received.String() == "9 less 3..4"
		},
		ends: []int{89}, // where there were no boots yet
	},
	"want": {did: func(_ *Core, r Ready) bool {
		return len(r.Serves) == 1 && r.Serves[0].ID == 5 && r.Serves[0].Limit == 512<<10 && len(r.Serves[0].Wants)+len(r.Serves[0].Listing.Nodes) == 1
	}, ends: []int{13}}, // where there were no listings yet
	"answer": {
		waits: func(s *session) {
			s.phase, s.room = fetching, MaxFrame
			s.asked = []Want{{record.Writer{Node: "w1", Boot: 1764000000, Bits: 0x0123456789abcdef}, []record.Range{{From: 1, To: 9}}}}
		},
		did:  func(_ *Core, r Ready) bool { return len(r.Apply) == 1 && r.Apply[0].Range.From == 7 },
		ends: []int{11},
	},
	"listing": {
		waits: func(s *session) { s.phase = fetching },
		did: func(_ *Core, r Ready) bool {
			return r.Take != nil && len(r.Take.Page.Listed)+len(r.Take.Page.Rest) == 1
		},
	},
	"more":   {did: func(_ *Core, r Ready) bool { return len(r.Serves) == 1 && r.Serves[0].Page == 1 }},
	"survey": {did: func(_ *Core, r Ready) bool { return len(r.Sends) == 1 && r.Sends[0].Frame[0] == kindSurveyed }},
	"surveyed": {did: func(c *Core, _ Ready) bool {
		s := c.closing.surveys[0]
		return s.answered && s.start == Start{1, 1} && len(s.sets) == 1
	}},
}
