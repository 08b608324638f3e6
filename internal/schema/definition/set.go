package definition

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// Set is definitions, one per key. The zero Set is empty. Not safe for
// concurrent use.
type Set struct {
	all []Definition // by key
}

func (s *Set) find(k Key) (int, bool) {
	return slices.BinarySearchFunc(s.all, k, func(d Definition, k Key) int { return d.Key().Compare(k) })
}

// Add merges d and reports whether it stands.
func (s *Set) Add(d Definition) bool {
	i, found := s.find(d.Key())
	switch {
	case !found:
		s.all = slices.Insert(s.all, i, d)
	case Wins(d, s.all[i]):
		s.all[i] = d
	default:
		return false
	}
	return true
}

// Get returns the definition of a key.
func (s *Set) Get(k Key) (Definition, bool) {
	if i, found := s.find(k); found {
		return s.all[i], true
	}
	return Definition{}, false
}

// All returns the definitions, by key.
func (s *Set) All() []Definition { return slices.Clone(s.all) }

// With returns a set that has more definitions; s stays as it is.
func (s *Set) With(more ...Definition) *Set {
	out := &Set{all: slices.Clone(s.all)}
	for _, d := range more {
		out.Add(d)
	}
	return out
}

// Hash is equal for sets that are equal.
func (s *Set) Hash() [16]byte {
	var b []byte
	for _, d := range s.all {
		k := d.Key()
		b = append(append(append(append(b, k.What...), 0), k.Name...), 0)
		for _, n := range []uint64{uint64(k.Parent), k.Base, d.Number} {
			b = binary.BigEndian.AppendUint64(b, n)
		}
		b = append(b, d.Low()...)
	}
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}
