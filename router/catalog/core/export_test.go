package core

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"

	"github.com/firebreak-dev/firebreak/internal/varint"
)

// Seal makes a file of any body, with a checksum that is right.
func Seal(body []byte) []byte {
	b := varint.AppendString([]byte(magic), "test")
	b = binary.AppendVarint(b, 0)
	b = append(b, body...)
	return binary.BigEndian.AppendUint64(b, xxh3.Hash(b))
}
