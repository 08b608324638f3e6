package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Key is a primary key in the order-preserving encoding of EncodeKey, so that
// keys compare as bytes and are map keys.
type Key string

// EncodeKey encodes the key columns in their declared order. Each is a type
// byte and then: integer, 8 bytes big endian with the sign bit flipped; text
// and blob, the bytes with 0x00 written as 0x00 0xff, ended by 0x00 0x01. The
// encoding sorts as SQLite does under BINARY collation, column by column.
// NULL and REAL are refused: a key is NOT NULL, and 1 and 1.0 would be one key
// to SQLite and two here.
func EncodeKey(cols ...Value) (Key, error) {
	var b []byte
	for _, v := range cols {
		var err error
		if b, err = appendOrdered(b, v); err != nil {
			return "", err
		}
	}
	return Key(b), nil
}

func appendOrdered(b []byte, v Value) ([]byte, error) {
	switch v.Type {
	case Integer:
		b = append(b, byte(Integer))
		return binary.BigEndian.AppendUint64(b, uint64(v.Int)^(1<<63)), nil
	case Text, Blob:
		b = append(b, byte(v.Type))
		for i := range len(v.Data) {
			b = append(b, v.Data[i])
			if v.Data[i] == 0 {
				b = append(b, 0xff)
			}
		}
		return append(b, 0, 1), nil
	case Real:
		return nil, fmt.Errorf("key: REAL value %v is not allowed in a key", v)
	}
	return nil, errors.New("key: NULL is not allowed in a key")
}

// Columns decodes k.
func (k Key) Columns() ([]Value, error) { return k.AppendColumns(make([]Value, 0, 2)) }

// check reports what Columns would.
func (k Key) check() error {
	if k == "" {
		return errors.New("key: empty")
	}
	for b := string(k); len(b) > 0; {
		_, rest, err := readOrdered(b)
		if err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// AppendColumns appends what Columns returns to out.
func (k Key) AppendColumns(out []Value) ([]Value, error) {
	if k == "" {
		return nil, errors.New("key: empty")
	}
	for b := string(k); len(b) > 0; {
		v, rest, err := readOrdered(b)
		if err != nil {
			return nil, err
		}
		out, b = append(out, v), rest
	}
	return out, nil
}

// Owner returns the first column of k as text: the owner in an owned table.
func (k Key) Owner() (Node, error) {
	v, _, err := readOrdered(string(k))
	if err != nil {
		return "", err
	}
	if v.Type != Text {
		return "", fmt.Errorf("key: owner %v is not text", v)
	}
	return Node(v.Data), nil
}

func readOrdered(b string) (Value, string, error) {
	if b == "" {
		return Value{}, "", fmt.Errorf("key: %w", errTruncated)
	}
	t, b := Type(b[0]), b[1:]
	switch t {
	case Integer:
		if len(b) < 8 {
			return Value{}, "", fmt.Errorf("key: %w", errTruncated)
		}
		return Value{Type: Integer, Int: int64(beUint64(b) ^ (1 << 63))}, b[8:], nil
	case Text, Blob:
		if end := strings.IndexByte(b, 0); end >= 0 && end+1 < len(b) && b[end+1] == 1 {
			return Value{Type: t, Data: b[:end]}, b[end+2:], nil // without a zero byte
		}
		var data []byte
		for i := 0; i+1 < len(b); i++ {
			if b[i] != 0 {
				data = append(data, b[i])
				continue
			}
			switch b[i+1] {
			case 0xff:
				data = append(data, 0)
				i++
			case 1:
				return Value{Type: t, Data: string(data)}, b[i+2:], nil
			default:
				return Value{}, "", fmt.Errorf("key: bad escape %#x", b[i+1])
			}
		}
		return Value{}, "", fmt.Errorf("key: %w", errTruncated)
	}
	return Value{}, "", fmt.Errorf("key: type %d is not allowed in a key", t)
}
