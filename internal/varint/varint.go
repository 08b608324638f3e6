// Package varint reads and writes the small files and positions that are made
// of varints and strings.
package varint

import (
	"encoding/binary"
	"errors"
)

// AppendString appends a string behind its length.
func AppendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errShort = errors.New("truncated")

// Reader reads what was appended. After the first error it returns zero values,
// and it allocates no more than it was given.
type Reader struct {
	Rest []byte
	Err  error
}

// Fail makes everything that follows fail, if nothing has failed before.
func (r *Reader) Fail(err error) {
	if r.Err == nil {
		r.Err = err
	}
}

// Uvarint reads an unsigned integer.
func (r *Reader) Uvarint() uint64 {
	n, size := binary.Uvarint(r.Rest)
	if r.took(size) {
		return n
	}
	return 0
}

// Varint reads a signed integer.
func (r *Reader) Varint() int64 {
	n, size := binary.Varint(r.Rest)
	if r.took(size) {
		return n
	}
	return 0
}

func (r *Reader) took(size int) bool {
	if size <= 0 {
		r.Fail(errShort)
	}
	if r.Err != nil {
		return false
	}
	r.Rest = r.Rest[size:]
	return true
}

// Bytes reads n bytes, which are not copied.
func (r *Reader) Bytes(n uint64) []byte {
	if n > uint64(len(r.Rest)) {
		r.Fail(errShort)
	}
	if r.Err != nil {
		return nil
	}
	out := r.Rest[:n]
	r.Rest = r.Rest[n:]
	return out
}

// String reads a string behind its length.
func (r *Reader) String() string { return string(r.Bytes(r.Uvarint())) }

// Uint64 reads eight bytes, the highest first.
func (r *Reader) Uint64() uint64 {
	b := r.Bytes(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}
