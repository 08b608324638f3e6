package replica

import (
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// Passes decides when a node may close its earlier writers: once it has taken
// everything from every known node, in two passes, all of the first before the
// second, and each node under one start throughout both. One pass is not
// enough: what a node holds may reach, between two answers, one that has
// answered already, and be lost where it came from. Whoever stays up keeps
// what it has, so what hides from the first pass is met in the second.
//
// The zero value has taken nothing.
type Passes struct {
	second bool
	took   [2]map[record.Node]Start // of each pass
}

// Start is one start of a node.
type Start struct {
	Boot, Bits uint64
}

// Took notes that everything which a node had, when it was asked in this pass,
// is received here. If it has started anew since the first pass, that is to be
// done again for it, and the second for all.
func (p *Passes) Took(n record.Node, s Start) {
	if p.second && p.took[0][n] != s {
		p.second, p.took[1] = false, nil
	}
	i := 0
	if p.second {
		i = 1
	}
	if p.took[i] == nil {
		p.took[i] = map[record.Node]Start{}
	}
	p.took[i][n] = s
}

// Missing lists those of the known nodes of which this pass lacks the word, in
// the order given. Nobody is missing once both passes are done. A node that
// comes to be known during the second takes that back to the first.
func (p *Passes) Missing(known []record.Node) []record.Node {
	lacking := func(i int) []record.Node {
		return slices.DeleteFunc(slices.Clone(known), func(n record.Node) bool { _, ok := p.took[i][n]; return ok })
	}
	if first := lacking(0); len(first) > 0 {
		p.second, p.took[1] = false, nil
		return first
	}
	p.second = true
	return lacking(1)
}

// Second reports whether the first pass is done.
func (p *Passes) Second() bool { return p.second }
