package sim

import (
	"encoding/binary"
	"time"
)

// Trace is a hash over what happened, in order. The zero value is one over
// nothing.
type Trace uint64

// The constants of FNV-1a.
const (
	fnvOffset = 0xcbf29ce484222325
	fnvPrime  = 0x100000001b3
)

// Note adds what happened, when, to whom, with which bytes.
func (t *Trace) Note(at time.Duration, what, who string, b []byte) {
	h := uint64(*t) ^ fnvOffset
	h = number(h, uint64(at))
	h = number(text(h, what), uint64(len(what)))
	h = number(text(h, who), uint64(len(who)))
	for _, c := range b {
		h = (h ^ uint64(c)) * fnvPrime
	}
	*t = Trace(number(h, uint64(len(b))) ^ fnvOffset)
}

func text(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * fnvPrime
	}
	return h
}

func number(h, n uint64) uint64 {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	for _, c := range b {
		h = (h ^ uint64(c)) * fnvPrime
	}
	return h
}
