package meshbench

import (
	"testing"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
)

// What counts as rows is what carries some; the rest of the class sync is what
// comparing costs.
func TestTrafficTellsRowsFromComparing(t *testing.T) {
	a := replica.NewAnswer(replica.Serve{ID: 1, Limit: 1 << 20})
	w := record.Writer{Node: "w1", Boot: 5, Bits: 1}
	for v := record.Version(3); v > 0; v-- {
		a.Add(record.Delivery{Writer: w, Range: record.Range{From: v, To: v}})
	}
	answer := a.Frames()[0]
	root := make([]byte, 17)
	root[0] = 2
	var sent traffic
	for _, f := range [][]byte{answer, root, root, {3, 0, 0}} {
		sent.add(mesh.Flow{Class: mesh.Sync}, f, nil)
	}
	got := [5]int64{sent.rows.Load(), sent.rowBytes.Load(), sent.syncs.Load(), sent.bytes.Load(), sent.leaves.Load()}
	if want := [5]int64{3, int64(len(answer)), 3, 37, 1}; got != want {
		t.Errorf("rows, their bytes, exchanges, their bytes, leaves: %v, want %v", got, want)
	}
}
