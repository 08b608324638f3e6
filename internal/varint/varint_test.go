package varint

import (
	"encoding/binary"
	"math"
	"testing"
)

func TestReaderReadsWhatWasAppended(t *testing.T) {
	b := AppendString(nil, "über")
	b = binary.AppendUvarint(b, math.MaxUint64)
	b = binary.AppendVarint(b, math.MinInt64)
	b = binary.BigEndian.AppendUint64(b, 1<<63)
	b = append(b, 1, 2, 3)
	read := func(b []byte) Reader {
		r := Reader{Rest: b}
		if s := r.String(); r.Err == nil && s != "über" {
			t.Errorf("string %q", s)
		}
		if n := r.Uvarint(); r.Err == nil && n != math.MaxUint64 {
			t.Errorf("unsigned %d", n)
		}
		if n := r.Varint(); r.Err == nil && n != math.MinInt64 {
			t.Errorf("signed %d", n)
		}
		if n := r.Uint64(); r.Err == nil && n != 1<<63 {
			t.Errorf("fixed %d", n)
		}
		if s := string(r.Bytes(3)); r.Err == nil && s != "\x01\x02\x03" {
			t.Errorf("bytes %q", s)
		}
		return r
	}
	if r := read(b); r.Err != nil || len(r.Rest) > 0 {
		t.Errorf("%v, and %d bytes are left", r.Err, len(r.Rest))
	}
	for i := range b {
		if r := read(b[:i]); r.Err == nil {
			t.Errorf("cut at %d: no error", i)
		}
	}
}

// A length beyond what there is costs nothing.
func TestReaderAllocatesNoMoreThanItWasGiven(t *testing.T) {
	b := binary.AppendUvarint(nil, math.MaxUint64)
	if n := testing.AllocsPerRun(100, func() {
		r := Reader{Rest: b}
		if r.String() != "" || r.Err == nil {
			t.Fatal("it read something")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
