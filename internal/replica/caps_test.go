package replica

import (
	"fmt"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
)

func connectedCore(cfg Config, peers ...record.Node) *Core {
	c := New(cfg, writer("a/10"), nil, 0, time.Unix(1000, 0))
	for _, p := range peers {
		c.Step(0, Connected{p})
	}
	c.Ready()
	return c
}

func pushOf(w record.Writer, v record.Version) []byte {
	return appendParcel([]byte{kindPush}, delivery(w, record.Range{From: v, To: v}))
}

func TestWritersOfOneNodeAreCapped(t *testing.T) {
	c := connectedCore(Config{Queue: 1 << 30, Share: 1 << 30}, "b", "c")
	for i := range maxNodeWriters + 100 {
		c.Step(0, Arrived{"b", pushOf(record.Writer{Node: "b", Boot: uint64(i + 1), Bits: 1}, 1)})
	}
	if c.book.writers != maxNodeWriters || c.stats.Capped != 100 {
		t.Errorf("%d writers, %d capped", c.book.writers, c.stats.Capped)
	}
	c.Step(0, Arrived{"c", pushOf(record.Writer{Node: "c", Boot: 1, Bits: 1}, 1)})
	if c.book.writers != maxNodeWriters+1 {
		t.Error("one node's writers took the room of another's")
	}
}

func TestGapsOfOneWriterAreCapped(t *testing.T) {
	c := connectedCore(Config{Queue: 1 << 30, Share: 1 << 30}, "b")
	for i := range maxGaps + 100 {
		c.Step(0, Arrived{"b", pushOf(writer("b/1"), record.Version(2*i+2))})
	}
	if e := c.book.find(writer("b/1")); len(e.pending.Gaps) > maxGaps || c.stats.Capped < 99 {
		t.Errorf("%d gaps, %d capped", len(e.pending.Gaps), c.stats.Capped)
	}
	before := c.stats.Taken + uint64(c.queue.waiting())
	c.Step(0, Arrived{"b", pushOf(writer("b/1"), 1)})
	if after := c.stats.Taken + uint64(c.queue.waiting()); after != before+1 {
		t.Error("a version that fills a gap was not taken")
	}
}

// A writer whose deliveries the store does not keep up with delays nobody: it
// has a share of the queue, and the others have their turns.
func TestNoisyWriterDelaysNobody(t *testing.T) {
	c := connectedCore(Config{Queue: 64 << 10, Share: 16 << 10}, "noisy", "quiet")
	for v := range record.Version(1000) {
		c.Step(0, Arrived{"noisy", pushOf(writer("noisy/1"), v+1)})
	}
	if c.stats.QueueDropped == 0 || c.queue.bytes > 16<<10 {
		t.Errorf("%d dropped, %d bytes wait", c.stats.QueueDropped, c.queue.bytes)
	}
	c.Step(0, Arrived{"quiet", pushOf(writer("quiet/1"), 1)})
	batch := c.Ready().Apply
	for i, d := range batch {
		if d.Writer.Node == "quiet" {
			if i > 1 {
				t.Errorf("the quiet writer's turn came after %d of the noisy one's", i)
			}
			return
		}
	}
	t.Errorf("the quiet writer is not among the first %d", len(batch))
}

// What a peer claims is forgotten with the exchange.
func TestClaimsLeaveNoState(t *testing.T) {
	c := connectedCore(Config{}, "b")
	var states []State
	for i := range 1000 {
		states = append(states, State{Writer: record.Writer{Node: "b", Boot: uint64(i + 1), Bits: 1}, Received: record.Received{Head: 1 << 40}})
	}
	now := time.Duration(0)
	wall := time.Unix(1000, 0)
	c.Step(now, Arrived{"b", leavesFrame(true, leavesOf(states))})
	now += differFor
	c.Tick(now, wall)
	c.Step(now, Arrived{"b", setsFrame(Digest{}, states)})
	now += gapAge
	c.Tick(now, wall)
	if c.peers[0].session.phase != fetching {
		t.Fatalf("phase %d: the test shows nothing", c.peers[0].session.phase)
	}
	c.Step(now, Arrived{"b", NewAnswer(Serve{ID: 1, Limit: 1 << 20}).Frames()[0]})
	if c.book.writers != 0 || len(c.peers[0].session.sets) != 0 {
		t.Errorf("%d writers, %d claimed sets kept", c.book.writers, len(c.peers[0].session.sets))
	}
}

// An answer may go over the bytes asked for by one delivery, no more.
func TestAnswerBeyondItsBoundIsCut(t *testing.T) {
	c := connectedCore(Config{Want: 1 << 10, Queue: 1 << 30}, "b")
	now := time.Duration(0)
	states := []State{{Writer: writer("z/1"), Received: record.Received{Head: 1 << 30}}}
	c.Step(now, Arrived{"b", leavesFrame(true, leavesOf(states))})
	now += differFor
	c.Tick(now, time.Unix(1000, 0))
	c.Step(now, Arrived{"b", setsFrame(Digest{}, states)})
	now += gapAge
	c.Tick(now, time.Unix(1000, 0))
	for i := range 300 {
		a := NewAnswer(Serve{ID: 1, Limit: 1 << 20})
		for v := range record.Version(400) {
			g := record.Version(1<<30) - record.Version(i*400) - v
			a.Add(delivery(writer("z/1"), record.Range{From: g, To: g}))
		}
		f := a.Frames()[0]
		f[answerHead-2], f[answerHead-1] = byte(i), 0
		c.Step(now, Arrived{"b", f})
	}
	if got := c.queue.bytes; got > 2*(MaxFrame+(1<<10))*4 || c.stats.Unasked == 0 {
		t.Errorf("%d bytes were taken of an answer that never ends, %d frames not asked for", got, c.stats.Unasked)
	}
}

func TestBatchesAreBounded(t *testing.T) {
	c := connectedCore(Config{}, "b")
	for v := range record.Version(3 * batchCount) {
		c.Step(0, Arrived{"b", pushOf(writer("b/1"), v+1)})
	}
	if n := len(c.Ready().Apply); n != batchCount {
		t.Errorf("a batch of %d", n)
	}
	if c.Ready().Apply != nil {
		t.Error("two batches are out")
	}
}

func TestKnownVersionsAreDroppedBeforeDecoding(t *testing.T) {
	c := connectedCore(Config{}, "b")
	c.Step(0, Committed{[]Entry{{States: []State{{Writer: writer("b/1"), Received: record.Received{Head: 100}}}}}})
	frame := pushOf(writer("b/1"), 7)
	allocs := testing.AllocsPerRun(100, func() { c.Step(0, Arrived{"b", frame}) })
	if allocs > 4 {
		t.Errorf("%v allocations to drop a known version", allocs)
	}
}

func BenchmarkArrivedPush(b *testing.B) {
	for _, known := range []bool{false, true} {
		b.Run(fmt.Sprint("known=", known), func(b *testing.B) {
			c := connectedCore(Config{Queue: 1 << 40, Share: 1 << 40}, "b")
			b.ReportAllocs()
			v := record.Version(0)
			frame := pushOf(writer("b/1"), 1)
			if known {
				c.Step(0, Committed{[]Entry{{States: []State{{Writer: writer("b/1"), Received: record.Received{Head: 100}}}}}})
			}
			for b.Loop() {
				if v++; !known {
					frame = pushOf(writer("b/1"), v)
				}
				c.Step(0, Arrived{"b", frame})
			}
		})
	}
}
