package replica

import "time"

// random is SplitMix64: small, seeded, and the same on every machine.
//
// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
// Generators", OOPSLA 2014.
type random uint64

func (r *random) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number from 0 to n-1.
func (r *random) below(n int) int { return int(r.next() % uint64(n)) }

// jitter returns a duration from half of d to one and a half.
func (r *random) jitter(d time.Duration) time.Duration {
	return d/2 + time.Duration(r.below(int(d)+1))
}
