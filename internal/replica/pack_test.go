package replica

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/firebreak-dev/firebreak/internal/record"
)

func packing(t testing.TB, ds ...Dictionary) *Packing {
	t.Helper()
	p, err := NewPacking(ds...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// rows is a push of n versions of w that look alike.
func rows(w record.Writer, n int) []byte {
	b := []byte{kindPush}
	for v := range record.Version(n) {
		key, _ := record.EncodeKey(record.Of(string(w.Node)), record.Of(fmt.Sprint("machine-", v)))
		cells := record.EncodeCells([]record.Cell{{Column: 1, Value: record.Of(fmt.Sprintf("a row like the others, number %d", v))}})
		b = appendParcel(b, record.Pushed(record.Changeset{Writer: w, Version: v + 1, Records: []record.Record{{Table: 1, Kind: record.Owned, Key: key, Cells: cells}}}))
	}
	return b
}

func TestPackedFramesAreSmallerAndTheSame(t *testing.T) {
	plain := rows(writer("b/1"), 10)
	p := packing(t, Dictionary{1, rows(writer("x/1"), 1)})
	for _, packed := range [][]byte{p.Push(plain), p.Answer(plain)} {
		got, err := p.unpack(packed)
		if n := p.Deliveries(packed); n != 10 || p.Deliveries(plain) != 10 {
			t.Errorf("it carries %d deliveries", n)
		}
		if err != nil || !bytes.Equal(got, plain) || len(packed) > len(plain)/2 {
			t.Errorf("%d bytes packed to %d, equal %v, %v", len(plain), len(packed), bytes.Equal(got, plain), err)
		}
	}
	if len(p.Push(plain)) >= len(p.Answer(plain)) {
		t.Error("the dictionary saves nothing")
	}
	small, big := rootFrame(Digest{}), make([]byte, maxUnpacked+1)
	if !bytes.Equal(p.Push(small), small) || len(p.Push(big)) != len(big) {
		t.Error("frames were packed that are too small or too large for it")
	}
	var none *Packing
	if !bytes.Equal(none.Push(plain), plain) {
		t.Error("no packing packs")
	}
}

// What a core cannot read for lack of a dictionary is counted and comes by
// sync; answers need none.
func TestUnknownDictionaryIsNoFault(t *testing.T) {
	newer := packing(t, Dictionary{1, rows(writer("x/1"), 1)}, Dictionary{2, rows(writer("y/1"), 2)})
	c := connectedCore(Config{Packing: packing(t, Dictionary{1, rows(writer("x/1"), 1)})}, "b")
	c.Step(0, Arrived{"b", newer.Push(rows(writer("b/1"), 3))})
	if c.stats.Unknown != 1 || c.stats.Malformed != 0 || c.Ready().Apply != nil {
		t.Errorf("%+v", c.stats)
	}
	if _, err := c.cfg.Packing.unpack(newer.Answer(rows(writer("b/1"), 3))); err != nil {
		t.Errorf("an answer: %v", err)
	}
}

func TestPackedPushIsTaken(t *testing.T) {
	p := packing(t)
	c := connectedCore(Config{Packing: p}, "b")
	c.Step(0, Arrived{"b", p.Push(rows(writer("b/1"), 3))})
	if got := c.Ready().Apply; len(got) != 3 || c.stats.Malformed > 0 {
		t.Errorf("%d deliveries, %+v", len(got), c.stats)
	}
}

// Whatever a packed frame claims to hold costs no more than two frames.
func TestBombsCostBoundedMemory(t *testing.T) {
	if testing.CoverMode() != "" {
		t.Skip("coverage counts as memory")
	}
	p := packing(t)
	p.Push(rows(writer("b/1"), 3)) // what the first use costs is no frame's
	bomb := func(size int, fcs bool) []byte {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(false), zstd.WithSingleSegment(fcs))
		if err != nil {
			t.Fatal(err)
		}
		body := make([]byte, size)
		body[0] = kindPush
		out := e.EncodeAll(body, nil)[len(magic)-1:]
		out[0] = kindPacked
		return out
	}
	claims := bomb(1000, true)
	for i := 2; i < 4; i++ {
		claims[i] = 0xff // the size, not what follows
	}
	for name, frame := range map[string][]byte{
		"of the cap": bomb(maxUnpacked, true), "over the cap": bomb(maxUnpacked+1, true), "of 100 MiB": bomb(100<<20, true),
		"of 100 MiB without a size": bomb(100<<20, false), "that claims more than it has": claims,
	} {
		c := connectedCore(Config{Packing: p}, "b")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c.Step(0, Arrived{"b", frame})
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 2*MaxFrame {
			t.Errorf("a bomb %s, of %d bytes, made %d be allocated", name, len(frame), used)
		}
		if c.stats.Malformed != 1 {
			t.Errorf("a bomb %s is not malformed: %+v", name, c.stats)
		}
	}
}

func TestPackedFramesCutAnywhereAreMalformed(t *testing.T) {
	p := packing(t, Dictionary{1, rows(writer("x/1"), 1)})
	whole := p.Push(rows(writer("b/1"), 5))
	for n := 1; n < len(whole); n++ {
		if _, err := p.unpack(whole[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes are a frame", n, len(whole))
		}
	}
	nested := append([]byte{kindPacked}, bytes.Repeat([]byte{7}, 200)...)
	if _, err := p.unpack(pack(p.without, nested)); err == nil {
		t.Error("a packed frame in a packed frame was taken")
	}
}

func FuzzUnpack(f *testing.F) {
	p := packing(f, Dictionary{1, rows(writer("x/1"), 1)})
	f.Add(p.Push(rows(writer("b/1"), 5)))
	f.Add(p.Answer(rows(writer("b/1"), 5)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		if out, err := p.unpack(b); err == nil && (len(out) == 0 || len(out) > maxUnpacked) {
			t.Fatalf("%d bytes", len(out))
		}
	})
}

// misbehave has b do something wrong n times and reports whether it was dropped.
func misbehave(t *testing.T, c *Core, n int, every time.Duration, frame []byte) bool {
	t.Helper()
	for i := range n {
		c.Step(time.Duration(i)*every, Arrived{"b", frame})
		for _, d := range c.Ready().Drops {
			if d.Peer != "b" || d.Err == nil {
				t.Errorf("dropped %q: %v", d.Peer, d.Err)
			}
			return true
		}
	}
	return false
}

func TestPeersThatGoOnBreakingTheProtocolAreDropped(t *testing.T) {
	for name, x := range map[string]struct {
		n     int
		frame []byte
	}{
		"malformed frames":     {20, []byte{kindRoot, 1}},
		"pushes of others":     {20, pushOf(writer("z/1"), 1)},
		"answers nobody asked": {200, NewAnswer(Serve{ID: 9, Limit: 1}).Frames()[0]},
		"unknown kinds":        {20_000, []byte{0xee}},
	} {
		c := connectedCore(Config{}, "b", "d")
		if !misbehave(t, c, x.n, 0, x.frame) {
			t.Errorf("%d %s: not dropped", x.n, name)
			continue
		}
		if c.Step(0, Arrived{"b", x.frame}); len(c.Ready().Reports) > 0 {
			t.Errorf("%s: its frames are still looked at", name)
		}
		c.Step(0, Connected{"b"})
		c.Step(0, Arrived{"b", pushOf(writer("b/1"), 1)})
		if len(c.Ready().Apply) != 1 {
			t.Errorf("%s: it may not come back", name)
		}
	}
}

func TestWhatHappensNowAndThenIsForgiven(t *testing.T) {
	for name, x := range map[string]struct {
		every time.Duration
		frame []byte
	}{
		"a malformed frame":                    {15 * time.Second, []byte{kindRoot, 1}},
		"frames of a newer version":            {20 * time.Millisecond, []byte{0xee}},
		"an answer that comes too late":        {2 * time.Second, NewAnswer(Serve{ID: 9, Limit: 1}).Frames()[0]},
		"a boot far ahead of a wrong clock":    {0, pushOf(record.Writer{Node: "b", Boot: 1 << 63, Bits: 1}, 1)},
		"frames packed as this version cannot": {0, packing(t).Push(rows(writer("b/1"), 3))},
	} {
		if misbehave(t, connectedCore(Config{}, "b"), 2000, x.every, x.frame) {
			t.Errorf("%s every %v: dropped", name, x.every)
		}
	}
}

// Unknown kinds cost a count, whatever their number.
func TestUnknownKindsCostLittle(t *testing.T) {
	c := connectedCore(Config{}, "b")
	frame := append([]byte{0xee}, make([]byte, 1000)...)
	misbehave(t, c, 20_000, 0, frame)
	allocs := testing.AllocsPerRun(1000, func() { c.Step(0, Arrived{"b", frame}) })
	if allocs > 0 {
		t.Errorf("%v allocations for a frame of a peer that is being dropped", allocs)
	}
	if c.stats.Unknown > 20_000 {
		t.Errorf("%d unknown", c.stats.Unknown)
	}
}
