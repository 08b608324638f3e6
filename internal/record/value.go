package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Type is the storage class of a value, as SQLite's typeof gives it.
type Type byte

// The storage classes, in the order of the key encoding.
const (
	Null Type = iota
	Integer
	Real
	Text
	Blob
)

// Value is one SQLite value, byte for byte as stored. Text need not be valid
// UTF-8 and may hold NUL. Real is never NaN: SQLite stores NULL for it. The
// zero Value is NULL.
type Value struct {
	Type Type
	Int  int64   // Integer
	Real float64 // Real; -0.0 and infinities keep their bits
	Data string  // Text and Blob
}

// Of builds values for the Go types that callers hold. It panics on another
// type: that is a mistake in the program.
func Of(v any) Value {
	switch v := v.(type) {
	case nil:
		return Value{}
	case int:
		return Value{Type: Integer, Int: int64(v)}
	case int64:
		return Value{Type: Integer, Int: v}
	case bool:
		if v {
			return Value{Type: Integer, Int: 1}
		}
		return Value{Type: Integer}
	case float64:
		if math.IsNaN(v) {
			return Value{}
		}
		return Value{Type: Real, Real: v}
	case string:
		return Value{Type: Text, Data: v}
	case []byte:
		if v == nil {
			return Value{}
		}
		return Value{Type: Blob, Data: string(v)}
	}
	panic(fmt.Sprintf("record.Of: no SQLite value for %T", v))
}

// Any returns nil, int64, float64, string or []byte.
func (v Value) Any() any {
	switch v.Type {
	case Integer:
		return v.Int
	case Real:
		return v.Real
	case Text:
		return v.Data
	case Blob:
		return []byte(v.Data)
	}
	return nil
}

// Equal reports whether both are the same type and bytes: 1 and 1.0 differ,
// 0.0 and -0.0 differ.
func (v Value) Equal(o Value) bool {
	return v.Type == o.Type && v.Int == o.Int && v.Data == o.Data &&
		math.Float64bits(v.Real) == math.Float64bits(o.Real)
}

// String is for logs and tests.
func (v Value) String() string {
	switch v.Type {
	case Integer:
		return fmt.Sprint(v.Int)
	case Real:
		return fmt.Sprintf("%v", v.Real)
	case Text:
		return fmt.Sprintf("%q", v.Data)
	case Blob:
		return fmt.Sprintf("x'%x'", v.Data)
	}
	return "NULL"
}

var errTruncated = errors.New("truncated")

// AppendValue appends the canonical encoding of v: a type byte, then nothing
// (NULL), 8 bytes big endian two's complement (integer), 8 bytes IEEE 754 big
// endian (real), or an unsigned varint length and the bytes (text, blob).
func AppendValue(b []byte, v Value) []byte {
	b = append(b, byte(v.Type))
	switch v.Type {
	case Integer:
		b = binary.BigEndian.AppendUint64(b, uint64(v.Int))
	case Real:
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(v.Real))
	case Text, Blob:
		b = binary.AppendUvarint(b, uint64(len(v.Data)))
		b = append(b, v.Data...)
	}
	return b
}

// ReadValue reads one canonical value and returns what follows it.
func ReadValue(b []byte) (Value, []byte, error) {
	return readValue(b)
}

// CutValue is ReadValue of a string: the value shares its memory.
func CutValue(s string) (Value, string, error) { return readValue(s) }

func readValue[B []byte | string](b B) (Value, B, error) {
	var none B
	if len(b) == 0 {
		return Value{}, none, fmt.Errorf("value: %w", errTruncated)
	}
	t := Type(b[0])
	b = b[1:]
	switch t {
	case Null:
		return Value{}, b, nil
	case Integer, Real:
		if len(b) < 8 {
			return Value{}, none, fmt.Errorf("value: %w", errTruncated)
		}
		u := beUint64(b)
		if t == Integer {
			return Value{Type: Integer, Int: int64(u)}, b[8:], nil
		}
		f := math.Float64frombits(u)
		if math.IsNaN(f) {
			return Value{}, none, errors.New("value: NaN is stored as NULL")
		}
		return Value{Type: Real, Real: f}, b[8:], nil
	case Text, Blob:
		n, rest, err := readUvarint(b)
		if err != nil || n > uint64(len(rest)) {
			return Value{}, none, fmt.Errorf("value: %w", errTruncated)
		}
		return Value{Type: t, Data: string(rest[:n])}, rest[n:], nil
	}
	return Value{}, none, fmt.Errorf("value: unknown type %d", t)
}

// beUint64 reads 8 bytes big endian, of which there are enough.
func beUint64[B []byte | string](b B) uint64 {
	_ = b[7]
	return uint64(b[7]) | uint64(b[6])<<8 | uint64(b[5])<<16 | uint64(b[4])<<24 |
		uint64(b[3])<<32 | uint64(b[2])<<40 | uint64(b[1])<<48 | uint64(b[0])<<56
}

// readUvarint reads a varint in its shortest form only, so that an encoding
// is the only one of its value.
func readUvarint[B []byte | string](b B) (uint64, B, error) {
	var n uint64
	for i := 0; i < len(b) && i < binary.MaxVarintLen64; i++ {
		c := b[i]
		if i == binary.MaxVarintLen64-1 && c > 1 {
			break // over 64 bits
		}
		n |= uint64(c&0x7f) << (7 * i)
		if c >= 0x80 {
			continue
		}
		if c == 0 && i > 0 {
			return 0, b[:0], errors.New("varint is not in its shortest form")
		}
		return n, b[i+1:], nil
	}
	return 0, b[:0], errTruncated
}
