package record

import (
	"crypto/sha256"
	"encoding/binary"
)

// KeyColumn is a key column as it enters a table's id.
type KeyColumn struct {
	Name, Type string
}

// NewTableID returns the first 64 bits of SHA-256 over name, the word of kind,
// each key column's name and type (strings with an unsigned varint length
// before them, the columns with their count), and number as 8 bytes. Names
// and types come normalised: names in lower case, types in upper case.
func NewTableID(name string, kind Kind, key []KeyColumn, number uint64) TableID {
	b := appendString(nil, name)
	b = appendString(b, kind.String())
	b = binary.AppendUvarint(b, uint64(len(key)))
	for _, k := range key {
		b = appendString(appendString(b, k.Name), k.Type)
	}
	return TableID(first64(binary.BigEndian.AppendUint64(b, number)))
}

// NewColumnID returns the first 64 bits of SHA-256 over the table id, name,
// type, the default as its canonical value (see AppendValue; NULL for none),
// one byte that is 1 if the default is an expression (its text then stands as
// a text value), and number.
func NewColumnID(table TableID, name, typ string, def Value, expr bool, number uint64) ColumnID {
	b := binary.BigEndian.AppendUint64(nil, uint64(table))
	b = appendString(appendString(b, name), typ)
	b = AppendValue(b, def)
	if expr {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	return ColumnID(first64(binary.BigEndian.AppendUint64(b, number)))
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func first64(b []byte) uint64 {
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:8])
}
