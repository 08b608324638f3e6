package replica

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// Reading a frame takes at most twice the largest frame, whatever is in it.
func TestHostileFramesCostBoundedMemory(t *testing.T) {
	if testing.CoverMode() != "" {
		t.Skip("coverage counts as memory")
	}
	for name, frame := range hostileFrames() {
		if len(frame) > MaxFrame {
			t.Fatalf("%s: %d bytes", name, len(frame))
		}
		c := expecting(frame)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c.Step(differFor, Arrived{"b", frame})
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 2*MaxFrame {
			t.Errorf("%s: a frame of %d bytes made %d be allocated", name, len(frame), used)
		}
	}
}

// expecting is a core that takes a frame for what it waits for.
func expecting(frame []byte) *Core {
	c := New(Config{Seed: 1}, writer("a/10"), []State{{Writer: writer("c/3"), Received: record.Received{Head: 4}}}, 0, time.Unix(1000, 0))
	c.Step(0, Connected{"b"})
	c.Ready()
	s := &c.peer("b").session
	s.id, s.due, s.end = 5, time.Minute, time.Minute
	switch frame[0] {
	case kindSets:
		s.phase = asking
		for i := range hostileNodes {
			s.leaves = append(s.leaves, nodeLeaf{node: nodeName(i), digest: Digest{Lo: 1}})
		}
	case kindAnswer:
		s.phase, s.room, s.asked = fetching, MaxFrame, []Want{{writer("z/1"), []record.Range{{From: 1, To: ^record.Version(0)}}}}
	case kindListing:
		s.phase = fetching
	case kindSurveyed:
		c.closing.surveys = []survey{{node: "b", id: 5, until: time.Minute}}
	}
	return c
}

const hostileNodes = 100

func nodeName(i int) record.Node { return record.Node(fmt.Sprintf("n%02d", i%hostileNodes)) }

// hostileFrames are as full of small things as their kind allows.
func hostileFrames() map[string][]byte {
	out := map[string][]byte{}
	for kind := kindPush; kind <= kindSurveyed; kind++ {
		for _, fill := range []byte{0, 1, 0x7f, 0xff} {
			b := bytes.Repeat([]byte{fill}, MaxFrame)
			b[0] = byte(kind)
			out[fmt.Sprintf("kind %#x filled with %#x", kind, fill)] = b
		}
	}
	id := func(kind byte) []byte { return binary.BigEndian.AppendUint64([]byte{kind}, 5) }
	states := hostileStates()
	sets := appendStates(nil, states)
	out["sets of many writers"] = append(Digest{}.Append([]byte{kindSets}), sets...)
	out["surveyed of many writers"] = append(append(id(kindSurveyed), make([]byte, 17)...), sets...)
	out["push of many records"] = appendParcel([]byte{kindPush}, tiny(writer("b/1"), 1, 1000))
	many := tiny(writer("z/1"), 60_000, 1)
	out["answer of many changesets"] = appendParcel(append(id(kindAnswer), 0, 1), many)
	var inline []byte
	for v := range record.Version(1500) {
		inline = appendParcel(inline, moved(tiny(writer("b/1"), 1, 1), v+1))
	}
	out["push of many deliveries"] = append([]byte{kindPush}, inline...)
	out["listing of many changesets"] = NewPage(5, 0, Page{Listed: many.Changesets, Rest: many.Changesets[:20_000]})
	end := &End{Mode: CatchUp}
	for _, s := range states[:25_000] {
		end.Writers = append(end.Writers, Floors{Writer: s.Writer, Received: record.Received{Head: 1}})
		end.Takes = append(end.Takes, record.Closed{Writer: s.Writer, Received: record.Received{Head: 1}})
	}
	out["listing of many writers"] = NewPage(5, 0, Page{End: end})
	most := &End{Mode: CatchUp}
	for i := range MaxWriters {
		most.Writers = append(most.Writers, Floors{Writer: record.Writer{Node: nodeName(i), Boot: uint64(i + 1)}})
	}
	out["listing of the most writers"] = NewPage(5, 0, Page{End: most})
	return out
}

// hostileStates are as many as fit into a frame, with as many gaps as may be.
func hostileStates() (out []State) {
	for i := range 25_000 {
		s := State{Writer: record.Writer{Node: nodeName(i), Boot: uint64(i + 1), Bits: 1}, Received: record.Received{Head: 9}}
		if i < record.MaxGaps/4 {
			s.Received.Gaps = []record.Range{{From: 1, To: 1}, {From: 3, To: 3}, {From: 5, To: 5}}
		}
		out = append(out, s)
	}
	return out
}

// tiny is a delivery of changesets with some of the smallest records each.
func tiny(w record.Writer, changesets, records int) record.Delivery {
	key, _ := record.EncodeKey(record.Of(""))
	all := make([]record.Record, records)
	for i := range all {
		all[i] = record.Record{Table: 1, Kind: record.Owned, Key: key}
	}
	d := record.Delivery{Writer: w, Range: record.Range{From: 1, To: record.Version(changesets)}}
	for v := range record.Version(changesets) {
		d.Changesets = append(d.Changesets, record.Changeset{Writer: w, Version: v + 1, Records: all})
	}
	return d
}

// moved returns a delivery of one version as that of another.
func moved(d record.Delivery, v record.Version) record.Delivery {
	d.Range = record.Range{From: v, To: v}
	d.Changesets[0].Version = v
	return d
}

func TestMemoryOfDecodedThingsIsCountedRight(t *testing.T) {
	for name, x := range map[string]struct {
		of    any
		count uintptr
	}{
		"leaf": {nodeLeaf{}, leafMemory}, "gap": {record.Range{}, gapMemory}, "state": {State{}, stateMemory}, "want": {Want{}, wantMemory},
		"parcel": {parcel{}, parcelMemory}, "changeset": {record.Changeset{}, csMemory}, "floors": {Floors{}, floorsMemory},
		"closed": {record.Closed{}, closedMemory}, "boots": {Boots{}, bootsMemory},
	} {
		if size := reflect.TypeOf(x.of).Size(); size != x.count {
			t.Errorf("a %s takes %d bytes, counted as %d", name, size, x.count)
		}
	}
}
