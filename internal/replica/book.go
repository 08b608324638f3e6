package replica

import (
	"cmp"
	"slices"
	"time"

	"github.com/zeebo/blake3"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// Digest stands for a set of writer states: the sum mod 2^128 of their hashes.
// A state's hash is the first 128 bits of BLAKE3 over the writer, its received
// set and its fingerprints, in wire form. A leaf sums the writers of one node,
// the root all of them. A writer of whom nothing was received adds nothing,
// so that a digest is a function of received state alone.
type Digest = record.Fingerprint

func (s State) hash() record.Hash {
	var buf [192]byte
	b := record.AppendReceived(record.AppendWriter(buf[:0], s.Writer), s.Received)
	for _, f := range s.Fingerprints {
		b = f.Append(b)
	}
	sum := blake3.Sum256(b)
	return record.Hash(sum[:16])
}

// RootOf returns the root over states.
func RootOf(states []State) Digest {
	var d Digest
	for _, s := range states {
		if s.Received.Head > 0 {
			d = d.Add(s.hash())
		}
	}
	return d
}

// book is what this node has received, by node and writer, with the digests
// over it.
type book struct {
	root    Digest
	roots   past
	leaves  []*leaf // by node
	byNode  map[record.Node]*leaf
	writers int
}

// leaf is what was received of the writers of one node.
type leaf struct {
	node    record.Node
	digest  Digest
	past    past
	writers []*entry // by writer
}

// entry is one writer.
type entry struct {
	State
	hash    record.Hash
	pending record.Received // handed to the store, or waiting for it
}

func (b *book) leaf(n record.Node) *leaf { return b.byNode[n] }

func (b *book) find(w record.Writer) *entry {
	l := b.byNode[w.Node]
	if l == nil {
		return nil
	}
	if i, ok := l.search(w); ok {
		return l.writers[i]
	}
	return nil
}

func (l *leaf) search(w record.Writer) (int, bool) {
	if n := len(l.writers); n > 0 && l.writers[n-1].Writer == w {
		return n - 1, true // the newest one, nearly always
	}
	return slices.BinarySearchFunc(l.writers, w, func(e *entry, w record.Writer) int { return e.Writer.Compare(w) })
}

// make returns the entry of w, a new one if there is none.
func (b *book) make(w record.Writer) *entry {
	l := b.byNode[w.Node]
	if l == nil {
		l = &leaf{node: w.Node}
		if b.byNode == nil {
			b.byNode = map[record.Node]*leaf{}
		}
		b.byNode[w.Node] = l
		i, _ := slices.BinarySearchFunc(b.leaves, w.Node, func(l *leaf, n record.Node) int { return cmp.Compare(l.node, n) })
		b.leaves = slices.Insert(b.leaves, i, l)
	}
	i, ok := l.search(w)
	if !ok {
		l.writers = slices.Insert(l.writers, i, &entry{State: State{Writer: w}})
		b.writers++
	}
	return l.writers[i]
}

// set takes a state from the store.
func (b *book) set(s State, now time.Duration) {
	if s.Received.Head == 0 {
		return
	}
	e := b.make(s.Writer)
	l := b.byNode[s.Writer.Node]
	b.roots.add(b.root, now)
	l.past.add(l.digest, now)
	if e.Received.Head > 0 {
		b.root, l.digest = b.root.Sub(e.hash), l.digest.Sub(e.hash)
	}
	e.State, e.hash = s, s.hash()
	b.root, l.digest = b.root.Add(e.hash), l.digest.Add(e.hash)
	e.pending = without(e.pending, e.Received)
}

// room reports whether data of w may be taken without passing a cap.
func (b *book) room(w record.Writer, g record.Range) bool {
	l := b.leaf(w.Node)
	if l == nil {
		return b.writers < MaxWriters
	}
	i, ok := l.search(w)
	if !ok {
		return b.writers < MaxWriters && len(l.writers) < maxNodeWriters
	}
	e := l.writers[i]
	if len(e.Received.Gaps)+len(e.pending.Gaps) < maxGaps {
		return true
	}
	return e.has(g.From-1) || e.has(g.To+1) // then it makes no gap
}

// has reports whether v was received or is on its way.
func (e *entry) has(v record.Version) bool { return e.Received.Has(v) || e.pending.Has(v) || v == 0 }

func (b *book) gaps() (n int) {
	for _, l := range b.leaves {
		for _, e := range l.writers {
			for _, g := range e.Received.Gaps {
				n += int(min(g.Len(), 1<<40))
			}
		}
	}
	return n
}

// isOrWas reports whether d is a node's leaf, or was within rootMemory.
func (b *book) isOrWas(n record.Node, d Digest, now time.Duration) bool {
	l := b.leaf(n)
	if l == nil {
		return d == Digest{}
	}
	return l.digest == d || l.past.has(d, now)
}

// without returns p less r.
func without(p, r record.Received) record.Received {
	if p.Head == 0 || len(r.Gaps) == 0 && r.Head >= p.Head {
		return record.Received{}
	}
	return record.ReceivedOf(r.Minus(p))
}

// past remembers the digests of the last moments.
type past struct {
	seen []passed // by time
}

type passed struct {
	digest Digest
	until  time.Duration // when another took its place
}

const maxPast = 1 << 12

func (p *past) add(d Digest, now time.Duration) {
	drop := max(0, len(p.seen)+1-maxPast)
	for drop < len(p.seen) && p.seen[drop].until+rootMemory < now {
		drop++
	}
	p.seen = append(p.seen[drop:], passed{d, now})
}

func (p *past) has(d Digest, now time.Duration) bool {
	for i := len(p.seen) - 1; i >= 0 && p.seen[i].until+rootMemory >= now; i-- {
		if p.seen[i].digest == d {
			return true
		}
	}
	return false
}

// digest returns the leaf of a node, zero if nothing was received of it.
func (b *book) digest(n record.Node) Digest {
	if l := b.leaf(n); l != nil {
		return l.digest
	}
	return Digest{}
}

// states lists what was received of a node's writers.
func (l *leaf) states() []State {
	var out []State
	for _, e := range l.writers {
		if e.Received.Head > 0 {
			out = append(out, e.State)
		}
	}
	return out
}

// sameSets reports whether theirs, by writer, are just the received sets that
// this node has of n's writers.
func (b *book) sameSets(n record.Node, theirs []State) bool {
	var mine []State
	if l := b.leaf(n); l != nil {
		mine = l.states()
	}
	return slices.EqualFunc(mine, theirs, func(a, b State) bool { return a.Writer == b.Writer && a.Received.Equal(b.Received) })
}

// drop forgets w if nothing of it was received or is on its way.
func (b *book) drop(w record.Writer) {
	l := b.leaf(w.Node)
	if l == nil {
		return
	}
	i, ok := l.search(w)
	if !ok || l.writers[i].Received.Head > 0 || l.writers[i].pending.Head > 0 {
		return
	}
	l.writers = slices.Delete(l.writers, i, i+1)
	b.writers--
	if len(l.writers) == 0 {
		b.leaves = slices.DeleteFunc(b.leaves, func(o *leaf) bool { return o == l })
		delete(b.byNode, w.Node)
	}
}

// minus takes one digest out of a sum.
func minus(sum, d Digest) Digest {
	var h record.Hash
	copy(h[:], d.Append(nil))
	return sum.Sub(h)
}

// nodeLeaves lists the leaves of those of whom something was received.
func (b *book) nodeLeaves() []nodeLeaf {
	out := make([]nodeLeaf, 0, len(b.leaves))
	for _, l := range b.leaves {
		if l.digest != (Digest{}) {
			out = append(out, nodeLeaf{l.node, l.digest})
		}
	}
	return out
}
