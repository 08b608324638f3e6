package record

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestClosedListComesBackAsWritten(t *testing.T) {
	w := func(boot, bits uint64) Writer { return Writer{Node: "a", Boot: boot, Bits: bits} }
	list := []Closed{
		{w(11, 1), Received{Head: 4}},
		{w(11, 2), Received{}},
		{w(19, 1), Received{Head: 9, Gaps: []Range{{2, 3}, {6, 6}}}},
	}
	b := AppendClosed(nil, 10, list)
	got, err := ReadClosed(b, "a", 10, 19)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(list, got); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	for i := range b {
		if _, err := ReadClosed(b[:i], "a", 10, 19); err == nil {
			t.Errorf("a list cut at byte %d of %d is taken", i, len(b))
		}
	}
	for name, up := range map[string]uint64{"a writer above the closing": 18} {
		if _, err := ReadClosed(b, "a", 10, up); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	swapped := AppendClosed(nil, 10, []Closed{list[1], list[0]})
	if _, err := ReadClosed(swapped, "a", 10, 19); err == nil {
		t.Error("writers out of order are taken")
	}
	if _, err := ReadClosed(AppendClosed(nil, 10, []Closed{{Writer: w(10, 1)}}), "a", 10, 19); err == nil {
		t.Error("a writer at the base is taken")
	}
}

func FuzzReadClosed(f *testing.F) {
	f.Add(AppendClosed(nil, 10, []Closed{{Writer{"a", 12, 3}, Received{Head: 3, Gaps: []Range{{1, 1}}}}}))
	f.Add([]byte{0xff, 0xff, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := ReadClosed(b, "a", 10, 1<<40)
		if err != nil {
			return
		}
		again, err := ReadClosed(AppendClosed(nil, 10, list), "a", 10, 1<<40)
		if err != nil || !cmp.Equal(list, again) {
			t.Errorf("%v came back as %v, %v", list, again, err)
		}
	})
}
