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
// names of these nodes, then their states and boots.

// Question returns the question, and what this node has received as it is
// asked.
func (c *Core) Question() ([]byte, map[record.Writer]record.Received) {
	leaves := c.book.nodeLeaves()
	b := binary.AppendUvarint(nil, uint64(len(leaves)))
	for _, l := range leaves {
		b = l.digest.Append(appendNode(b, l.node))
	}
	return b, c.Sets()
}

// Sets returns what this node has received, by writer.
func (c *Core) Sets() map[record.Writer]record.Received {
	sets := make(map[record.Writer]record.Received, c.book.writers)
	for _, l := range c.book.leaves {
		for _, s := range l.states() {
			sets[s.Writer] = s.Received
		}
	}
	return sets
}

// Reply answers a peer's question.
func (c *Core) Reply(question []byte) ([]byte, error) { return c.reply(question, "") }

// reply answers a question. Of the writers of coming it tells what waits for
// the store too.
func (c *Core) reply(question []byte, coming record.Node) ([]byte, error) {
	r := reader{b: question}
	n := r.count(maxNodes, 18, 2*leafMemory)
	theirs := make(map[record.Node]Digest, n)
	for range n {
		node := r.node()
		theirs[node] = r.digest()
	}
	if r.err != nil {
		return nil, fmt.Errorf("survey question: %w", r.err)
	}
	var nodes []record.Node
	var states []State
	var boots []Boots
	for _, l := range c.book.leaves {
		waits := l.node == coming && slices.ContainsFunc(l.writers, func(e *entry) bool { return e.pending.Head > 0 })
		if l.digest == (Digest{}) && !waits {
			continue
		}
		if theirs[l.node] != l.digest || waits {
			nodes = append(nodes, l.node)
			states = append(states, l.statesWith(waits)...)
			boots = append(boots, l.boots)
		}
		delete(theirs, l.node)
	}
	nodes = append(nodes, slices.Sorted(maps.Keys(theirs))...) // those of whom nothing was received here
	b := binary.AppendUvarint(nil, uint64(len(nodes)))
	for _, n := range nodes {
		b = appendNode(b, n)
	}
	if b = trailBoots(appendStates(b, states), boots); len(b) > MaxFrame-64 {
		return nil, fmt.Errorf("survey reply of %d bytes is over the cap of a frame", len(b))
	}
	return b, nil
}

// reply reads what Reply wrote.
func (r *reader) reply() (differ map[record.Node]bool, states []State, boots []Boots) {
	n := r.count(2*maxNodes, 2, leafMemory)
	differ = make(map[record.Node]bool, n)
	for range n {
		differ[r.node()] = true
	}
	return differ, r.states(), r.boots()
}

// ReadReply returns what the peer has received. Mine are the sets that came
// with the question; they are returned as they are if the peer has the same.
func ReadReply(reply []byte, mine map[record.Writer]record.Received) (map[record.Writer]record.Received, error) {
	r := reader{b: reply}
	differ, theirs, _ := r.reply()
	if r.err != nil {
		return nil, fmt.Errorf("survey reply: %w", r.err)
	}
	if len(differ) == 0 {
		return mine, nil
	}
	sets := maps.Clone(mine)
	maps.DeleteFunc(sets, func(w record.Writer, _ record.Received) bool { return differ[w.Node] })
	for _, s := range theirs {
		sets[s.Writer] = s.Received
	}
	return sets, nil
}
