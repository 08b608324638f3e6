package replica

import (
	"encoding/binary"
	"errors"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// appendBoots appends the number of nodes and of each: node, closed, evicted
// and complete boot. Nodes of whom nothing is over are left out.
func appendBoots(b []byte, boots []Boots) []byte {
	n := 0
	for _, x := range boots {
		if x.over() > 0 {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	for _, x := range boots {
		if x.over() > 0 {
			b = appendNode(b, x.Node)
			b = binary.AppendUvarint(b, x.Closed)
			b = binary.AppendUvarint(b, x.Evicted)
			b = binary.AppendUvarint(b, x.Complete)
		}
	}
	return b
}

// trailBoots appends boots at the end of a frame, nothing if there are none.
func trailBoots(b []byte, boots []Boots) []byte {
	for _, x := range boots {
		if x.over() > 0 {
			return appendBoots(b, boots)
		}
	}
	return b
}

// boots reads what appendBoots wrote. A peer of an earlier version wrote none.
func (r *reader) boots() []Boots {
	if r.err != nil || len(r.b) == 0 {
		return nil
	}
	n := r.count(2*maxNodes, 5, bootsMemory)
	out := make([]Boots, 0, n)
	for range n {
		x := Boots{Node: r.node(), Closed: r.number(), Evicted: r.number(), Complete: r.number()}
		if x.Complete > x.Closed {
			r.fail(errors.New("complete above what is closed"))
		}
		if r.err != nil {
			return nil
		}
		out = append(out, x)
	}
	return out
}

// bootsOf returns those of a node among some.
func bootsOf(all []Boots, n record.Node) Boots {
	for _, b := range all {
		if b.Node == n {
			return b
		}
	}
	return Boots{Node: n}
}
