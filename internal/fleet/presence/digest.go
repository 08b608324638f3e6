package presence

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/bits"

	"github.com/zeebo/blake3"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// DigestAlgorithm names the digest that this package makes: the sum mod 2^128
// of a keyed BLAKE3 hash (its first 16 bytes, big endian) per app name whose
// class is not 0, and of one over gateways, locality and schema hash. The key
// is SHA-256 of "firebreak digest 1", fleet and region, each with a zero byte
// after it. Classes, stamps and withdrawn records are not in it.
const DigestAlgorithm = 1

// Digest is such a sum. The zero Digest is that of nothing.
type Digest struct {
	Hi, Lo uint64
}

// Add returns the sum of both.
func (d Digest) Add(o Digest) Digest {
	lo, carry := bits.Add64(d.Lo, o.Lo, 0)
	hi, _ := bits.Add64(d.Hi, o.Hi, carry)
	return Digest{hi, lo}
}

// Sub takes o out of d.
func (d Digest) Sub(o Digest) Digest {
	lo, borrow := bits.Sub64(d.Lo, o.Lo, 0)
	hi, _ := bits.Sub64(d.Hi, o.Hi, borrow)
	return Digest{hi, lo}
}

// Bytes returns the 16 bytes that travel, big endian.
func (d Digest) Bytes() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, d.Hi), d.Lo)
}

// String gives 32 hex digits.
func (d Digest) String() string { return hex.EncodeToString(d.Bytes()) }

// ParseDigest reads what Bytes wrote. Another length is no digest.
func ParseDigest(b []byte) (Digest, bool) {
	if len(b) != 16 {
		return Digest{}, false
	}
	return Digest{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, true
}

// Hasher makes the terms of one region's digest. Not safe for concurrent use.
type Hasher struct {
	h   *blake3.Hasher
	buf []byte
}

// NewHasher returns the hasher of a region of a fleet.
func NewHasher(fleetName string, region fleet.Region) *Hasher {
	key := sha256.Sum256([]byte("firebreak digest 1\x00" + fleetName + "\x00" + string(region) + "\x00"))
	h, err := blake3.NewKeyed(key[:])
	if err != nil {
		panic(err) // the key has the right length
	}
	return &Hasher{h: h}
}

// App returns the term of an app with machines in the region. Its first 64
// bits are also the order in which the brake judges withdrawals.
func (s *Hasher) App(app fleet.App) Digest {
	return s.sum(append(append(s.buf[:0], 'a'), app...))
}

// Region returns the term of what the region says of itself. Name and rank are
// not in it; the order of gateways is.
func (s *Hasher) Region(r Region) Digest {
	b := append(s.buf[:0], 'r')
	b = binary.AppendUvarint(b, uint64(len(r.Gateways)))
	for _, g := range r.Gateways {
		b = appendString(b, string(g.Node))
		b = appendString(b, g.Address)
	}
	b = appendString(b, r.Locality)
	return s.sum(binary.BigEndian.AppendUint64(b, r.SchemaHash))
}

func (s *Hasher) sum(b []byte) Digest {
	s.buf = b
	s.h.Reset()
	_, _ = s.h.Write(b)
	var out [32]byte
	s.h.Sum(out[:0])
	return Digest{binary.BigEndian.Uint64(out[:8]), binary.BigEndian.Uint64(out[8:16])}
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
