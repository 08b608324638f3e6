package replica

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// A survey asks a peer what it has received. The question carries the asker's
// leaves, the reply only the states of nodes whose leaf is another: count and
// names of these nodes, then their states.

// Question returns the question of a node that has received states, which are
// ordered by writer.
func Question(states []State) []byte {
	leaves := leavesOf(states)
	b := binary.AppendUvarint(nil, uint64(len(leaves)))
	for _, l := range leaves {
		b = l.digest.Append(appendNode(b, l.node))
	}
	return b
}

// Reply answers a question for a node that has received states, which are
// ordered by writer.
func Reply(question []byte, states []State) ([]byte, error) {
	r := reader{b: question}
	theirs := make(map[record.Node]Digest)
	for range r.count(maxNodes, 18) {
		n := r.node()
		theirs[n] = r.digest()
	}
	if r.err != nil {
		return nil, fmt.Errorf("survey question: %w", r.err)
	}
	var nodes []record.Node
	var out []State
	for _, l := range leavesOf(states) {
		if theirs[l.node] != l.digest {
			nodes = append(nodes, l.node)
			out = append(out, of(states, l.node)...)
		}
		delete(theirs, l.node)
	}
	// What is left is of nodes that are unknown here.
	nodes = append(nodes, sortedNodes(theirs)...)
	b := binary.AppendUvarint(nil, uint64(len(nodes)))
	for _, n := range nodes {
		b = appendNode(b, n)
	}
	if b = AppendStates(b, out); len(b) > MaxFrame-64 {
		return nil, fmt.Errorf("survey reply of %d bytes is over the cap of a frame", len(b))
	}
	return b, nil
}

// ReadReply returns what the peer has received. States are those that the
// question was made of.
func ReadReply(reply []byte, states []State) (map[record.Writer]record.Received, error) {
	r := reader{b: reply}
	n := r.count(2*maxNodes, 2)
	differ := make(map[record.Node]bool, n)
	for range n {
		differ[r.node()] = true
	}
	theirs := r.states()
	if r.err != nil {
		return nil, fmt.Errorf("survey reply: %w", r.err)
	}
	sets := make(map[record.Writer]record.Received, len(states))
	for _, s := range states {
		if !differ[s.Writer.Node] {
			sets[s.Writer] = s.Received
		}
	}
	for _, s := range theirs {
		sets[s.Writer] = s.Received
	}
	return sets, nil
}

func leavesOf(states []State) []nodeLeaf {
	var out []nodeLeaf
	for i := 0; i < len(states); {
		j := i
		for j < len(states) && states[j].Writer.Node == states[i].Writer.Node {
			j++
		}
		if d := RootOf(states[i:j]); d != (Digest{}) {
			out = append(out, nodeLeaf{states[i].Writer.Node, d})
		}
		i = j
	}
	return out
}

func sortedNodes(m map[record.Node]Digest) []record.Node { return slices.Sorted(maps.Keys(m)) }
