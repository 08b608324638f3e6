package replica

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
)

const goldenFile = "testdata/frames.json"

// vector is one line of the golden file.
type vector struct {
	Name string `json:"name"`
	Of   string `json:"of"`
	Hex  string `json:"hex"`
}

func golden() []vector {
	w := record.Writer{Node: "w1", Boot: 1764000000, Bits: 0x0123456789abcdef}
	st := State{Writer: w, Received: record.Received{Head: 9, Gaps: []record.Range{{From: 3, To: 4}}}}
	for i := range st.Fingerprints {
		st.Fingerprints[i] = record.Fingerprint{Hi: uint64(i + 1), Lo: 0xff}
	}
	hash, _ := st.hash(Boots{})
	core := New(Config{}, writer("a/1"), []State{st}, 0, time.Unix(0, 0))
	question, _ := core.Question()
	d := delivery(w, record.Range{From: 7, To: 7})
	answer := NewAnswer(Serve{ID: 5, Limit: 1 << 20})
	answer.Add(d)
	out := []vector{
		{"state hash", "w1 at 9 less 3..4", hex.EncodeToString(hash[:])},
		{"push", "version 7 of w1", hex.EncodeToString(appendParcel([]byte{kindPush}, d))},
		{"root", "of w1", hex.EncodeToString(rootFrame(RootOf([]State{st})))},
		{"leaves", "of w1", hex.EncodeToString(leavesFrame(false, leavesOf([]State{st})))},
		{"ask", "w1 and w2", hex.EncodeToString(askFrame([]record.Node{"w1", "w2"}))},
		{"sets", "of w1, nothing beside", hex.EncodeToString(setsFrame(Digest{}, []State{st}))},
		{"want", "id 5, 512 KiB: w1 from 10 on and 3..4", hex.EncodeToString(wantFrame(5, 512<<10, []Want{{w, []record.Range{{From: 10, To: ^record.Version(0)}, {From: 3, To: 4}}}}))},
		{"answer", "id 5, frame 0, the last: version 7 of w1", hex.EncodeToString(answer.Frames()[0])},
		{"survey question", "of w1", hex.EncodeToString(question)},
	}
	reply, err := core.Reply([]byte{0})
	if err != nil {
		panic(err)
	}
	out = append(out, vector{"survey reply", "w1 to one who has nothing", hex.EncodeToString(reply)})
	return append(out, goldenListings(core)...)
}

// goldenListings are the frames that listings and closings use. The core has
// received of w1.
func goldenListings(core *Core) []vector {
	w := core.book.leaves[0].writers[0].Writer
	st := core.book.leaves[0].states()[0]
	boots := []Boots{{Node: "w1", Closed: 1763000000, Evicted: 1762000000, Complete: 1763000000}}
	row := delivery(w, record.Range{From: 7, To: 7}).Changesets
	end := &End{
		Mode: CatchUp, Scopes: []Scope{{Kind: record.Owned, Node: "w1"}, {Kind: record.Shared}}, Boots: boots,
		Writers: []Floors{{Writer: w, Received: st.Received, Floors: [3]record.Version{2, 0, 1}}},
		Takes:   []record.Closed{{Writer: w, Received: record.Received{Head: 2}}},
	}
	survey, _ := core.Question()
	survey = append(binary.BigEndian.AppendUint64([]byte{kindSurvey}, 5), survey...)
	core.Step(0, Connected{"b"})
	core.Ready()
	core.Step(0, Arrived{"b", append(binary.BigEndian.AppendUint64([]byte{kindSurvey}, 5), 0)})
	surveyed := core.Ready().Sends[0].Frame
	return []vector{
		{"sets", "of w1, closed, evicted and complete up to some boots", hex.EncodeToString(trailBoots(setsFrame(Digest{}, []State{st}), boots))},
		{"want", "id 5, 512 KiB: a listing that catches up with w1", hex.EncodeToString(appendListingWant(wantFrame(5, 512<<10, nil), ListingWant{CatchUp, []record.Node{"w1"}}))},
		{"listing", "id 5, page 0: version 7 of w1", hex.EncodeToString(NewPage(5, 0, Page{Listed: row}))},
		{"listing", "id 5, page 1, the last: version 7 of w1 beside", hex.EncodeToString(NewPage(5, 1, Page{Rest: row, End: end}))},
		{"more", "id 5, page 1", hex.EncodeToString(moreFrame(5, 1))},
		{"survey", "id 5: of w1", hex.EncodeToString(survey)},
		{"surveyed", "id 5, by a/1: w1 to one who has nothing", hex.EncodeToString(surveyed)},
	}
}

func TestFramesAreTheGoldenOnes(t *testing.T) {
	got := golden()
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
		t.Errorf("other versions depend on these bytes (-golden +now):\n%s", diff)
	}
}

// busy is a core in the middle of an exchange with b, so that frames of every
// kind find something to act on.
func busy() *Core {
	c := New(Config{Seed: 1}, writer("a/10"), []State{{Writer: writer("c/3"), Received: record.Received{Head: 4}}}, 0, time.Unix(1000, 0))
	c.Step(0, Connected{"b"})
	c.Step(0, Connected{"d"})
	c.Step(0, Arrived{"b", leavesFrame(true, []nodeLeaf{{"c", Digest{Lo: 1}}, {"w1", Digest{Lo: 2}}})})
	c.Tick(differFor, time.Unix(1001, 0))
	return c
}

func FuzzArrived(f *testing.F) {
	for _, v := range golden()[1:] {
		b, err := hex.DecodeString(v.Hex)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := busy()
		now := differFor
		for range 3 {
			c.Step(now, Arrived{"b", b})
			if r := c.Ready(); r.Apply != nil {
				for _, d := range r.Apply {
					if d.Writer.Node != "b" {
						t.Fatalf("took %v from b, unasked", d.Writer)
					}
				}
				c.Step(now, Applied{make([]Outcome, len(r.Apply))})
			}
			now += gapAge
			c.Tick(now, time.Unix(1002, 0))
		}
		if c.book.writers > 1+MaxWriters {
			t.Fatalf("%d writers", c.book.writers)
		}
		if len(b) > 0 { // and to one that waits for such a frame
			c = expecting(b)
			c.Step(now, Arrived{"b", b})
			c.Ready()
			c.Tick(2*time.Minute, time.Unix(1100, 0))
		}
	})
}

func FuzzSurvey(f *testing.F) {
	core := busy()
	question, sets := core.Question()
	f.Add(question)
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if reply, err := core.Reply(b); err == nil {
			if _, err := ReadReply(reply, sets); err != nil {
				t.Fatalf("own reply: %v", err)
			}
		}
		_, _ = ReadReply(b, sets)
	})
}

func TestWireReferenceQuotesTheGoldenBytes(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{goldenFile, "../record/testdata/golden.json"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var all []vector
		if err := json.Unmarshal(data, &all); err != nil {
			t.Fatal(err)
		}
		for _, v := range all {
			if !strings.Contains(string(page), "`"+v.Hex+"`") {
				t.Errorf("docs/reference/wire.md lacks the %s of %s: %s", v.Name, v.Of, v.Hex)
			}
		}
	}
}
