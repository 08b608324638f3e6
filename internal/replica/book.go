package replica

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"github.com/zeebo/blake3"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// Digest stands for what was received: the sum mod 2^128 of the hashes of
// writer states and of boots, each the first 128 bits of BLAKE3 over the wire
// form. A leaf sums those of one node, the root all of them. A writer of whom
// nothing was received adds nothing, and of one that its node has closed a
// complete receiver adds only the shared and ranked fingerprints of its live
// rows, so that a digest is a function of received state alone, whoever has
// forgotten what.
type Digest = record.Fingerprint

// Boots is what is known of all writers of a node at once.
type Boots struct {
	Node     record.Node
	Closed   uint64 // by a closing in effect
	Evicted  uint64
	Complete uint64 // up to it every version counts as received
}

// over returns the boot up to which gaps no longer count.
func (b Boots) over() uint64 { return max(b.Closed, b.Evicted) }

// settled reports whether w is closed, and all of it counts as received.
func (b Boots) settled(w record.Writer) bool { return w.Boot <= b.Closed && b.Closed <= b.Complete }

// What a hash is over, in its first byte. Writers have none: they begin with
// the length of a node's name.
const (
	hashBoots   = 0xfe
	hashSettled = 0xff
)

func (b Boots) hash() (record.Hash, bool) {
	if b.over() == 0 {
		return record.Hash{}, false
	}
	out := appendNode([]byte{hashBoots}, b.Node)
	out = binary.BigEndian.AppendUint64(out, b.Closed)
	out = binary.BigEndian.AppendUint64(out, b.Evicted)
	if b.Closed <= b.Complete {
		out = append(out, 1)
	}
	return hashOf(out), true
}

// hash returns what s adds to a digest beside b, if anything.
func (s State) hash(b Boots) (record.Hash, bool) {
	var buf [192]byte
	out := buf[:0]
	prints := s.Fingerprints[:]
	switch {
	case b.settled(s.Writer):
		if prints = prints[1:]; !slices.ContainsFunc(prints, func(f record.Fingerprint) bool { return f != record.Fingerprint{} }) {
			return record.Hash{}, false
		}
		out = record.AppendWriter(append(out, hashSettled), s.Writer)
	case s.Received.Head == 0:
		return record.Hash{}, false
	default:
		out = record.AppendReceived(record.AppendWriter(out, s.Writer), s.Received)
	}
	for _, f := range prints {
		out = f.Append(out)
	}
	return hashOf(out), true
}

func hashOf(b []byte) record.Hash {
	sum := blake3.Sum256(b)
	return record.Hash(sum[:16])
}

// RootOf returns the root over states and boots.
func RootOf(states []State, boots ...Boots) Digest {
	var b book
	b.load(states, boots, 0)
	return b.root
}

func (b *book) load(states []State, boots []Boots, now time.Duration) {
	for _, n := range boots {
		b.setBoots(n, now)
	}
	for _, s := range states {
		b.set(s, now)
	}
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
	boots   Boots
	digest  Digest
	past    past
	writers []*entry // by writer
}

// entry is one writer.
type entry struct {
	State
	hash    record.Hash
	counted bool            // hash is in the leaf
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

func (b *book) makeLeaf(n record.Node) *leaf {
	l := b.byNode[n]
	if l == nil {
		l = &leaf{node: n, boots: Boots{Node: n}}
		if b.byNode == nil {
			b.byNode = map[record.Node]*leaf{}
		}
		b.byNode[n] = l
		i, _ := slices.BinarySearchFunc(b.leaves, n, func(l *leaf, n record.Node) int { return cmp.Compare(l.node, n) })
		b.leaves = slices.Insert(b.leaves, i, l)
	}
	return l
}

// make returns the entry of w, a new one if there is none.
func (b *book) make(w record.Writer) *entry {
	l := b.makeLeaf(w.Node)
	i, ok := l.search(w)
	if !ok {
		l.writers = slices.Insert(l.writers, i, &entry{State: State{Writer: w}})
		b.writers++
	}
	return l.writers[i]
}

// set takes a state from the store.
func (b *book) set(s State, now time.Duration) {
	if s.Received.Head == 0 && s.Fingerprints == (State{}).Fingerprints {
		return
	}
	e := b.make(s.Writer)
	l := b.byNode[s.Writer.Node]
	b.remember(l, now)
	b.count(l, e, false)
	e.State = s
	e.hash, e.counted = s.hash(l.boots)
	b.count(l, e, true)
	e.pending = without(e.pending, e.Received)
}

// setBoots takes a node's boots from the store. What its writers add depends
// on them.
func (b *book) setBoots(n Boots, now time.Duration) {
	l := b.makeLeaf(n.Node)
	b.remember(l, now)
	if h, ok := l.boots.hash(); ok {
		b.root, l.digest = b.root.Sub(h), l.digest.Sub(h)
	}
	l.boots = n
	if h, ok := n.hash(); ok {
		b.root, l.digest = b.root.Add(h), l.digest.Add(h)
	}
	for _, e := range l.writers {
		b.count(l, e, false)
		e.hash, e.counted = e.State.hash(n)
		b.count(l, e, true)
		if e.Writer.Boot <= n.Complete {
			e.pending = record.Received{}
		}
	}
}

func (b *book) remember(l *leaf, now time.Duration) {
	b.roots.add(b.root, now)
	l.past.add(l.digest, now)
}

// count adds what e adds to the digests, or takes it out.
func (b *book) count(l *leaf, e *entry, in bool) {
	switch {
	case !e.counted:
	case in:
		b.root, l.digest = b.root.Add(e.hash), l.digest.Add(e.hash)
	default:
		b.root, l.digest = b.root.Sub(e.hash), l.digest.Sub(e.hash)
	}
}

// forget takes w out of the book.
func (b *book) forget(w record.Writer, now time.Duration) {
	if e := b.find(w); e != nil {
		l := b.byNode[w.Node]
		b.remember(l, now)
		b.count(l, e, false)
		e.State, e.counted = State{Writer: w}, false
		b.drop(w)
	}
}

// state returns what was received of w.
func (b *book) state(w record.Writer) State {
	if e := b.find(w); e != nil {
		return e.State
	}
	return State{Writer: w}
}

// boots returns what is known of a node's writers at once.
func (b *book) boots(n record.Node) Boots {
	if l := b.leaf(n); l != nil {
		return l.boots
	}
	return Boots{Node: n}
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

// covers reports whether all of g was received, or counts as if it was.
func (b *book) covers(w record.Writer, g record.Range) bool {
	l := b.leaf(w.Node)
	if l == nil {
		return false
	}
	if w.Boot <= l.boots.Complete {
		return true
	}
	i, ok := l.search(w)
	return ok && l.writers[i].Received.Covers(g)
}

// has reports whether v was received or is on its way.
func (e *entry) has(v record.Version) bool { return e.Received.Has(v) || e.pending.Has(v) || v == 0 }

func (b *book) gaps() (n int) {
	for _, l := range b.leaves {
		for _, e := range l.writers {
			if e.Writer.Boot <= l.boots.over() {
				continue // they no longer count
			}
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
func (l *leaf) states() []State { return l.statesWith(false) }

// statesWith lists what was received of a node's writers, with what is on its
// way to the store if that counts.
func (l *leaf) statesWith(pending bool) []State {
	var out []State
	for _, e := range l.writers {
		s := e.State
		if pending {
			s.Received = s.Received.Union(e.pending)
		}
		if e.counted || s.Received.Head > e.Received.Head {
			out = append(out, s)
		}
	}
	return out
}

// sameSets reports whether a peer has received of n's writers just what this
// node has: it states theirs, by writer, and its boots.
func (b *book) sameSets(n record.Node, theirs []State, boots Boots) bool {
	mine := b.boots(n)
	if mine.Closed != boots.Closed || mine.Evicted != boots.Evicted || (mine.Closed <= mine.Complete) != (boots.Closed <= boots.Complete) {
		return false
	}
	var own []State
	if l := b.leaf(n); l != nil {
		own = l.states()
	}
	// The peer's may be as many as fit into a frame: they are not copied.
	unsettled := func(states []State) []State {
		for len(states) > 0 && boots.settled(states[0].Writer) {
			states = states[1:]
		}
		return states
	}
	for own, theirs = unsettled(own), unsettled(theirs); len(own) > 0 && len(theirs) > 0; own, theirs = unsettled(own[1:]), unsettled(theirs[1:]) {
		if own[0].Writer != theirs[0].Writer || !own[0].Received.Equal(theirs[0].Received) {
			return false
		}
	}
	return len(own) == len(theirs)
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
	if len(l.writers) == 0 && l.boots == (Boots{Node: l.node}) {
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
