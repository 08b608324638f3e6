package sqlite

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

var lines = []line{
	{writer: 1, at: record.Point{Version: 7}},
	{writer: 300, at: record.Point{Version: 1 << 60}, writers: []int64{300, 2}, changes: []store.Change{
		{Table: "machines", Key: "a"}, {Table: "machines", Key: "b"}, {Table: "notes", Key: "\x00"}, {Table: "machines", Key: "c"},
	}},
}

func TestFeedLinesComeBackFromDisk(t *testing.T) {
	var b []byte
	for _, l := range lines {
		b = appendLine(b, l)
	}
	r := lineReader{b: string(b)}
	var got []line
	for range lines {
		got = append(got, r.line())
	}
	if r.err != nil || r.b != "" {
		t.Fatalf("%d bytes left: %v", len(r.b), r.err)
	}
	if diff := cmp.Diff(lines, got, cmp.AllowUnexported(line{})); diff != "" {
		t.Error(diff)
	}
}

// FuzzLine reads anything without a panic and without more memory than it is
// given; what it takes for a line reads alike when it is written again.
func FuzzLine(f *testing.F) {
	for _, l := range lines {
		f.Add(string(appendLine(nil, l)))
	}
	f.Fuzz(func(t *testing.T, data string) {
		r := lineReader{b: data}
		l := r.line()
		if r.err != nil {
			return
		}
		again := lineReader{b: string(appendLine(nil, l))}
		if diff := cmp.Diff(l, again.line(), cmp.AllowUnexported(line{})); diff != "" || again.err != nil {
			t.Error(again.err, diff)
		}
	})
}
