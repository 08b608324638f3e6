package replica

import (
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// frames decodes an answer: the versions of each frame, in order.
func frames(t *testing.T, a *Answer) (out [][]record.Range) {
	t.Helper()
	all := a.Frames()
	for i, f := range all {
		r := reader{b: f[1:]}
		if id, number, last := r.fixed(), r.byte(), r.byte(); id != 5 || int(number) != i || (last == 1) != (i == len(all)-1) {
			t.Errorf("frame %d of %d: id %d, number %d, last %d", i, len(all), id, number, last)
		}
		var versions []record.Range
		for _, p := range r.parcels() {
			if _, err := p.decode(&r); err != nil {
				t.Errorf("frame %d: %v", i, err)
			}
			versions = append(versions, p.rang)
		}
		if r.err != nil || len(f) > MaxFrame {
			t.Errorf("frame %d of %d bytes: %v", i, len(f), r.err)
		}
		out = append(out, versions)
	}
	return out
}

func sized(v record.Version, bytes int) record.Changeset {
	cs := changeset(writer("b/1"), v)
	cs.Records[0].Cells = record.EncodeCells([]record.Cell{{Column: 1, Value: record.Of(strings.Repeat("x", min(bytes, 60<<10)))}})
	for len(cs.Records)*60<<10 < bytes {
		cs.Records = append(cs.Records, cs.Records[0])
	}
	return cs
}

func TestAnswerIsSplitNewestFirst(t *testing.T) {
	a := NewAnswer(Serve{ID: 5, Limit: 1 << 20})
	d := record.Delivery{Writer: writer("b/1"), Range: record.Range{From: 1, To: 20}}
	for v := record.Version(2); v <= 20; v += 2 {
		d.Changesets = append(d.Changesets, sized(v, 20<<10))
	}
	a.Add(d)
	next := record.Version(20)
	all := frames(t, a)
	for _, f := range all {
		for _, g := range f {
			if g.To != next {
				t.Errorf("%v comes where %d is due", g, next)
			}
			next = g.From - 1
		}
	}
	if next != 0 || len(all) < 4 {
		t.Errorf("%d frames, down to %d", len(all), next+1)
	}
}

func TestLargeChangesetIsAnAnswerByItself(t *testing.T) {
	a := NewAnswer(Serve{ID: 5, Limit: 4 << 20})
	large := record.Delivery{Writer: writer("b/1"), Range: record.Range{From: 1, To: 9}, Changesets: []record.Changeset{sized(3, 10), sized(5, 500<<10), sized(7, 10)}}
	a.Add(large)
	if got := frames(t, a); len(got) != 1 || len(got[0]) != 1 || got[0][0].From <= 5 || a.Room() > 0 {
		t.Errorf("before the large one: %v, room %d", got, a.Room())
	}
	a = NewAnswer(Serve{ID: 5, Limit: 4 << 20})
	large.Range.To, large.Changesets = 5, large.Changesets[:2]
	a.Add(large)
	if got := frames(t, a); len(got) != 1 || len(got[0]) != 1 || got[0][0] != (record.Range{From: 5, To: 5}) {
		t.Errorf("the large one: %v", got)
	}
}
