package replicatest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// judgeOwned holds each owned row against its last write that was received
// when the faults ended: what is shown is that write, or a later one.
func (h *History) judgeOwned(received map[record.Point]bool) {
	last := map[string]int{}
	for i, wr := range h.writes {
		for _, p := range wr.points {
			if over, _ := h.world.nodes[0].over(p.Writer.Node); p.Writer.Boot <= over {
				continue // its node has closed it: what counted was written again
			}
			if received[p] && !h.weak[p.Writer] {
				last[wr.row] = i
			}
		}
	}
	for _, n := range h.world.nodes {
		shown := n.ownedValues()
		for row, must := range last {
			val, there := shown[row]
			if !slices.ContainsFunc(h.writes[must:], func(wr write) bool {
				return wr.row == row && wr.deleted == !there && wr.val == val
			}) {
				h.fail("%s shows row %q as %d (there: %v), yet %+v was acknowledged and received", n.Name, row, val, there, h.writes[must])
			}
		}
	}
}

func (n *Node) ownedValues() map[string]int {
	out := map[string]int{}
	n.scan(Owned, func(row store.Row) {
		k, err := record.EncodeKey(row[:2]...)
		if err != nil {
			panic(err)
		}
		out[string(k)] = int(row[2].Int)
	})
	return out
}

// judgeNaive merges all received changesets by a second implementation of the
// rule, and holds what every node shows against it.
func (h *History) judgeNaive(received map[record.Point]bool) {
	type standing struct {
		rec record.Record
		at  record.Point
	}
	top := map[string]standing{}
	for _, c := range h.commits {
		if !received[c.Point()] {
			continue
		}
		over, _ := h.world.nodes[0].over(c.Writer.Node)
		for _, r := range c.Records {
			if r.Kind == record.Owned && c.Writer.Boot <= over {
				continue
			}
			k := fmt.Sprintf("%016x %q", uint64(r.Table), r.Key)
			if old, ok := top[k]; !ok || naiveWins(r, c.Point(), old.rec, old.at) {
				top[k] = standing{r, c.Point()}
			}
		}
	}
	// Two kinds of rows may stay or go: one that a closing has not listed counts
	// as received by all who are complete, though only some have it; and one
	// that was overtaken by a write which every disk has lost since.
	lost := map[string]bool{}
	for _, c := range h.commits {
		for _, r := range c.Records {
			k := fmt.Sprintf("%016x %q", uint64(r.Table), r.Key)
			if t, ok := top[k]; ok && !received[c.Point()] && naiveWins(r, c.Point(), t.rec, t.at) {
				lost[k] = true
			}
		}
	}
	var open []string
	var want []string
	for _, t := range h.world.cfg.Tables {
		for _, k := range slices.Sorted(maps.Keys(top)) {
			s := top[k]
			if s.rec.Table != t.ID || s.rec.Deleted {
				continue
			}
			row, _, err := t.Row(s.rec)
			if err != nil {
				h.fail("row of %v: %v", s.at, err)
				return
			}
			if _, complete := h.world.nodes[0].over(s.at.Writer.Node); s.at.Writer.Boot <= complete || lost[k] {
				open = append(open, strings.TrimSuffix(fmt.Sprint(t.Name, " ", store.Row(row[:len(t.Key)])), "]")+" ")
				continue
			}
			want = append(want, fmt.Sprint(t.Name, " ", store.Row(row)))
		}
	}
	slices.Sort(want)
	for _, n := range h.world.nodes {
		got := slices.DeleteFunc(n.Rows(), func(r string) bool {
			return slices.ContainsFunc(open, func(o string) bool { return strings.HasPrefix(r, o) })
		})
		slices.Sort(got)
		if !slices.Equal(want, got) {
			h.fail("%s shows %v, the naive rule gives %v%s", n.Name, got, want, h.world.describe())
		}
	}
}

// naiveWins is the rule as the tables of the design state it, field by field.
func naiveWins(a record.Record, at record.Point, b record.Record, bt record.Point) bool {
	if c := bytes.Compare([]byte(a.Order), []byte(b.Order)); c != 0 {
		return c > 0 // the stamp, or the rank columns; the same for owned rows
	}
	if c := at.Writer.Compare(bt.Writer); c != 0 {
		return c > 0 // node, boot, bits; the node is the same for owned rows
	}
	return at.Version > bt.Version
}
