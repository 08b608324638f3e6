package replica

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"runtime"
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
	return append(out, vector{"survey reply", "w1 to one who has nothing", hex.EncodeToString(reply)})
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

// A frame may cost a few times its bytes while it is read, and no more,
// whatever it claims to hold.
func TestHostileFramesCostBoundedMemory(t *testing.T) {
	if testing.CoverMode() != "" {
		t.Skip("coverage counts as memory")
	}
	big := make([]byte, MaxFrame)
	for i := range big {
		big[i] = 1
	}
	for _, kind := range []byte{kindPush, kindRoot, kindLeaves, kindAsk, kindSets, kindWant, kindAnswer} {
		for _, fill := range []byte{0, 1, 0x7f, 0xff} {
			c := busy()
			for i := range big {
				big[i] = fill
			}
			big[0] = kind
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			c.Step(differFor, Arrived{"b", big})
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 2*MaxFrame {
				t.Errorf("kind %#x filled with %#x: %d bytes allocated", kind, fill, used)
			}
		}
	}
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
